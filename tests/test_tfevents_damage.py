"""Damaged, replaced and vanishing event files: by every reader of ours, and by TensorBoard's."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from support.damaged_files import GOOD, STARTS, Damaged, damaged_files
from support.event_files import records, scalar, version
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from guildlite.tfevents import Chunk, Cursor, EventDecoder, LogDir, RecordReader
from guildlite.tfevents import blocks as blocks_module
from guildlite.tfevents import logdir as logdir_module
from guildlite.tfevents.plain import read_plainly
from guildlite.watch import open_watcher

NAME = "events.out.tfevents.1.host"
CORPUS = list(damaged_files())
each_file = pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)


def steps(chunks: Iterable[Chunk]) -> list[int]:
    return [value.step for chunk in chunks for value in chunk.scalars]


@pytest.fixture(params=["templates", "blocks"])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read by templates, as files grow, or by blocks, as large files are caught up on."""
    if request.param == "blocks":
        for name in ("CATCH_UP_BYTES", "_LOADED_BYTES"):
            monkeypatch.setattr(logdir_module, name, 0)
        for name in ("_LEAST_BLOCK_RECORDS", "_LOADED_BLOCK_RECORDS"):
            monkeypatch.setattr(logdir_module, name, 1)
        monkeypatch.setattr(blocks_module, "_LEAST_RECORDS", 1)
        monkeypatch.setattr(blocks_module, "_LEAST_REPEATS", 0)


# What is in a file --------------------------------------------------------------------------------


@each_file
def test_the_plain_reader(file: Damaged) -> None:
    reader = RecordReader(io.BytesIO(file.data))
    batch = read_plainly(reader, EventDecoder(), len(file.data), 1000)
    found = [step for columns in batch.columns.values() for step in columns.steps]
    assert (found, batch.skipped, reader.offset) == (file.steps, file.skipped, file.offset)
    assert (batch.damage and batch.damage[0]) == file.damage
    assert (batch.framing and batch.framing.offset) == file.broken


@each_file
def test_a_log_directory(file: Damaged, tmp_path: Path, fast: None) -> None:
    (tmp_path / NAME).write_bytes(file.data)
    logdir = LogDir(tmp_path)
    chunks = list(logdir.look())
    assert steps(chunks) == file.steps
    notices = [notice for chunk in chunks for notice in chunk.notices]
    named = [where for where in (file.damage, file.broken) if where is not None]
    assert len(notices) == len(named)
    for notice, where in zip(notices, named, strict=True):
        assert f"`{NAME}`" in notice and f"byte {where}" in notice
    if chunks:
        cursor = chunks[-1].cursor
        assert cursor.offset == file.offset and cursor.state.get("skipped", 0) == file.skipped
        assert (cursor.error is not None) == (file.broken is not None)
    # Nothing is said or given twice, by this reader or by the next.
    for again in (logdir, LogDir(tmp_path, [chunk.cursor for chunk in chunks])):
        assert list(again.look(everything=True)) == []


@each_file
def test_the_rest_of_the_directory_goes_on(file: Damaged, tmp_path: Path) -> None:
    (tmp_path / "0.tfevents").write_bytes(file.data)
    (tmp_path / "1.tfevents").write_bytes(GOOD)
    by_path: dict[str, list[int]] = {}
    for chunk in LogDir(tmp_path).look():
        by_path.setdefault(chunk.cursor.path, []).extend(steps([chunk]))
    assert by_path["1.tfevents"] == [0, 1, 2, 3]


