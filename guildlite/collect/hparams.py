"""What TensorBoard's HParams plugin was told, as rows that run.db can be asked for."""

from __future__ import annotations

import math

from guildlite.series import Experiment, Session
from guildlite.tfevents.contents import (
    HParamsEnd,
    HParamsExperiment,
    HParamsStart,
    parse_hparams,
    parse_metadata,
)

#: Whole numbers up to here are written without a point: protobuf knows no others than doubles.
_MOST_EXACT = 2**53
#: Times beyond this are not moments: the year 292 million.
_MAX_SECONDS = 2**63 / 1000 - 1


def read_hparams(directory: str, stated: bytes) -> Session | Experiment:
    """Return what a value of the plugin says; `stated` is its SummaryMetadata.

    `directory` is its file's in the run. Raises `tfevents.BadContent`.
    """
    content = parse_hparams(parse_metadata(stated).content)
    if isinstance(content, HParamsStart):
        values = {name: format_value(value) for name, value in content.hparams.items()}
        started = _milliseconds(content.started_at)
        return Session(directory, content.group or None, None, started, None, values)
    if isinstance(content, HParamsEnd):
        return Session(directory, None, content.status, None, _milliseconds(content.ended_at))
    return _experiment(directory, content)


def _experiment(directory: str, content: HParamsExperiment) -> Experiment:
    hparams = {name: _domain(domain) for name, domain in content.hparams.items()}
    metrics = [[group, tag] for group, tag in content.metrics]
    return Experiment(directory, content.name, content.description, hparams, metrics)


def _domain(domain: list[object] | tuple[float, float] | None) -> object:
    """Return a domain as JSON has it, where None stands for what is not finite."""
    if isinstance(domain, tuple):
        least, most = map(_finite, domain)
        return {"min": least, "max": most}
    return domain and [_finite(value) for value in domain]


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def format_value(value: object) -> tuple[str, str]:
    """Return a value as a flag would be written, and its type: float, bool or str."""
    if isinstance(value, bool):
        return str(value), "bool"
    if isinstance(value, float):
        whole = math.isfinite(value) and value.is_integer() and abs(value) <= _MOST_EXACT
        return (str(int(value)) if whole else repr(value)), "float"
    return ("" if value is None else str(value)), "str"


def _milliseconds(seconds: float) -> int | None:
    """Return a moment in ms; None for 0, which is how the plugin leaves it out."""
    if not seconds or not math.isfinite(seconds) or abs(seconds) > _MAX_SECONDS:
        return None
    return round(seconds * 1000)
