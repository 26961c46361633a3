"""The host and real process trees, compared with what /proc and the processes themselves say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from guildlite.collect.collector import RunClock
from guildlite.collect.system import ProcessTree, SystemCollector, _Operation, cpu_seconds
from guildlite.series import Point

linux = pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc")


class Script:
    """A Python process that does one line of code after the other, as told."""

    def __init__(self) -> None:
        loop = (
            "import os, subprocess, sys, threading, time\n"
            "for line in sys.stdin:\n"
            "    result = None\n"
            "    exec(line)\n"
            "    print(result, flush=True)\n"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", loop], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self.process.pid

    def do(self, code: str) -> str:
        assert self.process.stdin and self.process.stdout
        print(code, file=self.process.stdin, flush=True)
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate()


@contextmanager
def running() -> Iterator[Script]:
    script = Script()
    try:
        script.do("pass")
        yield script
    finally:
        script.end()


def sample(collector: SystemCollector) -> dict[str, float]:
    (reading,) = collector.sample()
    assert reading.cursor is None and not reading.notices
    return {key: point.value for key, [point] in reading.points.items()}


def number_of(name: str, text: str) -> int:
    """Return a number from a file of /proc, as in `VmRSS:  123 kB`."""
    match = re.search(rf"^{name}:\s+(\d+)", text, re.M)
    assert match
    return int(match[1])


def collector_of(pid: int | None, prefix: str = "") -> SystemCollector:
    collector = SystemCollector(lambda: pid, started_at_ms=0, prefix=prefix)
    assert collector.probe() == {}
    return collector


@linux
def test_keys_are_those_of_the_contract() -> None:
    with running() as script:
        collector = collector_of(script.pid)
        first, second = sample(collector), sample(collector)
    at_once = {"sys/mem/util", "sys/mem/used", "sys/mem/available", "sys/swap/util"}
    at_once |= {"op/mem/rss", "op/threads"}
    rates = {"sys/disk/read", "sys/disk/write", "sys/net/sent", "sys/net/received"}
    rates |= {"op/io/read", "op/io/write", "op/cpu/util"}
    assert first.keys() == at_once
    # The processors count in ticks, of which two quick samples may hold none.
    cpus = {"sys/cpu/util"} | {f"sys/cpu{number}/util" for number in range(os.cpu_count() or 1)}
    assert second.keys() - cpus - rates == at_once
    assert second.keys() >= at_once | {"op/io/read", "op/io/write", "op/cpu/util"}


@linux
def test_host_values() -> None:
    collector = collector_of(None)
    sample(collector)
    # A tick of the kernel is at most 10 ms; spin until one has passed on every processor.
    values: dict[str, float] = {}
    while f"sys/cpu{(os.cpu_count() or 1) - 1}/util" not in values:
        values.update(sample(collector))
    assert all(0 <= value <= 1 for key, value in values.items() if key.endswith("/util"))
    meminfo = Path("/proc/meminfo").read_text()
    total = number_of("MemTotal", meminfo) * 1024
    available = number_of("MemAvailable", meminfo) * 1024
    assert values["sys/mem/available"] == pytest.approx(available, abs=0.2 * total)
    assert values["sys/mem/util"] == pytest.approx(1 - available / total, abs=0.2)
    assert not any(key.startswith("op/") for key in values)


def test_step_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, steady = [1_700_000_010.9], [50.0]
    monkeypatch.setattr("time.time", lambda: wall[0])
    monkeypatch.setattr("time.monotonic", lambda: steady[0])
    clock = RunClock(started_at_ms=1_700_000_000_000)
    assert clock.now() == (10, 1_700_000_010_900)
    # The wall clock is set back an hour; the run still grows older.
    wall[0] -= 3600
    steady[0] += 5
    assert clock.now() == (15, 1_699_996_410_900)


def test_a_later_operation_prefixes_every_key() -> None:
    with running() as script:
        (reading,) = collector_of(script.pid, "evaluate").sample()
    assert all(key.startswith(("evaluate/sys/", "evaluate/op/")) for key in reading.points)
    assert "evaluate/op/mem/rss" in reading.points
    assert all(isinstance(point, Point) for [point] in reading.points.values())


@linux
def test_memory_and_threads_of_a_tree() -> None:
    with running() as script:
        child = int(
            script.do(
                "child = subprocess.Popen([sys.executable, '-c', 'print(1, flush=True); input()'],"
                " stdin=-1, stdout=-1); child.stdout.readline(); result = child.pid"
            )
        )
        script.do("event = threading.Event(); threading.Thread(target=event.wait).start()")
        values = sample(collector_of(script.pid))
        status = [Path(f"/proc/{pid}/status").read_text() for pid in (script.pid, child)]
        script.do("child.communicate(b'x'); event.set()")
    threads = sum(number_of("Threads", text) for text in status)
    rss = sum(number_of("VmRSS", text) for text in status)
    assert values["op/threads"] == threads == 3
    assert values["op/mem/rss"] == pytest.approx(rss * 1024, rel=0.1)


@linux
def test_processor_time_of_children_that_ended() -> None:
    """One second of our own clock, in which a child came, worked and went."""
    spin = "import time\\nwhile time.process_time() < 0.3: pass"
    with running() as script:
        operation = _Operation(ProcessTree(lambda: script.pid))
        operation.sample(100.0)
        before = float(script.do("result = sum(os.times()[:4])"))
        script.do(f"subprocess.run([sys.executable, '-c', '{spin}'])")
        after = float(script.do("result = sum(os.times()[:4])"))
        values = operation.sample(101.0)
    assert after - before >= 0.25
    assert values["op/cpu/util"] == pytest.approx(after - before, abs=0.05)


@linux
def test_bytes_written_by_the_tree(tmp_path: Path) -> None:
    count = "result = int(open('/proc/self/io').read().split('\\nwrite_bytes: ')[1].split()[0])"
    with running() as script:
        operation = _Operation(ProcessTree(lambda: script.pid))
        operation.sample(100.0)
        before = int(script.do(count))
        write = f"open(r'{tmp_path / 'data'}', 'wb').write(b'x' * 2**22)"
        script.do(f'subprocess.run([sys.executable, "-c", "{write}"])')
        after = int(script.do(count))
        values = operation.sample(102.0)
    assert values["op/io/write"] == (after - before) / 2


def test_processes_that_left_the_tree_stay_in_it() -> None:
    with running() as script:
        tree = ProcessTree(lambda: script.pid)
        orphan = int(
            script.do(
                "middle = subprocess.Popen([sys.executable, '-c', 'import subprocess, sys;"
                ' print(subprocess.Popen(["sleep", "60"], stdout=2).pid, flush=True); input()\'],'
                " stdin=-1, stdout=-1); result = int(middle.stdout.readline())"
            )
        )
        try:
            assert len(tree.processes()) == 3
            script.do("middle.communicate(b'x')")
            assert {process.pid for process in tree.processes()} == {script.pid, orphan}
        finally:
            os.kill(orphan, 9)


def test_a_root_that_is_gone() -> None:
    with running() as script:
        collector = collector_of(script.pid)
        assert "op/mem/rss" in sample(collector)
    values = sample(collector)
    assert "sys/mem/used" in values and not any(key.startswith("op/") for key in values)
    assert ProcessTree(lambda: 2**22 + 1).processes() == []


@pytest.mark.parametrize(
    ("before", "now", "seconds"),
    [
        ({}, {1: (2.0, 2.0)}, 2.0),
        ({1: (1.0, 1.0)}, {1: (1.5, 1.5)}, 0.5),
        # The child 2 worked half a second more, ended and was waited for.
        ({1: (1.0, 1.0), 2: (3.0, 3.0)}, {1: (1.0, 4.5)}, 0.5),
        # It ended and nobody waited: what the parent used is all that is known.
        ({1: (1.0, 1.0), 2: (3.0, 3.0)}, {1: (1.25, 1.25)}, 0.25),
        # Its number went to another process.
        ({1: (1.0, 1.0), 2: (3.0, 3.0)}, {1: (1.0, 1.0), 2: (0.5, 0.5)}, 0.5),
        ({1: (1.0, 1.0)}, {1: (1.0, 1.0)}, 0.0),
    ],
)
def test_cpu_seconds(
    before: dict[int, tuple[float, float]], now: dict[int, tuple[float, float]], seconds: float
) -> None:
    assert cpu_seconds(before, now) == pytest.approx(seconds)


def test_counters_the_system_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, and in containers that hide the disks."""
    import psutil

    monkeypatch.delattr(psutil.Process, "io_counters", raising=False)
    monkeypatch.setattr(psutil, "disk_io_counters", lambda nowrap: None)
    monkeypatch.setattr("guildlite.collect.system._LISTS_CHILDREN", False)
    with running() as script:
        collector = collector_of(script.pid)
        sample(collector)
        values = sample(collector)
    assert {"op/mem/rss", "op/threads", "op/cpu/util"} <= values.keys()
    assert not {"op/io/read", "op/io/write", "sys/disk/read"} & values.keys()


def test_importing_loads_no_psutil() -> None:
    code = (
        "import sys, guildlite.collect.system, guildlite.collect.gpu as g; g.GpuCollector(int, 0)"
    )
    subprocess.run(
        [sys.executable, "-c", f"{code}; assert not {{'psutil', 'pynvml'}} & set(sys.modules)"],
        check=True,
    )
