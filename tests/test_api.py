"""The Python API on runs at rest and runs being written: values, frames, errors, weight."""

from __future__ import annotations

import inspect
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.run_dirs import START, make_run

import guildlite as gl
from guildlite.api import SeriesNotFound
from guildlite.api.markup import sparkline
from guildlite.errors import FilterError, GuildliteError, MissingExtra, RunNotFound, UsageError
from guildlite.platform import ProcessIdentity
from guildlite.runs import RunStore
from guildlite.runs.db import RunDb
from guildlite.runs.facts import write_fact
from guildlite.series import Point, Reading

ROOT = Path(__file__).parent.parent
NASTY = "<script>alert(1)</script>\u202e\x1b[31m&\"'"


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def four(store: RunStore) -> RunStore:
    """Two learning rates, two seeds each; the newest has the largest rate."""
    for number in range(4):
        make_run(
            store,
            flags={"lr": str((number // 2 + 1) / 10), "seed": str(number % 2), "name": "007"},
            started=START + 60 * number,
            series={"loss": [4.0, 2.0, 1.0 - number / 10], "sys/cpu/util": [10.0, 20.0]},
            out=["one", "two"],
            err=["trouble"],
            label=f"number {number}",
            code=1 if number == 0 else 0,
        )
    return store


# Many runs ----------------------------------------------------------------------------------------


def test_runs_are_a_sequence_of_the_newest_first(four: RunStore) -> None:
    runs = gl.runs()
    assert "not read yet" in repr(runs)
    assert len(runs) == 4 and [run.label for run in runs] == [f"number {n}" for n in (3, 2, 1, 0)]
    assert runs[-1].label == "number 0"
    assert [run.label for run in runs[1:3]] == ["number 2", "number 1"]
    assert runs[0] in runs and runs[0] == gl.run(1)
    assert len({*runs}) == 4
    assert len(gl.runs(limit=2)) == 2 and len(gl.runs(limit=0)) == 0
    with pytest.raises(IndexError):
        runs[4]


def test_filter_and_sort_are_those_of_the_command_line(four: RunStore) -> None:
    assert [run.label for run in gl.runs("status = completed and lr = 0.1")] == ["number 1"]
    by_loss = [run.summary["loss"].last for run in gl.runs(sort="loss")]
    assert by_loss == [1.0 - n / 10 for n in (3, 2, 1, 0)]
    assert gl.runs(sort="-loss")[0].label == "number 0"


def test_a_bad_filter_is_told_when_the_answer_is_needed(four: RunStore) -> None:
    runs = gl.runs("loss <")
    with pytest.raises(FilterError, match="column 7"):
        len(runs)
    with pytest.raises(FilterError):
        gl.runs("losss < 1").to_frame()
    with pytest.raises(UsageError, match="`limit` is -1"):
        gl.runs(limit=-1)


def test_an_answer_stays_and_refresh_asks_again(four: RunStore) -> None:
    runs = gl.runs()
    assert len(runs) == 4
    make_run(four, started=START + 600)
    assert len(runs) == 4 and len(runs.refresh()) == 5


def test_no_runs_are_no_error(tmp_path: Path) -> None:
    assert len(gl.runs()) == 0 and not gl.runs()
    assert gl.runs().to_frame().empty
    assert "no runs" in gl.runs()._repr_html_()
    with pytest.raises(RunNotFound, match="there are no runs"):
        gl.run()


def test_root_and_project_say_where(four: RunStore, tmp_path: Path, monkeypatch: Any) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "project.yml").write_text("models: {expert: {train: 'true'}}\n")
    assert len(gl.runs(root=elsewhere / "runs")) == 0
    monkeypatch.chdir(elsewhere)
    assert len(gl.runs()) == 4, "the project above is found"
    assert len(gl.runs(project=tmp_path)) == len(gl.runs(project=tmp_path / "project.yml")) == 4
    assert len(gl.runs(root=str(tmp_path / "runs"))) == 4
    with pytest.raises(UsageError, match="not both"):
        gl.runs(root=".", project=tmp_path)
    with pytest.raises(UsageError, match="there is no project file"):
        gl.runs(project=elsewhere)


def test_a_bad_project_file_keeps_nobody_from_the_runs(four: RunStore, tmp_path: Path) -> None:
    (tmp_path / "project.yml").write_text("modles: {}\n")
    with pytest.warns(UserWarning, match="looking for runs in"):
        assert len(gl.runs()) == 4


def test_a_frame_of_runs_names_columns_as_filters_do(four: RunStore) -> None:
    frame = gl.runs().to_frame()
    assert len(frame) == 4 and list(frame["number"]) == [1, 2, 3, 4]
    assert list(frame["flag.lr"]) == [0.2, 0.2, 0.1, 0.1] and frame["flag.lr"].dtype == float
    assert list(frame["flag.seed"]) == [1, 0, 1, 0]
    assert list(frame["loss"]) == pytest.approx([0.7, 0.8, 0.9, 1.0])
    assert list(frame["max(loss)"]) == [4.0] * 4
    assert list(frame["status"]) == ["completed"] * 3 + ["failed"]
    assert frame["started"][0] == pd.Timestamp(START + 180, unit="s", tz="UTC")
    assert list(frame["duration"]) == [64.0] * 4
    assert "sys/cpu/util" not in frame
    assert list(gl.runs().to_frame(system=True)["sys/cpu/util"]) == [20.0] * 4
    # Each column of a name that a filter knows can be sorted by.
    for column in ("flag.lr", "loss", "min(loss)", "status", "started"):
        assert len(gl.runs(sort=column)) == 4


def test_a_frame_keeps_what_some_runs_lack_and_names_that_clash(store: RunStore) -> None:
    make_run(store, flags={"lr": "0.1"}, series={"status": [1.0], "flag.lr": [2.0]})
    make_run(store, flags={"optimizer": "adam"}, started=START + 60, series={"loss": [math.nan]})
    frame = gl.runs().to_frame()
    assert list(frame["status"]) == ["completed"] * 2
    assert frame["series.status"][1] == 1.0 and math.isnan(frame["series.status"][0])
    assert frame["series.flag.lr"][1] == 2.0 and frame["flag.lr"][1] == 0.1
    assert pd.isna(frame["flag.lr"][0]) and frame["flag.optimizer"][0] == "adam"
    assert frame["loss"].dtype == float and frame["loss"].isna().all()


def test_runs_that_cannot_be_read_are_listed(four: RunStore) -> None:
    four.list()[0].paths.manifest.write_text("{")
    frame = gl.runs().to_frame()
    assert frame["status"][0] == "unreadable" and "damaged" in frame["error"][0]
    broken = gl.runs()[0]
    assert (
        broken.status == "unreadable"
        and "damaged" in (broken.error or "")
        and "damaged" in broken._repr_html_()
    )
    with pytest.raises(GuildliteError, match="cannot be read"):
        broken.label = "x"


# One run ------------------------------------------------------------------------------------------


def test_a_run_is_found_as_on_the_command_line(four: RunStore) -> None:
    run = gl.run("latest")
    assert run == gl.run() == gl.run(1) == gl.run("1") == gl.run(run.path) == gl.run("number 3")
    assert gl.run(run.id[:15]) == run
    with pytest.raises(RunNotFound) as caught:
        gl.run("numbr 3")
    assert caught.value.hint == "did you mean `number 3`?"
    with pytest.raises(UsageError, match="fits 4 runs"):
        gl.run("expert")


def test_what_a_run_says(four: RunStore) -> None:
    run = gl.run(4)
    assert (run.model, run.operation, run.status, run.exit_code) == ("expert", "train", "failed", 1)
    assert run.started == datetime.fromtimestamp(START, timezone.utc)
    assert run.duration == 64.0 and run.ended and run.ending == "exit status 1"
    assert run.stopped is not None and (run.stopped - run.started).total_seconds() == 64
    assert run.flags == {"lr": 0.1, "seed": 0, "name": 7}
    assert run.manifest["flags"] == {"lr": "0.1", "seed": "0", "name": "007"}
    assert run.attributes["host"] == "tower"
    assert run.path.is_dir() and os.fspath(run) == str(run.path)
    assert repr(run) == f"Run({run.id!r}, failed)"


def test_label_note_and_mark_are_written_and_found(four: RunStore) -> None:
    run = gl.run(2)
    run.label, run.note, run.marked = " best\nof all ", "why\nnot", True
    assert (run.label, run.note, run.marked) == ("best of all", "why\nnot", True)
    assert [found.id for found in gl.runs("marked = true")] == [run.id]
    assert gl.runs('label = "best of all"')[0] == run
    run.label = ""
    assert run.label == ""


def test_a_label_that_cannot_be_written_is_an_error_with_a_sentence(four: RunStore) -> None:
    in_the_way = four.list()[0].paths.label
    in_the_way.unlink()
    in_the_way.mkdir()
    with pytest.raises(GuildliteError, match=r"the label of \S+ cannot be written: Is a directory"):
        gl.run(1).label = "x"


def test_a_series_is_three_arrays(store: RunStore) -> None:
    made = make_run(store)
    points = [Point(0, 1000, 1.5), Point(1, None, math.nan), Point(2, 3500, math.inf)]
    with RunDb(made.paths.db) as db:
        db.write([Reading(None, {"loss": points, "gone/back": [Point(5, 1, 1), Point(3, 2, 2)]})])
        db.seal({})
    series = gl.run().series("loss")
    assert series.steps.dtype == np.int64 and series.steps.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(series.values, [1.5, np.nan, np.inf])
    expected = np.array([1000, "NaT", 3500], dtype="datetime64[ms]")
    np.testing.assert_array_equal(series.times, expected)
    assert len(series) == 3 and series.summary.nan == 1
    assert np.asarray(series).tolist()[0] == 1.5
    with pytest.raises(ValueError, match="read-only"):
        series.values[0] = 0
    frame = series.to_frame()
    assert frame["time"][2] == pd.Timestamp(3500, unit="ms", tz="UTC") and pd.isna(frame["time"][1])
    frame.loc[0, "value"] = 7.0
    assert series.values[0] == 1.5, "a frame is its reader's own"
    assert gl.run().series("gone/back").steps.tolist() == [5, 3]


def test_an_unknown_series_names_the_nearest(four: RunStore) -> None:
    run = gl.run()
    series = run.series("lss")
    with pytest.raises(SeriesNotFound) as caught:
        len(series)
    assert caught.value.message == f"{run.id} has no series `lss`"
    assert caught.value.hint == "did you mean `loss`?"
    with pytest.raises(KeyError, match="has no series `accuracy`"):
        run.summary["accuracy"]
    assert run.summary.get("accuracy") is None and "accuracy" not in run.summary
    with pytest.raises(SeriesNotFound):
        run.system["loss"]


def test_the_last_part_of_a_key_will_do_while_it_is_the_only_one(store: RunStore) -> None:
    make_run(store, series={"train/loss": [2.0, 1.0], "a/acc": [0.5], "b/acc": [0.6]})
    run = gl.run()
    assert run.summary["loss"].key == run.series("loss").summary.key == "train/loss"
    assert run.series("loss").values.tolist() == [2.0, 1.0] and "loss" in run.summary
    assert list(gl.runs("loss = 1")) == [run], "as in a filter"
    with pytest.raises(SeriesNotFound):
        run.summary["acc"]
    with pytest.raises(SeriesNotFound):
        len(run.series("acc"))


def test_summary_and_system_part_the_series(four: RunStore) -> None:
    run = gl.run()
    assert list(run.summary) == ["loss"] and list(run.system) == ["sys/cpu/util"]
    assert run.summary["loss"].min == 0.7 and run.summary["loss"].count == 3
    assert run.summary.to_frame().loc["loss", "max"] == 4.0
    assert run.system["sys/cpu/util"].values.tolist() == [10.0, 20.0]
    frame = run.system.to_frame()
    assert frame.index.name == "time" and str(frame.index.dtype).endswith("UTC]")


def test_a_frame_of_a_run_is_wide_or_long(store: RunStore) -> None:
    made = make_run(store, series={"acc": [0.5, 0.6]})
    with RunDb(made.paths.db) as db:
        db.write([Reading(None, {"loss": [Point(1, 0, 9.0), Point(3, 0, 8.0), Point(1, 0, 7.0)]})])
        db.seal({})
    frame = gl.run().to_frame()
    assert frame.index.name == "step" and list(frame.index) == [0, 1, 3]
    assert list(frame["acc"])[:2] == [0.5, 0.6] and math.isnan(frame["acc"][3])
    assert frame["loss"][1] == 7.0, "of a step written twice the last value stays"
    long = gl.run().to_frame(wide=False)
    assert list(long[long.series == "loss"]["value"]) == [9.0, 8.0, 7.0]


def test_output_and_logs(four: RunStore) -> None:
    run = gl.run()
    frame = run.output()
    assert list(frame["text"]) == ["one", "two", "trouble"]
    assert list(frame["stream"]) == ["stdout", "stdout", "stderr"]
    assert str(frame["time"].dtype).endswith("UTC]")
    assert run.logs() == "one\ntwo\ntrouble\n"
    assert run.logs(last=1) == "trouble\n" and run.logs(last=0) == ""
    assert run.logs(stream="stdout", last=1) == "two\n"
    assert list(run.output(stream="stderr")["text"]) == ["trouble"]
    assert run.output(operation="2-evaluate").empty
    with pytest.raises(UsageError, match="`stream` is `out`"):
        run.logs(stream="out")
    with pytest.raises(UsageError, match="`last` is -1"):
        run.logs(last=-1)


def test_files_are_the_scripts_own(four: RunStore) -> None:
    run = gl.run()
    (run.path / "models").mkdir()
    (run.path / "models/best.onnx").write_bytes(b"x")
    (run.path / "a.txt").touch()
    assert [str(file.relative_to(run.path)) for file in run.files] == ["a.txt", "models/best.onnx"]


def test_a_damaged_run_db_is_told(four: RunStore) -> None:
    four.list()[0].paths.db.write_bytes(b"no database" * 100)
    run = gl.run()
    assert run.flags["lr"] == 0.2, "the manifest still answers"
    for ask in (lambda: run.summary, lambda: run.output(), lambda: run.series("loss").values):
        with pytest.raises(GuildliteError, match="cannot be read"):
            ask()
    assert "lr=0.2" in run._repr_html_()


# A run that goes on -------------------------------------------------------------------------------


@pytest.fixture
def live(store: RunStore) -> Iterator[tuple[gl.Run, RunDb]]:
    """A run whose process is this one, and the writer of its run.db."""
    made = store.create("expert", now=START)
    write_fact(made.paths.manifest, {"uid": "u", "model": "expert", "flags": {}, "created": START})
    stat = os.stat(made.path)
    identity = ProcessIdentity.of(os.getpid()).to_json()
    fact = {"time": START, "training": identity, "directory": [stat.st_dev, stat.st_ino]}
    write_fact(made.paths.started, fact)
    run = gl.Run(made.path)
    assert run.summary.get("loss") is None and run.output().empty, "it has no run.db yet"
    assert run.to_frame().empty and run.logs() == "" and "running" in run._repr_html_()
    with RunDb(made.paths.db) as db:
        db.write_start({"id": made.id}, {})
        yield run, db


def test_a_live_run_is_read_while_it_is_written(live: tuple[gl.Run, RunDb]) -> None:
    run, db = live
    with pytest.raises(SeriesNotFound, match="has no series `loss` yet"):
        len(run.series("loss"))
    first = run.series("loss")
    for step in range(3):
        db.write([Reading(None, {"loss": [Point(step, 1000 * step, float(step))]})])
        assert run.summary["loss"].last == step
        assert len(run.series("loss")) == step + 1
        assert gl.runs(sort="loss").to_frame()["loss"][0] == step
        if step == 0:
            assert len(first) == 1
    assert len(first) == 1 and len(first.refresh()) == 3
    assert run.status == "running" and not run.ended and run.duration is not None
    with pytest.raises(TimeoutError, match="was still running after 0 s"):
        run.wait(timeout_s=0)


def test_many_threads_read_one_live_run(live: tuple[gl.Run, RunDb]) -> None:
    run, db = live
    db.write([Reading(None, {"loss": [Point(0, 0, 0.0)]})])
    shared = run.series("loss")
    runs = gl.runs()

    def look(number: int) -> bool:
        mine = run.series("loss")
        alike = len(mine.steps) == len(mine.times) == len(mine.values)
        return alike and shared.values is shared.values and len(runs) == len(gl.runs()) == 1

    with ThreadPoolExecutor(8) as pool:
        looks = [pool.submit(look, number) for number in range(40)]
        for step in range(1, 40):
            db.write([Reading(None, {"loss": [Point(step, 0, 1.0)]})])
        assert all(one.result(timeout=60) for one in looks)


# Comparison ---------------------------------------------------------------------------------------


def test_compare_puts_runs_side_by_side(four: RunStore) -> None:
    frame = gl.compare("lr > 0", ["loss", "step(loss < 3)", "flag.lr"], goal="min", sort="loss")
    assert list(frame.index) == [run.id for run in gl.runs()]
    assert list(frame["loss"]) == pytest.approx([0.7, 0.8, 0.9, 1.0])
    assert list(frame["step(loss < 3)"]) == [1] * 4
    assert list(frame["flag.lr"]) == [0.2, 0.2, 0.1, 0.1] and frame["flag.seed"].iloc[0] == 1
    assert "flag.name" not in frame, "it is alike in all"
    assert frame.attrs["best"]["loss"] == gl.run(1).id
    assert "loss" in gl.compare(), "without columns the series that matter"
    with pytest.raises(FilterError):
        gl.compare(columns="losss")
    with pytest.raises(UsageError, match="`goal` is `low`"):
        gl.compare(goal="low")


def test_compare_by_flags_says_what_noise_allows(four: RunStore) -> None:
    frame = gl.compare(columns="loss", by="lr", goal="min")
    assert list(frame["flag.lr"]) == [0.2, 0.1] and list(frame["n"]) == [2, 2]
    assert list(frame["mean"]) == pytest.approx([0.75, 0.95])
    assert list(frame["std"]) == pytest.approx([math.sqrt(0.005)] * 2)
    assert "beyond noise" in frame.attrs["sentence"] and 0 < frame.attrs["p"] < 1
    with pytest.raises(UsageError, match="one column"):
        gl.compare(columns=["loss", "min(loss)"], by="lr")


def test_compare_takes_goals_from_the_project(four: RunStore, tmp_path: Path) -> None:
    (tmp_path / "project.yml").write_text(
        "models: {expert: {train: 'true'}}\nmetrics: {loss: {goal: min}}\n"
    )
    frame = gl.compare()
    assert list(frame.columns)[-1] == "loss" and frame.attrs["best"]["loss"] == gl.run(1).id
    assert gl.compare(columns="best(loss)")["min(loss)"].iloc[0] == pytest.approx(0.7)


# HTML ---------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """The tags, attributes and texts of some markup; every tag must be closed."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(markup)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        if tag not in ("path", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "path":
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_text_stays_text(store: RunStore) -> None:
    for number in range(2):
        make_run(
            store,
            flags={NASTY: f"{number}{NASTY}"},
            started=START + 60 * number,
            series={NASTY: [1.0, 2.0]},
            label=NASTY,
        )
    run = gl.run()
    for markup in (
        gl.runs()._repr_html_(), run._repr_html_(), run.summary._repr_html_(),
        run.series(NASTY)._repr_html_(), run.system._repr_html_(),
    ):  # fmt: skip
        found = Tags(markup)
        assert found.tags <= {"b", "code", "div", "table", "thead", "tbody", "tr", "th", "td",
                              "svg", "title", "path"}  # fmt: skip
        assert not {name for name in found.names if name.startswith("on")} | {"href", "src"} & (
            found.names
        )
        assert "\u202e" not in markup and "\x1b" not in markup
        assert "http" not in markup
    assert "<script>alert(1)</script>" in Tags(gl.runs()._repr_html_()).text


def test_a_handle_follows_its_run_into_the_trash_and_back(four: RunStore) -> None:
    run = gl.run("number 1")
    moved = four.trash(four.get(run.id))
    assert run.path == moved and Path(os.fspath(run)) == moved
    assert (run.status, run.label, run.error) == ("completed", "number 1", None)
    assert run.summary["loss"].max == 4.0 and run.series("loss").values[0] == 4.0
    assert "completed" in run._repr_html_() and run not in gl.runs()
    four.restore(four.trashed()[0])
    assert run.path.parent == four.root and run in gl.runs()


def test_a_handle_of_a_deleted_run_says_so(four: RunStore) -> None:
    run = gl.run("number 1")
    four.trash(four.get(run.id))
    four.purge(four.trashed()[0])
    assert run.status == "unreadable" and "unreadable" in run._repr_html_()
    with pytest.raises(GuildliteError):
        run.summary  # noqa: B018
    with pytest.raises(GuildliteError, match="cannot be read"):
        run.label = "x"


def test_a_card_does_not_repeat_what_was_printed(store: RunStore) -> None:
    logged = {"train/loss": [0.5, 0.1234567], "output/loss": [0.5, 0.1235], "output/f1": [0.9]}
    make_run(store, series=logged)
    found = Tags(gl.run()._repr_html_())
    assert "train/loss" in found.text and "output/f1" in found.text
    assert "output/loss" not in found.text
    assert "output/loss" in gl.run().summary, "it is there to be asked for"


def test_a_flag_of_one_run_alone_does_not_differ(four: RunStore) -> None:
    make_run(four, "student", flags={"datadir": "/data", "lr": "0.1"}, started=START + 900)
    found = Tags(gl.runs()._repr_html_())
    assert "datadir" not in found.text and "lr" in found.text


def test_the_table_of_runs_shows_what_differs(four: RunStore) -> None:
    markup = gl.runs()._repr_html_()
    found = Tags(markup)
    assert markup.count("<svg") == 4 and "currentColor" in markup
    assert "lr" in found.text and "007" not in found.text
    for number in range(22):
        make_run(four, started=START + 600 + number)
    assert "and 6 more runs" in gl.runs()._repr_html_()


@pytest.mark.parametrize(
    "values",
    [[1e308, -1e308, 1e308], [5.0, 5.0], [math.nan, 1.0, 2.0, math.inf, 3.0], [5e-324, 1e-323]],
)
def test_a_sparkline_stays_in_its_box(values: list[float]) -> None:
    markup = sparkline([Point(step, None, value) for step, value in enumerate(values)], "loss")
    data = markup.partition(' d="')[2].partition('"')[0]
    numbers = [float(word) for word in data.replace("M", " ").replace("L", " ").split()]
    assert numbers and all(0 <= each <= 120 for each in numbers)
    assert sparkline([Point(0, None, 1.0), Point(1, None, math.nan)], "loss") == ""


# Plots --------------------------------------------------------------------------------------------


def test_smoothing_is_that_of_tensorboard() -> None:
    from guildlite.api.plots import smoothed

    values = np.array([1.0, 2.0, np.nan, 4.0])
    # By hand, with weight 0.5: 0.5/0.5, (0.25 + 1)/0.75, (0.625 + 2)/0.875.
    np.testing.assert_allclose(smoothed(values, 0.5), [1.0, 5 / 3, np.nan, 3.0])


def test_a_plot_has_the_curve_and_the_smoothed_one(four: RunStore) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    axes = gl.run().plot("loss", smooth=0.5)
    faint, line = axes.get_lines()
    assert list(faint.get_ydata()) == [4.0, 2.0, 0.7] and line.get_ydata()[0] == 4.0
    assert axes.get_ylabel() == "loss" and axes.get_xlabel() == "step"
    assert gl.run().series("loss").plot(x="time", ax=axes) is axes
    assert len(gl.runs().plot("loss").get_lines()) == 4
    with pytest.raises(UsageError, match="`smooth` is 1"):
        gl.run().plot("loss", smooth=1)
    with pytest.raises(UsageError, match="`x` is `epoch`"):
        gl.run().plot("loss", x="epoch")
    with pytest.raises(SeriesNotFound):
        gl.run().plot("losss")
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize(("package", "ask"), [
    ("matplotlib", lambda: gl.run().plot("loss")),
    ("pandas", lambda: gl.run().to_frame()),
    ("ipywidgets", lambda: gl.form()),
])  # fmt: skip
def test_what_is_not_installed_is_named(
    four: RunStore, monkeypatch: pytest.MonkeyPatch, package: str, ask: Any
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=f"needs {package}, which is not installed") as caught:
        ask()
    assert caught.value.hint == 'pip install "guildlite[notebook]"'


# Weight and names ---------------------------------------------------------------------------------

CHILD = """
import json, sys
before = set(sys.modules)
import guildlite as gl
light = sorted(set(sys.modules) - before)
runs = gl.runs()
found = [run.status for run in runs], runs._repr_html_(), gl.run(1).summary["loss"].last
print(json.dumps([light, sorted(set(sys.modules) - before)]))
"""


def test_importing_costs_nothing_and_asking_brings_no_frames(four: RunStore) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COVERAGE_PROCESS_START": ""},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    light, asked = (set(names) for names in json.loads(done.stdout))
    assert light == {"guildlite"}
    heavy = {"numpy", "pandas", "matplotlib", "ipywidgets", "sqlalchemy", "yaml", "tensorboard",
             "psutil", "pynvml", "fastapi", "click", "asyncio"}  # fmt: skip
    assert asked & heavy == set()


def test_runs_is_a_package_and_a_question(four: RunStore) -> None:
    import guildlite.runs
    from guildlite.runs import RunStore as again

    assert guildlite.runs is gl.runs and again is RunStore and callable(guildlite.runs)
    assert list(inspect.signature(gl.runs).parameters) == [
        "filter", "sort", "limit", "root", "project",
    ]  # fmt: skip
    assert {"runs", "run", "compare", "launch", "form", "Run"} <= set(dir(gl))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        gl.trian  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", [name for name in gl.__all__ if name != "__version__"])
def test_every_public_name_says_what_it_is(name: str) -> None:
    public = getattr(gl, name)
    assert inspect.getdoc(public)
    if inspect.isclass(public):
        for part, value in vars(public).items():
            if not part.startswith("_"):
                assert inspect.getdoc(value), f"{name}.{part}"
