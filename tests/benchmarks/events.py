"""Catching up on a large event file, against the insert alone and against tbparse.

    python tests/benchmarks/events.py [ROUNDS]

Ten tags of 100,000 steps, as PyTorch writes them (`simple_value`) and as TensorFlow 2 does
(`tensor_content` with metadata on every value), written through TensorBoard's own protos and
framing. Measured: from the file to committed rows in run.db, with both checksums verified,
summaries, buckets and cursor; against `executemany` of the same rows, as ready tuples, into the
same table in the same batches. The two take turns within a round, in processes of their own,
imports not counted; figures are medians of wall seconds and, for noise, CPU seconds. Goals: at most
2.2 times the insert (torch), 2.5 (TF2); peak memory below 100 MB.

tbparse reads a file of 100,000 points, a tenth, and is compared per point: at least 6 times slower
(torch), 11 times (TF2). It only reads; nothing is stored.

A file that is mostly images, 2,000 of 100 KB with five scalars each, is compared with the sum of
two: framing it and verifying its checksums, record by record, and nothing else; and committing the
same scalars from a file without images. At most 1.5 times that, and peak memory below 100 MB
however many images there are.
"""

from __future__ import annotations

import io
import json
import random
import resource
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

TAGS = (
    "train/loss", "train/accuracy", "validation/loss", "validation/accuracy", "lr", "grad_norm",
    "weight_norm", "throughput", "loss/main", "loss/aux",
)  # fmt: skip
STEPS, TBPARSE_STEPS = 100_000, 10_000
#: Readings of one commit, as `collect.follow` takes them.
BATCH = 4
GOALS = {"torch": (2.2, 6), "tf2": (2.5, 11)}
IMAGES, IMAGE_BYTES, SCALARS_PER_IMAGE = 2_000, 100_000, 5
IMAGES_GOAL = 1.5


def write_files(directory: Path) -> None:
    for steps in (STEPS, TBPARSE_STEPS):
        for form in GOALS:
            path = directory / f"{form}-{steps}" / "events.out.tfevents.1.host"
            path.parent.mkdir()
            path.write_bytes(event_file(form, steps))
    for name in ("images", "no-images"):
        write_images(directory / name / "events.out.tfevents.1.host", IMAGES * (name == "images"))


def write_images(path: Path, images: int) -> None:
    from support.event_files import scalar, summary, version
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    random.seed(1)
    path.parent.mkdir()
    with path.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(version())
        pixels = random.randbytes(IMAGE_BYTES)
        image = Summary.Image(height=100, width=100, encoded_image_string=pixels)
        # TensorBoard's own checksum is a loop in Python: the bytes of a record are made once.
        first, at = summary(1, 1.7e9, Summary.Value(tag="sample", image=image)), file.tell()
        writer.write(first)
        file.flush()
        record = path.read_bytes()[at:]
        file.truncate(at)
        file.seek(at)
        for step in range(1, IMAGES + 1):
            file.write(record if step <= images else b"")
            for tag in TAGS[:SCALARS_PER_IMAGE]:
                writer.write(scalar(tag, step, random.random(), 1.7e9 + step))


def event_file(form: str, steps: int) -> bytes:
    from support.event_files import scalar, summary, tensor, version
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.summary.writer.record_writer import RecordWriter

    random.seed(1)
    file = io.BytesIO()
    writer = RecordWriter(file)
    writer.write(version())
    wall_time = 1.7e9
    for step in range(steps):
        for tag in TAGS:
            wall_time += random.random() / 100
            number = random.random()
            if form == "torch":
                writer.write(scalar(tag, step, number, wall_time))
                continue
            proto = TensorProto(
                dtype=1, tensor_shape=TensorShapeProto(), tensor_content=struct.pack("<f", number)
            )
            value = tensor(tag, proto, "scalars")
            value.metadata.data_class = 1
            writer.write(summary(step, wall_time, value))
    return file.getvalue()


# What is measured, each in a process of its own ---------------------------------------------------


def ours(directory: Path) -> Callable[[], int]:
    from itertools import islice

    import google_crc32c  # noqa: F401
    import numpy  # noqa: F401
    import tensorboard.compat.proto.event_pb2  # noqa: F401

    from guildlite.collect.events import EventFiles
    from guildlite.runs.db import RunDb

    def run() -> int:
        count = 0
        with tempfile.TemporaryDirectory() as name, RunDb(Path(name) / "run.db") as db:
            readings = iter(EventFiles(directory).sample())
            while batch := list(islice(readings, BATCH)):
                db.write(batch)
            for key in db._keys.values():
                count += key.count
        return count

    return run


def insert(directory: Path) -> Callable[[], int]:
    """Insert the rows that `ours` commits, in its batches."""
    from itertools import islice

    from guildlite.collect.events import EventFiles
    from guildlite.runs.db import RunDb

    batches: list[list[list[tuple[object, ...]]]] = []
    ids: dict[str, int] = {}
    counts: dict[str, int] = {}
    readings = iter(EventFiles(directory).sample())
    while batch := list(islice(readings, BATCH)):
        batches.append([])
        for reading in batch:
            for key, points in (*reading.points.items(), *reading.columns.items()):
                rows = points if isinstance(points, list) else zip(*points, strict=True)
                number, seq = ids.setdefault(key, len(ids) + 1), counts.get(key, 0)
                batches[-1].append([(number, seq + n, *row, 0) for n, row in enumerate(rows)])
                counts[key] = seq + len(batches[-1][-1])

    def run() -> int:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "run.db"
            RunDb(path).close()
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("PRAGMA synchronous=NORMAL")
            for batch in batches:
                connection.execute("BEGIN IMMEDIATE")
                for rows in batch:
                    connection.executemany("INSERT INTO series VALUES (?, ?, ?, ?, ?, ?)", rows)
                connection.execute("COMMIT")
            connection.close()
        return sum(counts.values())

    return run


