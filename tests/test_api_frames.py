"""Frames of many runs say what the run directories say, read one by one and cell by cell."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.run_dirs import START, make_run

import guildlite as gl
from guildlite.index import Index
from guildlite.runs import RunStore

#: Texts of flags that are read by YAML's rules, and what those rules say of them.
TEXTS: dict[str, Any] = {
    "1": 1, "007": 7, "-3": -3, "0.1": 0.1, "1e-3": 0.001, "1e300": 1e300, "inf": "inf",
    "12345678901234567": 12345678901234567, "99999999999999999999": 99999999999999999999,
    ".inf": math.inf, "1e999": math.inf, "-inf": "-inf", "0x1f": 31, "True": True, "false": False,
    "null": None, "": None, "adam": "adam", "12:30": "12:30", "1.0": 1.0, "-0.0": 0.0,
    "9007199254740993": 9007199254740993, "NaN": "NaN", "1_000": "1_000", "+5": 5, ".5": 0.5,
    "5.": 5.0, "1e15": 1e15, "-1e16": -1e16,
}  # fmt: skip


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_places: None) -> RunStore:
    """Forty runs that have few things in common."""
    monkeypatch.chdir(tmp_path)
    store, draw = RunStore(tmp_path / "runs"), random.Random(4)
    for number in range(40):
        flags = {name: draw.choice([*TEXTS]) for name in "abcde" if draw.random() < 0.7}
        series = {
            key: [draw.choice([draw.random(), math.nan, math.inf, -2.0]) for _ in range(3)]
            for key in ("loss", "status", "sys/cpu/util", f"own/{number % 7}")
            if draw.random() < 0.7
        }
        make_run(
            store, draw.choice(["expert", "student"]), flags=flags, series=series,
            started=START + 60 * number, label=draw.choice(["", "good"]), code=number % 2,
        )  # fmt: skip
    return store


def slow_rows(runs: list[gl.Run]) -> list[dict[str, Any]]:
    """Return what the runs' own directories say, by the names of a frame's columns."""
    rows = []
    for run in runs:
        row: dict[str, Any] = {
            name: getattr(run, name)
            for name in ("id", "status", "model", "operation", "label", "duration", "exit_code",
                         "marked", "note", "started", "stopped")
        }  # fmt: skip
        row |= {f"flag.{name}": TEXTS[text] for name, text in run.manifest["flags"].items()}  # type: ignore[attr-defined]
        system = [(key, series.summary) for key, series in run.system.items()]
        for key, held in [*run.summary.items(), *system]:
            name = "series.status" if key == "status" else key
            row |= {name: held.last, f"min({name})": held.min, f"max({name})": held.max}
        rows.append(row | {"attr.host": run.attributes.get("host")})
    return rows


def same(found: object, wanted: object) -> bool:
    """Return whether two cells are alike; a missing value has many faces in a frame."""
    if wanted is None or wanted != wanted:
        return bool(pd.isna(found))
    return bool(found == wanted)


QUESTIONS: list[dict[str, Any]] = [
    {}, {"filter": "model = expert"}, {"sort": "-loss", "limit": 15}, {"filter": "model = nobody"},
    {"filter": "loss < 0.5", "sort": "b"}, {"filter": "exit_code = 1", "limit": 7},
]  # fmt: skip


def test_a_frame_says_what_the_runs_say(many: RunStore) -> None:
    numbers = [run.id for run in gl.runs()]
    said = dict(zip(numbers, slow_rows([*gl.runs()]), strict=True))
    for question in QUESTIONS:
        runs = gl.runs(**question)
        frame, rows = runs.to_frame(system=True), [said[run.id] for run in runs]
        assert list(frame["number"]) == [numbers.index(row["id"]) + 1 for row in rows]
        wanted = {name for row in rows for name in row}
        for kind in (".", "("):
            assert {n for n in frame if kind in n} == {n for n in wanted if kind in n}
        for place, row in enumerate(rows):
            for name in wanted:
                assert same(frame[name].iloc[place], row.get(name)), (question, name, place)


def test_a_part_of_the_runs_has_its_own_columns_only(many: RunStore) -> None:
    runs = gl.runs()
    whole, part = runs.to_frame(), runs[3:36:4]
    frame = part.to_frame()
    assert list(frame["id"]) == list(whole["id"][3:36:4]) == [run.id for run in part]
    assert list(frame["number"]) == [*range(4, 37, 4)]
    rows = slow_rows([*part])
    for name in ("flag.a", "loss", "max(own/2)"):
        held = [row.get(name) for row in rows]
        assert (name in frame) == any(name in row for row in rows)
        if name in frame:
            assert all(same(*pair) for pair in zip(frame[name], held, strict=True)), name
    alone = runs[0]
    shown = {name for name in runs[:1].to_frame() if name.startswith(("flag.", "own/"))}
    assert shown == {name for name in slow_rows([alone])[0] if name.startswith(("flag.", "own/"))}


def test_columns_come_in_the_order_of_the_runs(many: RunStore) -> None:
    columns = [*gl.runs().to_columns()]
    seen: dict[str, None] = {}
    for run in gl.runs():
        seen.update(dict.fromkeys(run.flags))
    assert {name for name in columns if name.startswith("flag.")} == {f"flag.{n}" for n in seen}
    newest = [f"flag.{name}" for name in gl.run(1).flags]
    first = [name for name in columns if name.startswith("flag.")][: len(newest)]
    assert sorted(first) == sorted(newest), "those of the newest run come first"


def test_columns_need_no_pandas(many: RunStore) -> None:
    columns, frame = gl.runs().to_columns(), gl.runs().to_frame()
    assert list(columns) == list(frame)
    assert {len(column) for column in columns.values()} == {40}
    assert columns["started"][0] == START + 60 * 39 and columns["number"][39] == 40
    assert columns["loss"].dtype == float  # type: ignore[attr-defined]
    assert list(columns["flag.a"]) == [run.flags.get("a") for run in gl.runs()]


def test_what_the_machine_did_is_found_after_the_index_was_built_anew(many: RunStore) -> None:
    runs = gl.runs(sort="started")
    before = slow_rows([*runs])
    with Index(many.root) as index:
        make_run(many, started=START - 600, series={"sys/gpu/util": [5.0]})
        index.rebuild()
    frame = runs.to_frame(system=True)
    for place, row in enumerate(before):
        assert same(frame["sys/cpu/util"].iloc[place], row.get("sys/cpu/util"))
        assert same(frame["loss"].iloc[place], row.get("loss"))
    assert "sys/gpu/util" not in frame
