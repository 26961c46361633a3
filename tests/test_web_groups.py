"""Groups of runs: mean and band over every point of every run, against NumPy."""

from __future__ import annotations

import math
import random
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.run_dirs import START, make_run
from support.viewing import make_project, viewing

from guildlite.runs import Run, RunStore
from guildlite.runs.db import RunDb
from guildlite.series import Point, Reading
from guildlite.web.columns import debiased_mean
from guildlite.web.groups import Line, mean_of


def make_member(store: RunStore, flags: dict[str, str], points: list[Point], at: int) -> Run:
    run = make_run(store, flags=flags, started=START + 60 * at)
    with RunDb(run.paths.db) as db:
        db.write([Reading(points={"loss": points})])
    return run


def ask(client: httpx.Client, runs: list[Run], **words: object) -> list[dict]:  # type: ignore[type-arg]
    query = {"run": ",".join(run.id for run in runs), "tag": "loss", "by": "flag.lr", **words}
    answer = client.get("/api/v1/groups", params=query)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return list(answer.json()["tags"][0]["groups"])


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """Three runs with lr 0.1 and two with 0.01, of 5,000 points at the same steps."""
    store = make_project(tmp_path).store
    draw = random.Random(7)
    return [
        make_member(
            store,
            {"lr": lr, "seed": str(at)},
            [Point(step, step, draw.gauss(float(lr), 1)) for step in range(5000)],
            at,
        )
        for at, lr in enumerate(["0.1", "0.01", "0.1", "0.01", "0.1"])
    ]


def values_of(runs: list[Run]) -> np.ndarray:
    rows = []
    for run in runs:
        with run.read() as reader:
            rows.append([point.value for point in reader.series("loss")])
    return np.array(rows)


@pytest.mark.parametrize("band", ["std", "sem", "minmax"])
def test_mean_and_band_are_those_of_every_point(tmp_path: Path, runs: list[Run], band: str) -> None:
    with viewing(tmp_path) as client:
        small, large = ask(client, runs, band=band, px=5000)
    assert (small["value"], large["value"]) == ("0.01", "0.1")
    assert large["runs"] == [runs[0].id, runs[2].id, runs[4].id]
    values = values_of([runs[0], runs[2], runs[4]])
    mean, std = values.mean(axis=0), values.std(axis=0, ddof=1)
    low, high = {
        "std": (mean - std, mean + std),
        "sem": (mean - std / math.sqrt(3), mean + std / math.sqrt(3)),
        "minmax": (values.min(axis=0), values.max(axis=0)),
    }[band]
    at = np.array(large["x"], int)
    assert len(at) == 5000
    np.testing.assert_allclose(large["mean"], mean[at])
    np.testing.assert_allclose(large["low"], low[at])
    np.testing.assert_allclose(large["high"], high[at])
    assert large["n"] == [3] * len(at)
    assert large["aligned"]


def test_a_group_is_the_same_whichever_others_are_shown(tmp_path: Path, runs: list[Run]) -> None:
    with viewing(tmp_path) as client:
        both = ask(client, runs, px=300)
        alone = ask(client, [runs[0], runs[2], runs[4]], px=300)
    assert both[1] == alone[0]
    # Thinned to the chart, with each value that of the whole series.
    values = values_of([runs[0], runs[2], runs[4]])
    at = np.array(alone[0]["x"], int)
    assert len(at) < 1000
    np.testing.assert_allclose(alone[0]["mean"], values.mean(axis=0)[at])
    assert max(alone[0]["high"]) == pytest.approx(
        (values.mean(axis=0) + values.std(axis=0, ddof=1)).max()
    )


def test_members_are_smoothed_before_they_are_averaged(tmp_path: Path, runs: list[Run]) -> None:
    with viewing(tmp_path) as client:
        (group,) = ask(client, [runs[1], runs[3]], smooth=0.9, px=300)
    smoothed = np.array([debiased_mean(row, 0.9) for row in values_of([runs[1], runs[3]])])
    at = np.array(group["x"], int)
    np.testing.assert_allclose(group["mean"], smoothed.mean(axis=0)[at])


def test_runs_of_other_steps_are_interpolated_between_their_own_points_only() -> None:
    one = Line(np.array([0.0, 10.0]), np.array([0.0, 10.0]))
    other = Line(np.array([5.0, 7.0, 20.0]), np.array([1.0, 2.0, math.nan]))
    found = mean_of([one, other], "minmax")
    assert found.x.tolist() == [0, 5, 7, 10]  # at 20 there is no value of any
    assert found.n.tolist() == [1, 2, 2, 1]
    assert found.mean.tolist() == [0, 3, 4.5, 10]
    assert found.low.tolist() == [0, 1, 2, 10]
    assert found.high.tolist() == [0, 5, 7, 10]
    assert not found.aligned


def test_one_run_has_no_spread_and_a_gap_counts_for_nothing() -> None:
    x = np.arange(3.0)
    one = Line(x, np.array([1.0, math.nan, 3.0]))
    other = Line(x, np.array([3.0, 5.0, 5.0]))
    found = mean_of([one, other], "std")
    assert found.n.tolist() == [2, 1, 2]
    assert found.mean.tolist() == [2, 5, 4]
    np.testing.assert_allclose(found.high - found.mean, [math.sqrt(2), 0, math.sqrt(2)])
    alone = mean_of([other], "sem")
    assert alone.low.tolist() == alone.high.tolist() == [3, 5, 5]


def test_a_resumed_run_counts_once_and_time_begins_at_the_start(tmp_path: Path) -> None:
    store = make_project(tmp_path).store
    start = int(START * 1000)
    again = [Point(0, start, 1.0), Point(1, start + 1000, 9.0), Point(1, start + 2000, 2.0)]
    again.insert(2, Point(2, start + 1500, 9.0))  # steps 0 1 2, then resumed from 1
    first = make_member(store, {"lr": "1"}, again, 0)
    plain = [Point(0, start + 60_000, 3.0), Point(1, start + 62_000, 4.0)]
    second = make_member(store, {"lr": "1"}, plain, 1)
    with viewing(tmp_path) as client:
        (by_step,) = ask(client, [first, second], band="minmax")
        (by_time,) = ask(client, [first, second], band="minmax", x="relative")
    assert (by_step["x"], by_step["low"], by_step["high"]) == ([0, 1], [1, 2], [3, 4])
    assert (by_time["x"], by_time["mean"]) == ([0, 2], [2, 3])


def test_runs_without_the_flag_or_the_series_are_told_apart(tmp_path: Path) -> None:
    store = make_project(tmp_path).store
    point = [Point(0, 1, 1.0)]
    with_flag = make_member(store, {"lr": "0.1"}, point, 0)
    without = make_member(store, {}, point, 1)
    empty = make_run(store, flags={"lr": "0.1"}, started=START + 300)
    with viewing(tmp_path) as client:
        found = ask(client, [with_flag, without, empty])
        refused = client.get(
            "/api/v1/groups", params={"run": without.id, "tag": "loss", "by": "uid"}
        )
        by_model = ask(client, [with_flag, without], by="model")
    assert [(group["value"], group["runs"]) for group in found] == [
        ("0.1", [with_flag.id]),
        (None, [without.id]),
    ]
    assert refused.status_code == 400
    assert refused.json()["field"] == "by"
    assert [(group["value"], len(group["runs"])) for group in by_model] == [("expert", 2)]
