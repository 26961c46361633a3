"""Importing many small runs, against tbparse, which only reads them.

    python tests/benchmarks/imports.py [ROUNDS]

1,000 directories with one event file each, ten tags of 100 steps as PyTorch writes them, 1 M points
together. Measured, in turns: `gl import` of the tree into an empty directory (a process with all
its imports, to 1,000 run directories that are on the disk), the same again with nothing new, and
tbparse reading the tree into data frames, its imports not counted. Figures are medians of wall
seconds and CPU seconds. Goals: at least 3 times faster than tbparse; again in less than 0.3 s.
"""

from __future__ import annotations

import io
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

RUNS, TAGS, STEPS = 1000, 10, 100
LEAST_FACTOR, MOST_AGAIN_S = 3.0, 0.3

READ = """
import sys, time
from tbparse import SummaryReader
wall, cpu = time.perf_counter(), time.process_time()
count = len(SummaryReader(sys.argv[1], event_types={"scalars"}).scalars)
print(count, time.perf_counter() - wall, time.process_time() - cpu)
"""


def write_tree(directory: Path) -> None:
    from support.event_files import scalar, version
    from tensorboard.summary.writer.record_writer import RecordWriter

    random.seed(1)
    wall_time = 1.7e9
    for run in range(RUNS):
        file = io.BytesIO()
        writer = RecordWriter(file)
        writer.write(version(wall_time))
        for step in range(STEPS):
            for tag in range(TAGS):
                wall_time += random.random() / 100
                writer.write(scalar(f"group/tag{tag}", step, random.random(), wall_time))
        path = directory / f"run-{run:04}" / f"events.out.tfevents.{run}.host"
        path.parent.mkdir()
        path.write_bytes(file.getvalue())


def run(words: Sequence[str], directory: Path) -> tuple[str, float, float]:
    """Return stdout, wall seconds and CPU seconds of a child process."""
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        words, cwd=directory, check=True, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "GUILDLITE_CACHE": str(directory / "cache")},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, time.perf_counter() - wall, cpu_s


def points_in(directory: Path) -> int:
    import sqlite3

    count = 0
    for path in directory.glob("runs/*/gl.d/run.db"):
        connection = sqlite3.connect(path)
        count += connection.execute("SELECT count(*) FROM series").fetchone()[0]
        connection.close()
    return count


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found: dict[str, list[tuple[float, float]]] = {"import": [], "again": [], "tbparse": []}
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "logs"
        tree.mkdir()
        write_tree(tree)
        for number in range(rounds):
            project = Path(name) / f"project{number}"
            project.mkdir()
            words = [sys.executable, "-m", "guildlite", "import", str(tree)]
            for what in ("import", "again"):
                found[what].append(run(words, project)[1:])
            points = points_in(project)
            assert points == RUNS * TAGS * STEPS, points
            out, _, _ = run([sys.executable, "-c", READ, str(tree)], project)
            count, wall_s, cpu_s = out.split()
            assert int(count) == points, count
            found["tbparse"].append((float(wall_s), float(cpu_s)))
    medians = {
        what: [statistics.median(column) for column in zip(*times, strict=True)]
        for what, times in found.items()
    }
    for what, (wall_s, cpu_s) in medians.items():
        print(f"{what:<8} {wall_s:6.2f} s, CPU {cpu_s:6.2f} s")
    factor = medians["tbparse"][0] / medians["import"][0]
    print(f"tbparse takes {factor:.1f} times as long (at least {LEAST_FACTOR})")
    print(f"again: {medians['again'][0]:.2f} s (at most {MOST_AGAIN_S})")


if __name__ == "__main__":
    main()
