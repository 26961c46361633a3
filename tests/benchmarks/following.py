"""What following thousands of event files costs, by polling and by inotify.

    python tests/benchmarks/following.py [SECONDS]

Quiet: 5,000 files in 500 directories that nobody writes, and beside them one that grows by ten
scalars a second; CPU of the follower as a share of one core, and the time from flush to value.
Waking: the same, but each scalar goes to one of the 5,000 files, which has been quiet for long.
History: one look at a file that grew by ten records, at 1 KB and at 500 MB of earlier ones.
The follower looks as the supervisor does: five times a second, and at most ten times when told.
Goal: under 0.3 s median and 1 % of a core.
"""

from __future__ import annotations

import json
import os
import random
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import google_crc32c

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from guildlite.tfevents import Cursor, LogDir  # noqa: E402
from guildlite.watch import open_watcher  # noqa: E402

DIRECTORIES, FILES = 500, 10
TICK_S, LEAST_S = 0.2, 0.1
#: Looks after which a polled file counts as quiet: 10 s.
WARM_UP_S = 13
LARGE_BYTES = 500_000_000


def record(payload: bytes) -> bytes:
    """Return a framed record."""
    length = struct.pack("<Q", len(payload))
    return length + checksum(length) + payload + checksum(payload)


def checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def scalar(wall_time: float, step: int) -> bytes:
    """Return a scalar `moment` of value 0.5, by hand: event.proto and summary.proto."""
    value = b"\x0a\x06moment\x15" + struct.pack("<f", 0.5)
    summary = b"\x0a" + bytes([len(value)]) + value
    event = b"\x09" + struct.pack("<d", wall_time) + b"\x10" + bytes([step % 127 + 1])
    return record(event + b"\x2a" + bytes([len(summary)]) + summary)


def version() -> bytes:
    return record(b"\x09" + struct.pack("<d", 1.0) + b"\x1a\x0dbrain.Event:2")


def paths(root: Path) -> list[Path]:
    return [
        root / f"run{directory:03}" / f"events.out.tfevents.{number}"
        for directory in range(DIRECTORIES)
        for number in range(FILES)
    ]


def write_tree(root: Path) -> None:
    data = version() + b"".join(scalar(1.0, step) for step in range(20))
    for path in paths(root):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


# The two processes --------------------------------------------------------------------------------


def grow(root: Path, where: str, seconds: float) -> None:
    """Write ten scalars a second, each bearing the moment of its flush."""
    random.seed(1)
    end, step = time.time() + seconds, 0
    while time.time() < end:
        path = random.choice(paths(root)) if where == "waking" else paths(root)[17]
        with open(path, "ab", buffering=0) as file:
            file.write(scalar(time.time(), step))
        step += 1
        time.sleep(0.1)


def follow(root: Path, how: str, where: str, seconds: float) -> None:
    """Print start-up seconds, the share of a core, and how late values came."""
    began = time.perf_counter()
    watcher = open_watcher(root) if how == "inotify" else None
    logdir = LogDir(root, watch=watcher and watcher.changes())
    for _ in logdir.look():
        pass
    first_s = time.perf_counter() - began
    warm = time.monotonic() + WARM_UP_S
    while time.monotonic() < warm:
        wait(watcher.descriptors() if watcher else [])
        for _ in logdir.look():
            pass
    words = [sys.executable, __file__, "--grow", str(root), where, str(seconds)]
    writer = subprocess.Popen(words)
    late: list[float] = []
    before, began = time.process_time(), time.monotonic()
    while time.monotonic() < began + seconds:
        wait(watcher.descriptors() if watcher else [])
        for chunk in logdir.look():
            late += [time.time() - value.wall_time for value in chunk.scalars]
    share = (time.process_time() - before) / (time.monotonic() - began)
    writer.wait()
    print(json.dumps([first_s, share, late]))


def wait(files: list[int]) -> None:
    time.sleep(LEAST_S)
    select.select(files, [], [], TICK_S - LEAST_S)


# Reports ------------------------------------------------------------------------------------------


def report_following(root: Path, seconds: float) -> None:
    for where in ("quiet", "waking"):
        for how in ("polling", "inotify"):
            words = [sys.executable, __file__, "--follow", str(root), how, where, str(seconds)]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
            first_s, share, late = json.loads(done.stdout)
            print(
                f"{where:<7} {how:<8} {share:6.2%} of a core, {first_s:.2f} s to begin; "
                f"{statistics.median(late) * 1000:5.0f} ms median, {max(late) * 1000:5.0f} ms most"
            )


def report_history(root: Path) -> None:
    part = b"".join(scalar(1.0, step) for step in range(1000))
    for label, size in (("1 KB", 1000), (f"{LARGE_BYTES // 10**6} MB", LARGE_BYTES)):
        path = root / "history" / f"{size}.tfevents"
        path.parent.mkdir(exist_ok=True)
        with open(path, "wb") as file:
            file.write(version() + scalar(1.0, 1) * 15)
            while file.tell() < size:
                file.write(part)
        with tempfile.TemporaryDirectory() as name:
            # The first record is all there is to know of a file that was read.
            other = Path(name) / path.name
            other.write_bytes(version())
            (chunk,) = LogDir(name).look()
        logdir = LogDir(path.parent, [Cursor(path.name, chunk.cursor.digest, path.stat().st_size)])
        list(logdir.look())
        times = []
        for step in range(200):
            with open(path, "ab") as file:
                file.write(scalar(1.0, step) * 10)
            began = time.perf_counter()
            count = sum(1 for chunk in logdir.look() for _ in chunk.scalars)
            times.append(time.perf_counter() - began)
            assert count == 10, count
        print(f"history {label:<8} {statistics.median(times) * 1e6:.0f} µs a look, ten new records")
        os.unlink(path)


def main() -> None:
    words = sys.argv[1:]
    if words[:1] == ["--grow"]:
        grow(Path(words[1]), words[2], float(words[3]))
        return
    if words[:1] == ["--follow"]:
        follow(Path(words[1]), words[2], words[3], float(words[4]))
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        report_history(root)
        write_tree(root)
        report_following(root, float(words[0]) if words else 10)


if __name__ == "__main__":
    main()