@each_file
def test_tensorboard_reads_nothing_that_we_lose(file: Damaged, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(file.data)
    found = []
    # It raises, prints or stops, depending on the damage; what it gave before is what counts.
    with contextlib.suppress(Exception), contextlib.redirect_stderr(io.StringIO()):
        for payload in RawEventFileLoader(str(tmp_path / NAME)).Load():
            event = Event.FromString(payload)
            found += [event.step for _ in event.summary.value]
    assert found == file.steps[: len(found)]
    if not file.skipped and file.broken is None:
        assert found == file.steps


@pytest.mark.parametrize("cut", range(STARTS[-2], STARTS[-1]))
def test_what_was_waited_for_comes(cut: int, tmp_path: Path, fast: None) -> None:
    path = tmp_path / NAME
    path.write_bytes(GOOD[:cut])
    logdir = LogDir(tmp_path)
    chunks = list(logdir.look())
    assert steps(chunks) == [0, 1, 2]
    path.write_bytes(GOOD)
    assert steps(logdir.look()) == steps(LogDir(tmp_path, [chunks[-1].cursor]).look()) == [3]


def test_the_corpus_has_no_two_files_of_one_name() -> None:
    names = [file.name for file in CORPUS]
    assert len(names) == len(set(names)) > 200


# What happens to a file while it is read ----------------------------------------------------------


@pytest.fixture(params=["polled", "watched"])
def follow(request: pytest.FixtureRequest, tmp_path: Path) -> Iterable[Callable[[], LogDir]]:
    watcher = open_watcher(tmp_path) if request.param == "watched" else None
    if request.param == "watched" and watcher is None:
        pytest.skip("nothing can be watched here")
    yield lambda: LogDir(tmp_path, watch=None if watcher is None else watcher.changes())
    if watcher is not None:
        watcher.close()


def test_rotated(tmp_path: Path, follow: Callable[[], LogDir]) -> None:
    path = tmp_path / NAME
    path.write_bytes(GOOD)
    logdir = follow()
    assert steps(logdir.look()) == [0, 1, 2, 3]
    path.rename(tmp_path / f"{NAME}.old")
    path.write_bytes(records(version(7.0), scalar("loss", 4, 2.0)))
    with open(tmp_path / f"{NAME}.old", "ab") as file:
        file.write(records(scalar("loss", 9, 4.5)))
    by_path = {chunk.cursor.path: steps([chunk]) for chunk in logdir.look(everything=True)}
    # Under its new name the old file is another file, as a copy of it would be.
    assert by_path == {NAME: [4], f"{NAME}.old": [0, 1, 2, 3, 9]}


def test_replaced_between_two_chunks(
    tmp_path: Path, follow: Callable[[], LogDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logdir_module, "MOST_POINTS", 2)
    path = tmp_path / NAME
    path.write_bytes(GOOD)
    logdir = follow()
    found = []
    for chunk in logdir.look():
        found += steps([chunk])
        if found == [0, 1]:
            (tmp_path / "new").write_bytes(records(version(7.0), scalar("loss", 5, 2.5)))
            (tmp_path / "new").replace(path)
    # The file that was open is read to its end, then the new one from its start.
    assert found == [0, 1, 2, 3]
    assert steps(logdir.look()) == [5]


@pytest.mark.parametrize("how", ["deleted", "truncated", "emptied"])
def test_gone_between_two_chunks(
    how: str, tmp_path: Path, follow: Callable[[], LogDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logdir_module, "MOST_POINTS", 2)
    monkeypatch.setattr(logdir_module, "_LOADED_BYTES", 1 << 30)
    monkeypatch.setattr(logdir_module, "CATCH_UP_BYTES", 1 << 30)
    path = tmp_path / NAME
    more = [scalar("loss", step, step / 2) for step in range(20_000)]
    path.write_bytes(records(version(), *more))
    logdir = follow()
    chunks = logdir.look()
    found = steps([next(iter(chunks))])
    if how == "deleted":
        path.unlink()
    else:
        os.truncate(path, STARTS[1] if how == "truncated" else 0)
    found += steps(chunks)
    # What was read of it by then, and nothing wrong.
    assert found == list(range(len(found))) and len(found) >= 2
    told = [notice for chunk in logdir.look() for notice in chunk.notices]
    assert len(told) == (how == "truncated")
    assert list(logdir.look()) == [] and logdir.take_notices() == []
    path.write_bytes(records(version(), *more, scalar("loss", 20_000, 0.5)))
    assert found + steps(logdir.look()) == list(range(20_001))


def test_several_writers_and_one_of_them_damaged(
    tmp_path: Path, follow: Callable[[], LogDir]
) -> None:
    paths = [tmp_path / f"{NAME}.{number}" for number in range(4)]
    for number, path in enumerate(paths):
        path.write_bytes(records(version(number)))
    logdir = follow()
    assert steps(logdir.look()) == []
    for step in range(5):
        for number, path in enumerate(paths):
            with open(path, "ab") as file:
                data = records(scalar("loss", 10 * number + step, 0.5))
                file.write(bytes(12) + data[12:] if (number, step) == (1, 2) else data)
        wanted = [10 * number + step for number in range(4) if (number, step < 2) != (1, False)]
        assert steps(logdir.look()) == wanted


def test_a_cursor_of_another_file_is_not_used(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(GOOD)
    assert steps(LogDir(tmp_path, [Cursor(NAME, "another", 10**9)]).look()) == [0, 1, 2, 3]
