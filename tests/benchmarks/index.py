"""Many runs: building the index, keeping it fresh, asking it.

    python tests/benchmarks/index.py [RUNS]... [--place DIRECTORY]

Makes projects of RUNS (1,000 and 10,000) run directories with 20 flags and 10 metrics each, which
take 130 kB and some milliseconds a run, and an index of 100,000 such runs without directories for
the questions. With DIRECTORY the projects are kept there and used again. Goals: built cold in 3 s
per 10,000 runs; a filter with sorting by any metric in 10 ms at 100,000; `gl runs`, with nothing
changed, in 8, 10 and 20 times the CPU time of `python -c pass` at 1,000, 10,000 and 100,000 runs.
The table of 1,000 runs against that of other trackers is in `trackers.py`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.start_up import cpu_s  # noqa: E402
from support.many_runs import FIRST, flags_of, make_many, metrics_of  # noqa: E402
from support.records import Held, record  # noqa: E402

from guildlite.index import Index, RunRecord  # noqa: E402
from guildlite.index.record import Reduced  # noqa: E402
from guildlite.query import find_runs  # noqa: E402

MANY = 100_000
QUESTIONS = [
    ("latest 20", "", ""),
    ("best 20 by metric", "", "-validation/accuracy"),
    ("best 20 by min(metric)", "", "min(train/loss)"),
    ("filter + sort", "status = completed and optimizer = adam", "-validation/accuracy"),
    ("two ranges + sort", "train/loss < 0.5 and flag.lr >= 0.01", "validation/loss"),
    ("selective + sort", "train/loss < 0.001 and optimizer = sgd", "metric5"),
    ("selective flags + sort", "flag4 = 3 and flag5 = 7 and flag6 < 50", "-metric9"),
    ("model + latest", "model = vit", ""),
    ("bare word", "0917", ""),
]
#: What an installed `gl` does, without depending on one being installed.
GL_RUNS = ["-c", "from guildlite.cli.main import main; main()", "runs"]
ROUNDS = 12


def best_ms(call: Callable[[], object], times: int = 7) -> float:
    """Return the least wall time of some calls: the others met somebody else on the machine."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return min(found) * 1000


def report(name: str, value: float, unit: str = "ms") -> None:
    print(f"{name:<44} {value:9.2f} {unit}", flush=True)


def records(count: int) -> Iterator[RunRecord]:
    for number in range(count):
        series = {key: Reduced(5, *each, 0, 4, 0, 0) for key, each in metrics_of(number).items()}
        started = FIRST + 60 * number
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(started))
        model = ("intro", "expert", "resnet", "vit")[number % 4]
        yield record(
            id=f"{stamp}-{model}", model=model, flags=flags_of(number), series=series,
            status="failed" if number % 10 == 9 else "completed", created=started, started=started,
        )  # fmt: skip


def measure_directories(place: Path, count: int) -> None:
    root = place / "runs"
    if not root.exists():
        (place / "project.yml").write_text("models: {expert: {train: 'true'}}\n")
        make_many(root, count)
    with Index(root, place / "index") as index:
        cpu = cpu_of_all()
        cold = best_ms(lambda: _cold(index, place), 1 if count > 20_000 else 3)
        report(f"cold build of {count:,} runs", cold / 1000, "s")
        report("  per 10,000", cold / 1000 / count * 10_000, "s")
        report("  CPU of all processes, all turns", cpu_of_all() - cpu, "s")
        index.refresh()
        index.refresh()
        report("refresh, nothing changed", best_ms(index.refresh))
        assert index.path is not None
        report("bytes a run", index.path.stat().st_size / count, "B")


def cpu_of_all() -> float:
    """Return the CPU seconds of this process and of those it waited for."""
    times = os.times()
    return sum(times[:4])


def _cold(index: Index, place: Path) -> None:
    index.close()
    shutil.rmtree(place / "index", ignore_errors=True)
    index.refresh()


def measure_process(place: Path, count: int) -> None:
    """Measure `gl runs` as a process: nothing changed, an hour later, after another run began."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "GUILDLITE_CACHE": str(place / "cache")}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    base, taken = [], []
    for _ in range(ROUNDS):
        base.append(cpu_s(["-c", "pass"], place, environ))
        taken.append(cpu_s(GL_RUNS, place, environ))
    # The first builds, the second finds the directory's stamp young.
    unit, least = "x python -c pass", statistics.median(base[2:])
    report(f"gl runs of {count:,}", statistics.median(taken[2:]) / least, unit)
    for what, change in (("first after an hour", "looked_at"), ("root changed", "root_ns")):
        taken = []
        for _ in range(ROUNDS // 2):
            _forget(place, change)
            taken.append(cpu_s(GL_RUNS, place, environ))
        report(f"  {what}", statistics.median(taken) / least, unit)


def _forget(place: Path, mark: str) -> None:
    """Let the index believe that it is long ago that it looked, or another directory."""
    (path,) = place.glob("cache/index/*/*.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE meta SET value = 0 WHERE name = ?", (mark,))
    connection.execute("UPDATE meta SET value = '' WHERE name = 'looked_to'")
    connection.close()


def measure_questions() -> None:
    held = Held(records(MANY))
    for name, text, sort in QUESTIONS:
        ask = partial(find_runs, held, text, sort=sort, limit=20)  # type: ignore[arg-type]
        report(f"{MANY:,}: {name}", best_ms(ask))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--place", type=Path)
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for count in parsed.runs:
            place = (parsed.place or Path(name)).resolve() / f"r{count}"
            place.mkdir(parents=True, exist_ok=True)
            measure_directories(place, count)
            measure_process(place, count)
        measure_questions()


if __name__ == "__main__":
    main()
