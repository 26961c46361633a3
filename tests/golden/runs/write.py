"""Writes the run.db of this release's schema: `python tests/golden/runs/write.py`.

A file that is there is never written again: it is what an older release left on people's disks.
Every number is fixed, so that `expected.json` can be read beside it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from guildlite.runs.db import RunDb
from guildlite.runs.migrations import VERSION
from guildlite.series import (
    STDERR,
    STDOUT,
    Cursor,
    EmbeddingSeen,
    Experiment,
    FileSeen,
    Item,
    Items,
    OutputLine,
    Point,
    Reading,
    SeriesMetadata,
    Session,
)

HERE = Path(__file__).parent
LOSS = [2.5, math.nan, 1.25, math.inf, -0.5]
STEPS = [0, 1, 2, 1, 2]
#: Schema 2: by reference, so the file they lie in need not be there.
IMAGES = Items(
    "train/sample",
    "image",
    "images",
    [Item(1, 1001, 40, 500, 7, 0), Item(2, None, 560, 501, 8, 1)],
    SeriesMetadata("Sample", "one *digit*", b"\x08\x01"),
)
SESSION = Session("a", "g", "success", 1000, 2000, {"lr": ("0.1", "float"), "on": ("True", "bool")})
EXPERIMENT = Experiment(
    "", "sweep", "of lr", {"lr": {"min": 0.0, "max": 1.0}, "on": None}, [["", "loss"]]
)
EMBEDDING = EmbeddingSeen(
    "words:0", "words:0", FileSeen("words.tsv", 9, 1000), None, None, None, (3, 2), (), 1000
)


def main() -> None:
    path = HERE / f"run-{VERSION}.db"
    if path.exists():
        raise SystemExit(f"{path.name} is there already and is never written again")
    points = [
        Point(step, 1000 + n, value)
        for n, (step, value) in enumerate(zip(STEPS, LOSS, strict=True))
    ]
    long = [Point(n, None, float(n % 100)) for n in range(3000)]
    with RunDb(path) as db:
        db.write_start({"id": "20261120T174501Z-expert"}, {"datadir": "./data", "lr": "0.5"})
        db.write(
            [
                Reading(
                    Cursor("train/events.1", "tfevents", "d1", 99, {"next": 3}),
                    {"train/loss": points},
                    media=[IMAGES],
                    sessions=[SESSION],
                    experiments=[EXPERIMENT],
                ),
                Reading(
                    Cursor("log.csv", "csv", "d2", 5, error="row 9 is damaged"), {"long": long}
                ),
                Reading(
                    Cursor("projector_config.pbtxt", "projector", "", 30), embeddings=[EMBEDDING]
                ),
                Reading(
                    lines=[
                        OutputLine(7, STDOUT, "grün"),
                        OutputLine(None, STDERR, "x", "2-evaluate"),
                    ]
                ),
            ]
        )
        db.seal({"exit_code": "0"})
    expected = {
        "attrs": {"id": "20261120T174501Z-expert", "exit_code": "0"},
        "flags": {"datadir": "./data", "lr": "0.5"},
        "loss": [[point.step, point.time, str(point.value)] for point in points],
        "summary": {
            "count": 5,
            "nan": 1,
            "infinite": 1,
            "min": -0.5,
            "max": 2.5,
            "segments": 2,
            "mean": (2.5 + 1.25 - 0.5) / 3,
            "last": -0.5,
            "last_step": 2,
        },
        "output": [[7, STDOUT, "grün", ""], [None, STDERR, "x", "2-evaluate"]],
        "media": [
            ["train/sample", "image", 0, 1, 1001, 0, "train/events.1", [40, 500, 7, 0]],
            ["train/sample", "image", 1, 2, None, 0, "train/events.1", [560, 501, 8, 1]],
        ],
        "series": ["train/sample", "image", 2, 1, 2, 1001, 1001, 1]
        + ["images", "Sample", "one *digit*"],
        "sessions": [["a", "g", "success", 1000, 2000, {"lr": 0.1, "on": True}]],
        "experiments": [
            ["", "sweep", "of lr", {"lr": {"min": 0.0, "max": 1.0}, "on": None}, [["", "loss"]]]
        ],
        "embeddings": [
            ["words:0", "words:0", "projector_config.pbtxt", ["words.tsv", 9, 1000]]
            + [None, None, None, [3, 2], []]
        ],
    }
    text = json.dumps(expected, indent=1, ensure_ascii=False)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
