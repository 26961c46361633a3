"""A run as TensorBoard's event files: one in each directory the run's own event files were in.

Scalars are written from run.db, all of them, in order, also where the step goes back; a key comes
back under the run and tag it was read from. Series that were never in an event file get their key
for a tag. What is no scalar is copied record by record from the event files, checksums verified.
"""

from __future__ import annotations

import math
import shutil
from array import array
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from guildlite.flags import parse_scalar
from guildlite.runs import Run, Status
from guildlite.runs.media import MediaItem
from guildlite.runs.storable import number
from guildlite.series import FileSeen
from guildlite.tfevents import ContentLost, EventDecoder
from guildlite.tfevents.repair import repair_event
from guildlite.tfevents.writer import EventWriter, are_floats, overflow_floats
from guildlite.transfer.stored import EVENTS, Exported, StoredRun

#: Behind the moment in a file's name, where writers put their host.
_HOST = "guildlite"


def write_event_files(
    run: Run,
    stored: StoredRun,
    directory: Path,
    wanted: Callable[[str], bool],
    exported: Exported,
) -> None:
    """Write a run below `directory`, counting into `exported`. Raises OSError, RunUnreadable."""
    scalars = _scalars_by_directory(stored, wanted)
    records = _records_by_directory(stored, wanted)
    started = int(run.started_at or run.created_at or 0)
    hparams = [] if stored.sessions() else _hparam_events(run, stored.flags(), started)
    for name in sorted({*scalars, *records, *([""] if hparams else [])}):
        path = directory / name / f"events.out.tfevents.{started:010d}.{_HOST}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            writer = EventWriter(file, float(started))
            for event in hparams if name == "" else ():
                writer.write_event(event)
            _copy_records(writer, stored, records.get(name, []), exported)
            for key, segments in scalars.get(name, {}).items():
                _write_series(writer, stored, name, key, segments, started * 1000, exported)
    exported.series = _count_series(scalars, records)
    _copy_embeddings(stored, directory, wanted, exported)


def _count_series(
    scalars: dict[str, dict[str, set[int]]], records: dict[str, list[list[MediaItem]]]
) -> int:
    keys = {key for found in scalars.values() for key in found}
    items = (item for found in records.values() for record in found for item in record)
    return len(keys | {item.key for item in items if item.kind != "hparams"})


def _is_inside(name: str) -> bool:
    """Return whether a relative path of run.db stays below the directory it is written to."""
    return all(part not in ("", ".", "..") and "\0" not in part for part in name.split("/"))


# Scalars ------------------------------------------------------------------------------------------


def _scalars_by_directory(
    stored: StoredRun, wanted: Callable[[str], bool]
) -> dict[str, dict[str, set[int]]]:
    """Return directory → key → the segments to write there."""
    found: dict[str, dict[str, set[int]]] = {}
    for key in stored.scalar_keys():
        if not wanted(key):
            continue
        for segment, origin in stored.origins(key).items():
            directory = origin.directory if origin.kind == EVENTS else ""
            if not (_is_inside(directory) and key.startswith(f"{directory}/")):
                directory = ""
            found.setdefault(directory, {}).setdefault(key, set()).add(segment)
    return found


def _write_series(
    writer: EventWriter,
    stored: StoredRun,
    directory: str,
    key: str,
    segments: set[int],
    started_ms: int,
    exported: Exported,
) -> None:
    tag = key[len(directory) + 1 :] if directory else key
    points = (point for point in stored.points(key) if point.segment in segments)
    if _needs_doubles(stored, key):
        writer.write_scalars(tag, _counted(points, started_ms, exported), double=True)
    else:
        writer.write_scalars(tag, _counted(points, started_ms, exported))


def _needs_doubles(stored: StoredRun, key: str) -> bool:
    """Return whether a series is written in 64 bits, which not all of TensorBoard shows.

    That is what event files held so; numbers from elsewhere are rounded as every writer does it,
    unless they are beyond 32 bits.
    """
    from_events = all(origin.kind == EVENTS for origin in stored.origins(key).values())
    values = array("d", (point.value for point in stored.points(key) if point.value is not None))
    return overflow_floats(values) or (from_events and not are_floats(values))


def _counted(
    points: Iterator[Any], started_ms: int, exported: Exported
) -> Iterator[tuple[int, float, float]]:
    """Yield points as event files have them; a moment nobody saw is that of the point before."""
    last = started_ms
    nan = float("nan")
    for step, time, value, _ in points:
        exported.points += 1
        last = last if time is None else time
        yield step, last / 1000, nan if value is None else value


# What is no scalar --------------------------------------------------------------------------------


