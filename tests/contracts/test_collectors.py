"""What every collector promises, whatever it reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from guildlite.collect.collector import Collector, Guarded, Unavailable
from guildlite.collect.events import EventFiles
from guildlite.collect.gpu import GpuCollector
from guildlite.collect.output import OutputLogs
from guildlite.collect.system import SystemCollector
from guildlite.collect.tables import Tables
from guildlite.runs.paths import RunPaths
from guildlite.series import Cursor, Point, Reading

LOG = b"loss: 0.5\nstep 3: loss 0.25\nlast: 1\n"
TABLE = b"step,loss\n1,0.5\n2,0.25\n3,0.125\n"


def event_file() -> bytes:
    """Return an event file as the tensorboard package writes it."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    class Bytes(bytearray):
        write = bytearray.extend

    data = Bytes()
    writer = RecordWriter(data)
    writer.write(Event(wall_time=1.0, file_version="brain.Event:2").SerializeToString())
    for step in range(3):
        value = Summary.Value(tag="loss", simple_value=step / 4)
        event = Event(wall_time=2.0 + step, step=step, summary=Summary(value=[value]))
        writer.write(event.SerializeToString())
    return bytes(data)


class Files:
    """A collector of files: what it is built from and the bytes it reads."""

    def __init__(
        self,
        path: str,
        data: Callable[[], bytes],
        make: Callable[[Path, Iterable[Cursor]], Collector],
    ) -> None:
        self.path, self.data, self.make = path, data, make


#: A new collector of files joins the contract here.
FILES = {
    "output": Files(
        "gl.d/stdout.log",
        lambda: LOG,
        lambda run_dir, cursors: OutputLogs(RunPaths(run_dir), cursors),
    ),
    "events": Files("train/events.out.tfevents.1.host", event_file, EventFiles),
    "tables": Files("metrics.csv", lambda: TABLE, Tables),
}
#: A new collector of measurements joins here.
LIVE: dict[str, Callable[[], Collector]] = {
    "system": lambda: SystemCollector(os.getpid, started_at_ms=0),
    "gpu": lambda: GpuCollector(os.getpid, started_at_ms=0),
}


@pytest.fixture(params=FILES, name="files")
def any_files(request: pytest.FixtureRequest) -> Files:
    return FILES[request.param]


@pytest.fixture(params=[*FILES, *LIVE], name="collector")
def any_collector(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Collector]:
    if request.param in LIVE:
        collector = LIVE[request.param]()
    else:
        files = FILES[request.param]
        write(tmp_path / files.path, files.data())
        collector = files.make(tmp_path, [])
    yield collector
    collector.close()


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)


class TestEveryCollector:
    def test_has_a_name(self, collector: Collector) -> None:
        assert collector.name.isidentifier()

    def test_a_probe_gives_text_or_says_why_not(self, collector: Collector) -> None:
        try:
            attrs = collector.probe()
        except Unavailable as error:
            assert str(error) and not str(error).endswith(".")
            return
        assert all(isinstance(part, str) for item in attrs.items() for part in item)

    def test_readings_are_well_formed(self, collector: Collector) -> None:
        guarded = Guarded(collector)
        readings = [*guarded.sample(), *guarded.sample(), *guarded.sample(final=True)]
        assert not guarded.failures
        assert readings or guarded.unavailable
        for reading in readings:
            assert reading
            check(reading)

    def test_close_twice(self, collector: Collector) -> None:
        collector.close()
        collector.close()


def check(reading: Reading) -> None:
    for key, points in reading.points.items():
        assert key and not key.startswith("/") and points
        for step, time, value in points:
            assert isinstance(step, int) and -(2**63) <= step < 2**63
            assert time is None or isinstance(time, int)
            assert isinstance(value, float)
    for line in reading.lines:
        assert line.stream in (1, 2) and "\n" not in line.text and "\0" not in line.text
        line.text.encode()
    if reading.cursor is not None:
        assert not Path(reading.cursor.path).is_absolute() and "\\" not in reading.cursor.path
        assert json.loads(json.dumps(reading.cursor.state)) == reading.cursor.state
    assert all(isinstance(text, str) and "\n" not in text for text in reading.notices)


Data = tuple[dict[str, list[Point]], list[object]]


