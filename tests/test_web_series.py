"""Series for charts: smoothing over every point, what is new by cursor, stretches."""

from __future__ import annotations

import math
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.run_dirs import make_run
from support.viewing import make_project, viewing

from guildlite.runs import Run
from guildlite.runs.db import RunDb
from guildlite.series import Point, Reading
from guildlite.web.columns import debiased_mean, extremes

FLOATS = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf])


@given(st.lists(FLOATS, max_size=400), st.floats(0, 0.999))
def test_smoothing_is_the_debiased_average_one_value_at_a_time(
    values: list[float], weight: float
) -> None:
    mean, total = 0.0, 0.0
    expected = []
    for value in values:
        if not math.isfinite(value):
            expected.append(value)
            continue
        # The same average by its definition: weights that fall by `weight`, over their own sum.
        mean = weight * mean + value
        total = weight * total + 1
        expected.append(mean / total)
    found = debiased_mean(np.array(values, float), weight)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-3)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=500), st.integers(1, 60))
def test_extremes_keep_ends_and_spikes(values: list[float], buckets: int) -> None:
    array = np.array(values)
    kept = extremes(array, buckets)
    assert kept[0] == 0
    assert kept[-1] == len(values) - 1
    assert sorted(set(kept)) == list(kept)
    assert array[kept].max() == max(values)
    assert array[kept].min() == min(values)
    assert len(kept) <= max(2 * buckets + 4, 1)


def ask(client: httpx.Client, run: Run, **words: object) -> list[dict]:  # type: ignore[type-arg]
    answer = client.get("/api/v1/series", params={"run": run.id, **words})  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return list(answer.json()["series"])


def test_after_a_cursor_comes_what_is_new(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store, series={"a": [1.0, 2.0], "b": [5.0]})
    with viewing(tmp_path) as client:
        first = ask(client, run, tag=["a", "b"])
        assert [(each["anew"], each["cursor"]) for each in first] == [(True, 2), (True, 1)]
        again = ask(client, run, tag=["a", "b"], after="2,1")
        assert [(each["anew"], each["x"]) for each in again] == [(False, []), (False, [])]
        with RunDb(run.paths.db) as db:
            points = [Point(2, 7, 3.0), Point(3, 8, math.nan)]
            db.write([Reading(points={"a": points})])
        (new, _) = ask(client, run, tag=["a", "b"], after="2,1")
        # A value that is not finite is a gap in the line, and said beside it.
        assert (new["x"], new["y"], new["time"]) == ([2, 3], [3.0, None], [7, 8])
        assert new["cursor"] == 4
        assert new["non_finite"] == [[3, "nan", 8]]


def test_a_cursor_of_another_file_asks_anew(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store, series={"a": [1.0, 2.0]})
    with viewing(tmp_path) as client:
        (found,) = ask(client, run, tag="a", after="900")
        assert (found["anew"], found["x"]) == (True, [0, 1])


@pytest.mark.parametrize("after", ["x", "1", "1,2,3", "1.5,2"])
def test_cursors_that_make_no_sense_are_refused(tmp_path: Path, after: str) -> None:
    run = make_run(make_project(tmp_path).store, series={"a": [1.0], "b": [1.0]})
    with viewing(tmp_path) as client:
        words = {"run": run.id, "tag": ["a", "b"], "after": after}
        answer = client.get("/api/v1/series", params=words)
        assert answer.status_code == 422 or answer.status_code == 400
        assert "after" in answer.text


def test_nothing_new_is_said_without_a_body(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store, series={"a": [1.0, 2.0]})
    with viewing(tmp_path) as client:
        address = f"/api/v1/series?run={run.id}&tag=a&after=2"
        version = client.get(address).headers["etag"]
        assert client.get(address, headers={"if-none-match": version}).status_code == 304
        with RunDb(run.paths.db) as db:
            db.write([Reading(points={"a": [Point(2, 7, 3.0)]})])
        assert client.get(address, headers={"if-none-match": version}).status_code == 200


@pytest.mark.parametrize(("low", "high"), [(100, 200), (60_000, 60_100), (0, 250_000), (-5, -1)])
def test_a_stretch_has_every_extreme_inside(tmp_path: Path, low: int, high: int) -> None:
    values = [float(step * 7919 % 1009) for step in range(250_000)]
    run = make_run(make_project(tmp_path).store, series={"a": values})
    with viewing(tmp_path) as client:
        (found,) = ask(client, run, tag="a", px=300, **{"from": low, "to": high})
    inside = [v for step, v in enumerate(values) if low <= step <= high]
    drawn = [v for step, v in zip(found["x"], found["y"], strict=True) if low <= step <= high]
    assert (max(drawn, default=None), min(drawn, default=None)) == (
        max(inside, default=None),
        min(inside, default=None),
    )
    assert len(found["x"]) <= 604
    assert all(found["y"][i] == values[step] for i, step in enumerate(found["x"]))


def test_a_stretch_of_a_resumed_series_has_both_passes(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store, series={"a": [0.0]})
    steps = [*range(1, 5000), *range(1000, 3000)]
    with RunDb(run.paths.db) as db:
        points = [Point(step, 1000 * at, float(at)) for at, step in enumerate(steps)]
        db.write([Reading(points={"a": points})])
    with viewing(tmp_path) as client:
        (found,) = ask(client, run, tag="a", px=5000, **{"from": 1500, "to": 1501})
    assert [x for x in found["x"] if x in (1500, 1501)] == [1500, 1501, 1500, 1501]
