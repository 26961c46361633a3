"""Thousands of runs in seconds: one real run.db, copied and given other numbers each time.

Flags and summaries differ from run to run and are drawn from the run's number, so that the same
call makes the same runs. The points in `series` stay those of the first.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import tempfile
import time
from pathlib import Path

from guildlite.runs.db import RunDb
from guildlite.series import Point, Reading

#: 2026-09-01 00:00 UTC; runs follow one another by a minute.
FIRST = 1_788_220_800.0
FLAGS, METRICS = 20, 10
_MODELS = ("intro", "expert", "resnet", "vit")
_UPDATE = (
    'UPDATE series_key SET "first" = ?, "last" = ?, "min" = ?, "max" = ?, mean = ? WHERE key = ?'
)


def flags_of(number: int, flags: int = FLAGS) -> dict[str, str]:
    """Return the flags of run `number` (from 0)."""
    draw = random.Random(number)
    named = {
        "lr": repr(round(10 ** draw.uniform(-4, -1), 6)),
        "batch_size": str(draw.choice((16, 32, 64, 128))),
        "optimizer": draw.choice(("adam", "sgd", "lion")),
        "seed": str(number % 5),
    }
    named |= {f"flag{index}": str(draw.randrange(100)) for index in range(4, flags)}
    return dict(list(named.items())[:flags])


def metrics_of(number: int, metrics: int = METRICS) -> dict[str, tuple[float, ...]]:
    """Return (first, last, min, max, mean) of each series of run `number`."""
    draw = random.Random(-1 - number)
    found = {}
    for index in range(metrics):
        values = [draw.random() for _ in range(5)]
        found[metric_name(index)] = (
            values[0], values[-1], min(values), max(values), sum(values) / 5
        )  # fmt: skip
    return found


def metric_name(index: int) -> str:
    """Return the key of series `index`."""
    return (
        ("train/loss", "validation/loss", "train/accuracy", "validation/accuracy")[index]
        if (index < 4)
        else f"metric{index}"
    )


def make_many(root: Path, count: int, *, flags: int = FLAGS, metrics: int = METRICS) -> None:
    """Make `count` completed runs under `root`."""
    template = _template(flags, metrics)
    long_ago = time.time() - 86_400
    for number in range(count):
        _make(root, number, template, flags, metrics, long_ago)
    if count:
        os.utime(root, (long_ago, long_ago))


def _template(flags: int, metrics: int) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "run.db")
        with RunDb(path) as db:
            db.write_start({"host": "tower", "git.branch": "main"}, flags_of(0, flags))
            points = [Point(step, 1_788_220_800_000 + step, 0.5) for step in range(5)]
            db.write([Reading(None, {metric_name(index): points for index in range(metrics)})])
            db.seal({})
        return path.read_bytes()


def _make(
    root: Path, number: int, template: bytes, flags: int, metrics: int, modified: float
) -> None:
    started = FIRST + 60 * number
    model = _MODELS[number % len(_MODELS)]
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(started))
    own = root / f"{stamp}-{model}" / "gl.d"
    meta = own / "meta"
    meta.mkdir(parents=True)
    facts: dict[str, dict[str, object]] = {
        "manifest": {
            "uid": f"uid-{number}", "model": model, "operation": "train", "project": "many",
            "command": ["python", "-u", f"{model}.py"], "flags": flags_of(number, flags),
            "created": started - 0.5,
        },
        "started": {"time": started},
        "exit": {
            "time": started + 50, "duration_s": 50.0 + number % 7, "signal": None, "stopped": False,
            "code": 1 if number % 10 == 9 else 0,
        },
    }  # fmt: skip
    for name, fact in facts.items():
        (meta / f"{name}.json").write_text(json.dumps(fact))
    db = own / "run.db"
    db.write_bytes(template)
    connection = sqlite3.connect(db, isolation_level=None)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    connection.executemany(
        "UPDATE flag SET value = ? WHERE name = ?",
        [(value, name) for name, value in flags_of(number, flags).items()],
    )
    connection.executemany(
        _UPDATE, [(*values, key) for key, values in metrics_of(number, metrics).items()]
    )
    connection.execute("COMMIT")
    connection.close()
    for path in (db, meta, own):
        os.utime(path, (modified, modified))