class TestEveryCollectorOfFiles:
    def test_every_reading_has_its_cursor(self, files: Files, tmp_path: Path) -> None:
        write(tmp_path / files.path, files.data())
        for reading in files.make(tmp_path, []).sample(final=True):
            if reading.points or reading.lines:
                assert reading.cursor is not None and reading.cursor.path == files.path

    def test_nothing_new_gives_nothing(self, files: Files, tmp_path: Path) -> None:
        write(tmp_path / files.path, files.data())
        collector = files.make(tmp_path, [])
        points, _ = self.take(collector, {}, final=True)
        assert points
        assert self.take(collector, {}, final=True) == ({}, [])

    def test_nothing_is_there(self, files: Files, tmp_path: Path) -> None:
        collector = files.make(tmp_path / "missing", [])
        assert self.take(collector, {}, final=True) == ({}, [])

    @pytest.mark.parametrize("restart", [False, True], ids=["goes on", "restarts"])
    def test_bytes_in_any_portions_give_the_same(
        self, files: Files, tmp_path: Path, restart: bool
    ) -> None:
        """Byte by byte, and by a new collector from the stored cursors after every byte."""
        data = files.data()
        whole, pieces = tmp_path / "whole", tmp_path / "pieces"
        write(whole / files.path, data)
        expected = self.take(files.make(whole, []), {}, final=True)

        points: dict[str, list[Point]] = {}
        lines: list[object] = []
        cursors: dict[tuple[str, str], Cursor] = {}
        collector = files.make(pieces, [])
        for number in range(len(data) + 1):
            write(pieces / files.path, data[number : number + 1])
            if restart:
                collector.close()
                collector = files.make(pieces, cursors.values())
            more, more_lines = self.take(collector, cursors, final=number == len(data))
            lines += more_lines
            for key, each in more.items():
                points.setdefault(key, []).extend(each)
        assert (points, lines) == expected

    @staticmethod
    def take(
        collector: Collector, cursors: dict[tuple[str, str], Cursor], final: bool = False
    ) -> Data:
        """Sample until nothing comes, storing cursors as run.db does."""
        points: dict[str, list[Point]] = {}
        lines: list[object] = []
        while readings := list(collector.sample(final)):
            for reading in readings:
                check(reading)
                lines += reading.lines
                for key, each in reading.points.items():
                    points.setdefault(key, []).extend(each)
                if reading.cursor:
                    cursor = reading.cursor
                    state = json.loads(json.dumps(cursor.state))
                    cursors[cursor.path, cursor.digest] = Cursor(
                        cursor.path, cursor.kind, cursor.digest, cursor.offset, state, cursor.error
                    )
        return points, lines


class Scripted:
    """A collector that does what it is told: a reading, or an exception."""

    name = "scripted"

    def __init__(self, *samples: list[Reading | Exception], probe: list[object] | None = None):
        self.samples, self.probes = list(samples), probe or [{}]
        self.probed = 0

    def probe(self) -> dict[str, str]:
        answer = self.probes[min(self.probed, len(self.probes) - 1)]
        self.probed += 1
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, dict)
        return answer

    def sample(self, final: bool = False) -> Iterator[Reading]:
        for each in self.samples.pop(0):
            if isinstance(each, Exception):
                raise each
            yield each

    def close(self) -> None:
        raise OSError("cannot close")


class TestGuarded:
    def test_a_fault_is_told_once_and_tried_again(self) -> None:
        good = Reading(attrs={"a": "b"})
        fault = OSError("broken")
        guarded = Guarded(Scripted([good, fault], [fault], [good], [ValueError("other")]))
        first, notice = guarded.sample()
        assert first is good
        assert notice.notices == [
            "collector `scripted` could not read: OSError: broken; "
            "it is tried again and this is not repeated"
        ]
        assert list(guarded.sample()) == []
        assert list(guarded.sample()) == [good]
        assert len(list(guarded.sample())) == 1
        assert sorted(guarded.failures.values()) == [1, 2]

    def test_a_failing_probe_is_tried_again(self) -> None:
        guarded = Guarded(Scripted([], probe=[OSError("not yet"), {"cpu": "fast"}]))
        assert guarded.probe() == {}
        attrs, notice = guarded.sample()
        assert attrs.attrs == {"cpu": "fast"} and len(notice.notices) == 1

    def test_unavailable_is_no_fault_and_final(self) -> None:
        collector = Scripted(probe=[Unavailable("no GPU"), {}])
        guarded = Guarded(collector)
        assert list(guarded.sample()) == [] and list(guarded.sample()) == []
        assert (guarded.unavailable, collector.probed) == ("no GPU", 1)
        assert not guarded.failures

    def test_close_never_raises(self) -> None:
        guarded = Guarded(Scripted())
        guarded.close()
        assert sum(guarded.failures.values()) == 1

    def test_the_consumers_own_fault_stays_his(self) -> None:
        guarded = Guarded(Scripted([Reading(attrs={"a": "b"})]))
        readings = guarded.sample()
        next(readings)
        with pytest.raises(KeyboardInterrupt):
            readings.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
        assert not guarded.failures
