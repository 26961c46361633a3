"""Many runs: building the index, keeping it fresh, asking it.

    python tests/benchmarks/index.py [RUNS]

Makes RUNS (10,000) run directories of 20 flags and 10 metrics, and an index of 100,000 such runs
without directories for the questions. Goals: built cold in 3 s per 10,000 runs; a filter with
sorting by any metric in 10 ms at 100,000; the latest 20, in a process of its own with nothing
changed, in 8, 10 and 20 times the CPU time of `python -c pass` at 1,000, 10,000 and 100,000; a
table of 1,000 runs x 5 metrics with last, min and max and all flags in 33 ms (a twentieth of what
Guild takes with its own index warm).
"""

from __future__ import annotations

import os
import shutil
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
ASK = """
import sys; from pathlib import Path
from guildlite.index import Index; from guildlite.query import find_runs
with Index(Path(sys.argv[1])) as index:
    index.refresh()
    rows = find_runs(index, limit=20).rows
    assert len(rows) == 20
"""


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
    make_many(root, count)
    with Index(root, place / "index") as index:
        cold = best_ms(lambda: _cold(index, place), 3)
        report(f"cold build of {count:,} runs", cold / 1000, "s")
        report("  per 10,000", cold / 1000 / count * 10_000, "s")
        index.refresh()
        index.refresh()
        report("refresh, nothing changed", best_ms(index.refresh))
        report("refresh, all stamps compared", best_ms(lambda: (os.utime(root), index.refresh())))
        assert index.path is not None
        report("bytes a run", index.path.stat().st_size / count, "B")


def _cold(index: Index, place: Path) -> None:
    index.close()
    shutil.rmtree(place / "index", ignore_errors=True)
    index.refresh()


def measure_process(place: Path, count: int) -> None:
    root = place / f"runs{count}"
    make_many(root, count)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "GUILDLITE_CACHE": str(place / "cache")}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    words, base = ["-c", ASK, str(root)], ["-c", "pass"]
    taken: list[list[float]] = [[], []]
    for _ in range(12):
        taken[0].append(cpu_s(base, place, environ))
        taken[1].append(cpu_s(words, place, environ))
    # The first builds, the second finds the directory's stamp young.
    ratio = statistics.median(taken[1][2:]) / statistics.median(taken[0][2:])
    report(f"process: refresh + latest 20 of {count:,}", ratio, "x python -c pass")


def measure_questions() -> None:
    held = Held(records(MANY))
    for name, text, sort in QUESTIONS:
        ask = partial(find_runs, held, text, sort=sort, limit=20)  # type: ignore[arg-type]
        report(f"{MANY:,}: {name}", best_ms(ask))


def measure_table(place: Path) -> None:
    root = place / "thousand"
    make_many(root, 1000, metrics=5)
    with Index(root, place / "thousand-index") as index:
        index.refresh()

        def table() -> None:
            index.refresh()
            rows = find_runs(index).rows
            assert len(rows) == 1000 and len(rows[0].record.series) == 5

        report("1,000 runs x 5 metrics, all flags", best_ms(table))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        measure_table(place)
        measure_process(place, 1000)
        measure_directories(place, count)
        measure_questions()


if __name__ == "__main__":
    main()