def tbparse(directory: Path) -> Callable[[], int]:
    from tbparse import SummaryReader

    def run() -> int:
        # Its `scalars` leaves out what TensorFlow 2 writes; those are its `tensors`.
        what = "scalars" if directory.name.startswith("torch") else "tensors"
        return len(getattr(SummaryReader(str(directory), event_types={what}), what))

    return run


def framing(directory: Path) -> Callable[[], int]:
    """Frame the records and verify their checksums, no more."""
    import google_crc32c  # noqa: F401

    from guildlite.tfevents import RecordReader

    def run() -> int:
        count = 0
        (path,) = directory.iterdir()
        with path.open("rb", buffering=0) as file:
            reader = RecordReader(file)
            while reader.read() is not None:
                count += 1
        return count - 1  # the version

    return run


def measure(name: str, directory: Path) -> tuple[int, float, float, float]:
    """Return points, wall seconds, CPU seconds and peak MB of one run in a process of its own."""
    words = [sys.executable, __file__, "--measure", name, str(directory)]
    output = subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout
    points, wall_s, cpu_s, peak_mb = json.loads(output)
    return points, wall_s, cpu_s, peak_mb


def measure_here(name: str, directory: str) -> None:
    run = {"ours": ours, "insert": insert, "tbparse": tbparse, "framing": framing}[name](
        Path(directory)
    )
    wall, cpu = time.perf_counter(), time.process_time()
    points = run()
    times = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([points, *times, peak]))


def report(form: str, directory: Path, rounds: int) -> None:
    most, least = GOALS[form]
    found: dict[str, list[tuple[int, float, float, float]]] = {}
    for _ in range(rounds):
        for name in ("ours", "insert"):
            path = directory / f"{form}-{STEPS}"
            found.setdefault(name, []).append(measure(name, path))
    tb = measure("tbparse", directory / f"{form}-{TBPARSE_STEPS}")
    points = {one[0] for each in found.values() for one in each}
    assert points == {STEPS * len(TAGS)} and tb[0] == TBPARSE_STEPS * len(TAGS), (points, tb)
    wall, cpu = (
        {name: statistics.median(one[column] for one in each) for name, each in found.items()}
        for column in (1, 2)
    )
    peak = max(one[3] for one in found["ours"])
    scale = STEPS / TBPARSE_STEPS
    print(
        f"{form:<6} ours {wall['ours']:.2f} s (CPU {cpu['ours']:.2f}, peak {peak:.0f} MB), "
        f"insert {wall['insert']:.2f} s (CPU {cpu['insert']:.2f}): "
        f"{wall['ours'] / wall['insert']:.2f} x, CPU {cpu['ours'] / cpu['insert']:.2f} x "
        f"(at most {most})"
    )
    print(
        f"{form:<6} tbparse {tb[1]:.2f} s for a tenth: {tb[1] * scale / wall['ours']:.1f} x, "
        f"CPU {tb[2] * scale / cpu['ours']:.1f} x (at least {least})"
    )


def report_images(directory: Path, rounds: int) -> None:
    found: dict[tuple[str, str], list[tuple[int, float, float, float]]] = {}
    cases = (("ours", "images"), ("framing", "images"), ("ours", "no-images"))
    for _ in range(rounds):
        for name, file in cases:
            found.setdefault((name, file), []).append(measure(name, directory / file))
    counts = [found[case][0][0] for case in cases]
    scalars = IMAGES * SCALARS_PER_IMAGE
    # Our count of `images` leaves nothing out: what is no scalar has its summary as well.
    assert counts == [scalars + IMAGES, scalars + IMAGES, scalars], counts
    wall, cpu = (
        [statistics.median(one[column] for one in found[case]) for case in cases]
        for column in (1, 2)
    )
    print(
        f"images ours {wall[0]:.2f} s for {IMAGES * IMAGE_BYTES / 1e6:.0f} MB (CPU {cpu[0]:.2f}, "
        f"peak {max(one[3] for one in found[cases[0]]):.0f} MB), framing {wall[1]:.2f} s and the "
        f"scalars alone {wall[2]:.2f} s (CPU {cpu[1]:.2f} and {cpu[2]:.2f}): "
        f"{wall[0] / sum(wall[1:]):.2f} x, CPU {cpu[0] / sum(cpu[1:]):.2f} x "
        f"(at most {IMAGES_GOAL})"
    )


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        measure_here(*sys.argv[2:4])
        return
    if sys.argv[1:2] == ["--write"]:
        write_files(Path(sys.argv[2]))
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        # In another process: Linux hands a parent's peak memory on to its children.
        subprocess.run([sys.executable, __file__, "--write", name], check=True)
        for form in GOALS:
            report(form, directory, rounds)
        report_images(directory, rounds)


if __name__ == "__main__":
    main()
