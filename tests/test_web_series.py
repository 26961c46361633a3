"""Series for charts: smoothing over every point, what is new by cursor, stretches."""

from __future__ import annotations

import csv
import io
import json
import math
from itertools import pairwise
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
from guildlite.web.columns import debiased_mean, extremes, not_overwritten

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


def write(run: Run, **series: list[Point]) -> None:
    with RunDb(run.paths.db) as db:
        db.write([Reading(points=dict(series))])


def test_a_gap_is_answered_as_one_and_named(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store)
    values = [1.0, math.nan, math.inf, 2.0]
    write(run, a=[Point(step, 10 * step, value) for step, value in enumerate(values)])
    with viewing(tmp_path) as client:
        (found,) = ask(client, run, tag="a")
    assert found["y"] == [1.0, None, None, 2.0]
    assert found["non_finite"] == [[1, "nan", 10], [2, "inf", 20]]


def test_a_thinned_series_keeps_its_spike_and_says_what_is_not_finite(tmp_path: Path) -> None:
    values = [1.0] * 10_000
    values[6543], values[70], values[9000] = 50.0, math.nan, -math.inf
    run = make_run(make_project(tmp_path).store)
    write(run, a=[Point(step, 10 * step, value) for step, value in enumerate(values)])
    with viewing(tmp_path) as client:
        (found,) = ask(client, run, tag="a", px=200)
    assert found["sampled"]
    assert len(found["x"]) <= 402
    assert dict(zip(found["x"], found["y"], strict=True))[6543] == 50.0
    assert (found["x"][0], found["x"][-1]) == (0, 9999)
    assert [each[:2] for each in found["non_finite"]] == [[70, "nan"], [9000, "-inf"]]


def test_another_metric_on_the_axis_is_joined_by_step(tmp_path: Path) -> None:
    """Against the same join by a dictionary; steps without a partner are counted, not guessed."""
    run = make_run(make_project(tmp_path).store)
    loss = [Point(step, step, 1.0 / (1 + step)) for step in range(9000)]
    examples = [Point(step, step, 64.0 * step + step % 7) for step in range(0, 9000, 3)]
    write(run, loss=loss, examples=examples)
    at = {point.step: point.value for point in examples}
    with viewing(tmp_path) as client:
        words = {"tag": "loss", "x": "metric:examples"}
        (found,) = ask(client, run, px=300, **words)
        (part,) = ask(client, run, px=300, **words, **{"from": 64_000, "to": 128_000})
        (none,) = ask(client, run, tag="loss", x="metric:nothing")
        bad = client.get("/api/v1/series", params={"run": run.id, "tag": "loss", "x": "metric:"})
    assert [at[step] for step in found["x"]] == found["at"]
    assert found["y"] == pytest.approx([1.0 / (1 + step) for step in found["x"]])
    assert found["unmatched"] == 6000
    assert found["at"][0] == 0
    assert found["at"][-1] == at[8997]
    assert all(64_000 <= x <= 128_000 for x in part["at"])
    assert len(part["at"]) > 100
    assert (none["x"], none["unmatched"]) == ([], 9000)
    assert bad.status_code == 400


def test_a_resumed_pair_is_joined_pass_by_pass(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store)
    steps = [0, 1, 2, 1, 2, 3]
    write(
        run,
        loss=[Point(step, at, float(at)) for at, step in enumerate(steps)],
        epoch=[Point(step, at, 100.0 + at) for at, step in enumerate(steps)],
    )
    with viewing(tmp_path) as client:
        (apart,) = ask(client, run, tag="loss", x="metric:epoch")
        (joined,) = ask(client, run, tag="loss", x="metric:epoch", segments="joined")
    assert apart["at"] == [100, 101, 102, 103, 104, 105]
    assert (joined["y"], joined["overwritten"]) == ([0, 3, 4, 5], 2)


