"""What was measured of memory, GPUs and disk until the end of an operation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from guildlite.runs.run import OperationRecord, Run
from guildlite.series import Summary
from guildlite.wording import format_size

#: A share of memory from which on the kernel is likely to look for a victim.
NEARLY_FULL = 0.95


class Measure(NamedTuple):
    """One thing measured: its last value and its peak, in bytes, or as a share of `limit`.

    `limit` is in bytes; None of any of them is unknown.
    """

    name: str
    last: float | None = None
    peak: float | None = None
    limit: float | None = None
    share: bool = False

    def text(self) -> str:
        """Return it for people: `1.2 GiB, at most 3.4 GiB of 4.0 GiB`."""
        parts = []
        if self.last is not None:
            parts.append(self._format(self.last))
        if self.peak is not None and self._format(self.peak) not in parts:
            parts.append(f"at most {self._format(self.peak)}")
        limit = f" of {format_size(self.limit)}" if self.limit is not None else ""
        return ", ".join(parts) + limit

    def _format(self, value: float) -> str:
        return f"{value * 100:.0f} %" if self.share else format_size(value)


class Measured(NamedTuple):
    """The measures worth showing, and those that causes are judged by.

    `used_share` is the most that is known of how full the memory was at the end: of the control
    group's limit by the script alone, else of the machine. `gpu_share` is that of the fullest GPU.
    """

    measures: tuple[Measure, ...] = ()
    used_share: float | None = None
    used_text: str = ""
    gpu_share: float | None = None
    gpu_text: str = ""


def read_measured(
    run: Run, record: OperationRecord, attrs: Mapping[str, str], known: Mapping[str, Summary]
) -> Measured:
    """Return what run.db and exit.json say of an operation; sampling begins after its first second.

    `known` are the series of the run, by key.
    """
    prefix = f"{record.operation}/" if record.paths.name else ""
    exited = record.exit_fact() or {}
    rss, used = known.get(f"{prefix}op/mem/rss"), known.get(f"{prefix}sys/mem/util")
    swap = known.get(f"{prefix}sys/swap/util")
    total, limit = _number(attrs.get("memory.total")), _number(attrs.get("memory.limit"))
    peak = _most(_peak(rss), _number(exited.get("max_rss")))
    found = []
    if peak is not None:
        # The last sample may have been taken of a process that had just ended: that has none.
        found.append(Measure("memory of the script", _last(rss) or None, peak, limit))
    if used is not None:
        found.append(Measure("memory of the machine", _last(used), _peak(used), total, True))
    if swap is not None and _peak(swap):
        found.append(Measure("swap of the machine", _last(swap), _peak(swap), None, True))
    gpus = [*_gpus(prefix, attrs, known)]
    found += gpus
    disk = _number(exited.get("disk_free"))
    if disk is not None:
        found.append(Measure("disk space left", disk))
    share, text = _fullness(peak, limit, used)
    full = max((each for each in gpus if each.share and each.peak), key=_peak_of, default=None)
    return Measured(
        tuple(found),
        share,
        text,
        full.peak if full is not None else None,
        f"{full.name} was {full._format(full.peak or 0)} full" if full is not None else "",
    )


def _peak_of(measure: Measure) -> float:
    return measure.peak or 0.0


def _fullness(
    peak: float | None, limit: float | None, used: Summary | None
) -> tuple[float | None, str]:
    found: list[tuple[float, str]] = []
    if peak is not None and limit:
        text = f"the script used up to {format_size(peak)} of the {format_size(limit)} it may use"
        found.append((peak / limit, text))
    if used is not None and used.last is not None:
        text = f"{used.last:.0%} of the machine's memory was in use at the last look"
        found.append((used.last, text))
    return max(found, default=(None, ""))


def _gpus(prefix: str, attrs: Mapping[str, str], known: Mapping[str, Summary]) -> list[Measure]:
    pattern = re.compile(rf"{re.escape(prefix)}(gpu\d+)/")
    names = sorted({match[1] for key in known if (match := pattern.match(key))})
    found = []
    for name in names:
        memory = known.get(f"{prefix}{name}/mem/util")
        util = known.get(f"{prefix}{name}/util")
        title = f"GPU {name.removeprefix('gpu')}"
        if memory is not None:
            total = _number(attrs.get(f"{name}.memory"))
            found.append(Measure(f"memory of {title}", _last(memory), _peak(memory), total, True))
        if util is not None:
            found.append(Measure(f"use of {title}", _last(util), _peak(util), None, True))
    return found


def _last(summary: Summary | None) -> float | None:
    return summary.last if summary else None


def _peak(summary: Summary | None) -> float | None:
    return summary.max if summary else None


def _most(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _number(value: object) -> float | None:
    if isinstance(value, str):
        return float(value) if value.isdecimal() else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)
