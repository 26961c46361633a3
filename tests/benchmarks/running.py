"""What a run costs: launching, collecting, and the way from a flush to a row in run.db.

    python tests/benchmarks/running.py [ROUNDS]

Launch: CPU of the whole process tree of `gl train` on a script that does nothing, minus the
script itself, as a ratio to `python -c pass` in the same rounds; beside it a launcher of ten
lines that makes a directory, pumps the output into a file and keeps the status (the floor).
Collecting: CPU and memory of supervisor and waiter while a script logs 100 scalars a second.
Latency: the time from the script's flush to the row being readable by another process.
Goals: launch at most 15, reach 10; collecting under 2 % of a core and 120 MB; latency under 0.3 s.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from guildlite.runs import Run, RunStore  # noqa: E402

GL = "from guildlite.cli.main import main; main()"
FLOOR = """
import os, subprocess, sys
os.makedirs(sys.argv[1]); log = open(sys.argv[1] + "/log", "wb")
child = subprocess.Popen([sys.executable, "noop.py"], stdout=subprocess.PIPE)
for line in child.stdout: log.write(line)
open(sys.argv[1] + "/exit", "w").write(str(child.wait()))
"""
PROJECT = """
models:
  noop: {train: noop}
  live: {train: live, flags: {rundir: $RUNDIR, seconds: 8}}
"""
#: One scalar every 10 ms, its value the moment of its flush.
LIVE = """
import os, sys, time
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
file = open(os.environ["RUNDIR"] + "/events.out.tfevents.1.bench", "wb")
writer = RecordWriter(file)
writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
end = time.time() + float(sys.argv[sys.argv.index("--seconds") + 1])
step = 0
while time.time() < end:
    due = time.time() + 0.01
    value = Summary.Value(tag="moment", simple_value=time.time() % 1000)
    event = Event(wall_time=time.time(), step=step, summary=Summary(value=[value]))
    writer.write(event.SerializeToString())
    file.flush()
    step += 1
    time.sleep(max(0, due - time.time()))
"""


def cpu_s(words: list[str], directory: Path, environ: dict[str, str]) -> tuple[float, float]:
    """Run Python with `words`; return CPU seconds of its tree and wall seconds."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *words], cwd=directory, env=environ,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, time.monotonic() - began


def measure_launch(directory: Path, environ: dict[str, str], rounds: int) -> None:
    """Print what launching a script that does nothing costs."""
    figures: dict[str, list[tuple[float, float]]] = {}
    for number in range(rounds + 1):
        for label, words in {
            "python -c pass": ["-c", "pass"],
            "python noop.py": ["noop.py"],
            "floor": ["-c", FLOOR, f"floor{number}"],
            "gl train": ["-c", GL, "train", "noop"],
        }.items():
            figures.setdefault(label, []).append(cpu_s(words, directory, environ))
    # The first round compiles and fills the caches.
    cpu = {label: statistics.median(one[0] for one in all_[1:]) for label, all_ in figures.items()}
    wall = {label: statistics.median(one[1] for one in all_[1:]) for label, all_ in figures.items()}
    base, script = cpu["python -c pass"], cpu["python noop.py"]
    print(f"python -c pass  {base * 1000:6.1f} ms CPU")
    for label in ("floor", "gl train"):
        ratio = (cpu[label] - script) / base
        extra = (wall[label] - wall["python noop.py"]) * 1000
        print(f"{label:<14}  {ratio:6.2f} times that, the script taken off;  {extra:.0f} ms wall")


def process_figures(pid: int) -> tuple[float, float]:
    """Return CPU seconds and resident megabytes of a process, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # Nanoseconds on a core; the ticks of `stat` are a quarter percent of what is measured here.
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    cpu_ns = sum(int(task.read_text().split()[0]) for task in tasks)
    return cpu_ns / 1e9, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_live(directory: Path, environ: dict[str, str]) -> None:
    """Print what collecting costs and how late rows are, for a script of 100 scalars a second."""
    process = subprocess.Popen(
        [sys.executable, "-c", GL, "train", "live"], cwd=directory, env=environ,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    run = wait_for_run(RunStore(directory / "runs"))
    pids = [run.started_fact()[name]["pid"] for name in ("supervisor", "waiter")]  # type: ignore[index]
    time.sleep(2)  # imports are over, the sampler has begun
    before, began = sum(process_figures(pid)[0] for pid in pids), time.monotonic()
    late = watch_rows(run, seconds=4)
    figures = [process_figures(pid) for pid in pids]
    share = (sum(cpu for cpu, _ in figures) - before) / (time.monotonic() - began)
    memory = sum(megabytes for _, megabytes in figures)
    process.wait()
    print(f"collecting      {share:6.2%} of a core, {memory:.0f} MB, 100 scalars a second")
    print(f"latency         {statistics.median(late) * 1000:6.0f} ms median,"
          f" {max(late) * 1000:.0f} ms most, {len(late)} rows")  # fmt: skip


def wait_for_run(store: RunStore) -> Run:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for run in store.list():
            if run.model == "live" and run.started_fact() and run.paths.db.exists():
                return run
        time.sleep(0.02)
    raise SystemExit("the run did not start")


def watch_rows(run: Run, seconds: float) -> list[float]:
    """Return how old each new row was when another process could first read it."""
    late: list[float] = []
    seen = -1
    end = time.time() + seconds
    while time.time() < end:
        connection = sqlite3.connect(f"file:{run.paths.db}?mode=ro", uri=True)
        rows = connection.execute(
            "SELECT seq, time FROM series WHERE seq > ? AND key_id ="
            " (SELECT id FROM series_key WHERE key = 'moment')", (seen,)
        ).fetchall()  # fmt: skip
        connection.close()
        now = time.time()
        if seen >= 0:
            late.extend(now - at / 1000 for _, at in rows)
        seen = rows[-1][0] if rows else seen
        time.sleep(0.005)
    return late


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "project.yml").write_text(PROJECT)
        (directory / "noop.py").write_text("pass\n")
        (directory / "live.py").write_text(LIVE)
        for file in directory.iterdir():
            os.utime(file, (time.time() - 60, time.time() - 60))  # old enough for the caches
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "GUILDLITE_CACHE": str(directory / "c")}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed gl is compiled
        measure_launch(directory, environ, rounds)
        measure_live(directory, environ)


if __name__ == "__main__":
    main()