def test_joined_segments_leave_out_what_was_written_again(tmp_path: Path) -> None:
    """As TensorBoard drops orphaned points; smoothing then sees only what is left."""
    run = make_run(make_project(tmp_path).store)
    steps = [*range(6000), *range(2000, 9000)]
    values = [float(at % 97) for at in range(len(steps))]
    write(run, a=[Point(step, at, values[at]) for at, step in enumerate(steps)])
    kept = [*range(2000), *range(6000, 13_000)]
    with viewing(tmp_path) as client:
        words = {"tag": "a", "px": 300, "smooth": 0.9}
        (joined,) = ask(client, run, segments="joined", **words)
        (apart,) = ask(client, run, **words)
    assert joined["overwritten"] == 4000
    assert joined["x"] == sorted(joined["x"])
    expected = debiased_mean(np.array([values[at] for at in kept]), 0.9)
    by_step = dict(zip((steps[at] for at in kept), expected.tolist(), strict=True))
    smooth = joined["smooth"]
    assert smooth["y"] == pytest.approx([by_step[step] for step in smooth["x"]])
    assert apart["overwritten"] == 0
    assert apart["x"] != sorted(apart["x"])


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_overwritten_points_are_those_a_later_segment_reaches_back_over(steps: list[int]) -> None:
    segment, segments = 0, [0]
    for before, step in pairwise(steps):
        segment += step < before
        segments.append(segment)
    expected = [
        all(later > step or of == own for later, of in list(zip(steps, segments, strict=True))[at:])
        for at, (step, own) in enumerate(zip(steps, segments, strict=True))
    ]
    assert not_overwritten(np.array(steps)).tolist() == expected


def test_columns_of_numbers_are_the_same_answer(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store)
    values = [math.sin(step) for step in range(9000)]
    values[17] = math.nan
    write(
        run,
        a=[Point(step, None if step == 3 else step, v) for step, v in enumerate(values)],
        b=[Point(1, 2, 3.0)],
    )
    headers = {"accept": "application/octet-stream"}
    query = {"run": run.id, "tag": ["a", "b"], "whole": 20_000}
    with viewing(tmp_path) as client:
        body = client.get("/api/v1/series", params=query, headers=headers).content
        text = client.get("/api/v1/series", params=query).json()
    length = int.from_bytes(body[:8], "little")
    header = json.loads(body[8 : 8 + length])
    numbers = np.frombuffer(body[8 + length :], "<f8")
    at = 0
    for packed, plain in zip(header["series"], text["series"], strict=True):
        for name in ("x", "y", "time"):
            column = numbers[at : at + packed[name]]
            at += packed[name]
            expected = [math.nan if each is None else each for each in plain[name]]
            np.testing.assert_array_equal(column, expected)
        assert {**packed, "x": 0, "y": 0, "time": 0} == {**plain, "x": 0, "y": 0, "time": 0}
    assert at == len(numbers)
    assert not text["series"][0]["sampled"]


def test_csv_has_every_point_and_any_name(tmp_path: Path) -> None:
    key = 'a, "quoted"\nname'
    run = make_run(make_project(tmp_path).store, series={"sys/cpu/util": [0.5]})
    points = [Point(step, 1_795_196_701_250, 0.1 * step) for step in range(12_000)]
    write(run, **{key: points, "b": [Point(0, None, math.nan), Point(1, None, -math.inf)]})
    with viewing(tmp_path) as client:
        answer = client.get("/api/v1/series.csv", params={"run": run.id})
        one = client.get("/api/v1/series.csv", params={"run": run.id, "tags": "^b$"})
        bad = client.get("/api/v1/series.csv", params={"run": run.id, "tags": "("})
    assert answer.headers["content-type"].startswith("text/csv")
    assert f'filename="{run.id}.csv"' in answer.headers["content-disposition"]
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[0] == ["run", "series", "step", "time", "value"]
    assert [float(row[4]) for row in rows[1:12_001]] == [point.value for point in points]
    assert rows[1] == [run.id, key, "0", "2026-11-20T17:45:01.250Z", "0.0"]
    assert [row[2:] for row in rows[12_001:]] == [["0", "", "nan"], ["1", "", "-inf"]]
    assert len(one.text.splitlines()) == 3
    assert bad.status_code == 400