def _records_by_directory(
    stored: StoredRun, wanted: Callable[[str], bool]
) -> dict[str, list[list[MediaItem]]]:
    """Return directory → records in the order written, each as its values that are wanted.

    hparams, which have no key that anybody chooses, always are.
    """
    rank = {row.path: number for number, row in enumerate(stored.source_rows())}
    records: dict[tuple[int, int], list[MediaItem]] = {}
    for series in stored.media():
        if wanted(series.key) or series.kind == "hparams":
            for item in stored.items(series.key):
                records.setdefault((rank[item.path], item.reference.offset), []).append(item)
    found: dict[str, list[list[MediaItem]]] = {}
    for _, items in sorted(records.items()):
        directory = items[0].path.rpartition("/")[0]
        if not _is_inside(directory):
            directory = ""
        found.setdefault(directory, []).append(items)
    return found


def _copy_records(
    writer: EventWriter, stored: StoredRun, records: list[list[MediaItem]], exported: Exported
) -> None:
    for items in records:
        try:
            payload = stored.record(items[0])
        except ContentLost as error:
            exported.lost.append(
                f"{items[0].kind} `{items[0].key}` at step {items[0].step}: {error.message}"
            )
            continue
        writer.write_event(_only(payload, {item.reference.nth for item in items}))
        exported.media += len(items)


def _only(payload: bytes, chosen: set[int]) -> bytes:
    """Return an event with these of its values, untouched when that is all of them.

    Text that is not UTF-8, for which TensorBoard would refuse the whole file, is spelt out.
    """
    event = EventDecoder().parse(payload)
    payload = repair_event(payload) or payload
    if event.WhichOneof("what") != "summary" or len(event.summary.value) == len(chosen):
        return payload
    kept = [value for nth, value in enumerate(event.summary.value) if nth in chosen]
    del event.summary.value[:]
    event.summary.value.extend(kept)
    return bytes(event.SerializeToString())


def _copy_embeddings(
    stored: StoredRun, directory: Path, wanted: Callable[[str], bool], exported: Exported
) -> None:
    """Copy the files that embeddings consist of to where they were."""
    names: dict[str, None] = {}
    for each in stored.embeddings():
        if wanted(each.key):
            exported.series += 1
            exported.media += 1
            files = (each.tensor, each.metadata, each.sprite, each.bookmarks)
            names |= dict.fromkeys(chain([each.config], _paths(files)))
    for name in names:
        if not _is_inside(name):
            continue
        try:
            source = stored.open_file(name)
        except ContentLost as error:
            exported.lost.append(error.message)
            continue
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with source, target.open("xb") as out:
            shutil.copyfileobj(source, out, 1 << 20)


def _paths(files: tuple[FileSeen | None, ...]) -> Iterator[str]:
    return (file.path for file in files if file is not None)


# Flags --------------------------------------------------------------------------------------------

#: Statuses of `api_pb2.Status` of the hparams plugin.
_SUCCESS, _FAILURE, _RUNNING = 1, 2, 3


def _hparam_events(run: Run, flags: dict[str, str], started: int) -> list[bytes]:
    """Return the events by which the HParams page shows a run's flags; none without flags."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import (
        HParamsPluginData,
        SessionEndInfo,
        SessionStartInfo,
    )

    if not flags:
        return []
    start = SessionStartInfo(start_time_secs=started)
    for name, text in flags.items():
        _set_hparam(start.hparams[name], text)
    status = _SUCCESS if run.status is Status.COMPLETED else _FAILURE
    status = status if run.status.ended else _RUNNING
    end = SessionEndInfo(status=status, end_time_secs=run.stopped_at or 0)
    return [
        _hparams_event(f"_hparams_/{name}", HParamsPluginData(**{name: info}), started)
        for name, info in (("session_start_info", start), ("session_end_info", end))
    ]


def _set_hparam(value: Any, text: str) -> None:
    """Set a protobuf Value to what a flag's text means: a truth value, a number or the text."""
    parsed = parse_scalar(text)
    if isinstance(parsed, bool):
        value.bool_value = parsed
    elif isinstance(parsed, (int, float)) and abs(parsed) < math.inf:
        value.number_value = number(parsed)
    else:
        value.string_value = text


def _hparams_event(tag: str, content: Any, started: int) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.metadata import NULL_TENSOR, PLUGIN_NAME

    value = Summary.Value(tag=tag, tensor=NULL_TENSOR)
    value.metadata.plugin_data.plugin_name = PLUGIN_NAME
    # hparams are a map, whose order is otherwise any.
    value.metadata.plugin_data.content = content.SerializeToString(deterministic=True)
    event = Event(wall_time=started, summary=Summary(value=[value]))
    return bytes(event.SerializeToString(deterministic=True))
