"""Scales, ticks, paths and labels of the server-made charts, against numbers worked out by hand."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildlite.project import Chart
from guildlite.series import Point, Summary, is_system_key
from guildlite.web import cards, charts
from guildlite.web.charts import Line, Scale
from guildlite.web.numbers import format_value, scale_of, unit_of

NAN, INF = float("nan"), float("inf")
SVG = "{http://www.w3.org/2000/svg}"


def points(*values: float, start: int = 0) -> list[Point]:
    return [Point(step, None, value) for step, value in enumerate(values, start)]


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" '))


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 10, 5, [0, 2, 4, 6, 8, 10]),
        (0, 1, 6, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3, 3, 6, [-3, -2, -1, 0, 1, 2, 3]),
        (0.13, 0.31, 4, [0.15, 0.2, 0.25, 0.3]),
        (1234, 5678, 5, [2000, 3000, 4000, 5000]),
        (5, 5, 5, []),
        (0, INF, 5, []),
    ],
)
def test_ticks_are_round_and_inside(
    low: float, high: float, most: int, expected: list[float]
) -> None:
    assert charts.nice_ticks(low, high, most) == pytest.approx(expected)


def test_steps_have_whole_ticks_and_seconds_clock_ticks() -> None:
    assert charts.step_ticks(0, 2) == [0, 1, 2]
    assert charts.time_ticks(0, 60) == [0, 10, 20, 30, 40, 50, 60]
    assert charts.time_ticks(0, 3600) == [0, 600, 1200, 1800, 2400, 3000, 3600]
    assert charts.time_labels([0, 45, 60, 90, 3600, 5400, 86400]) == [
        "0", "45 s", "1 min", "1:30", "1 h", "1 h 30", "1 d",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ticks", "unit", "expected"),
    [
        ([0, 0.5, 1.0], "", ["0", "0.5", "1.0"]),
        ([0, 20_000, 40_000], "", ["0", "20k", "40k"]),
        ([0, 2e-7, 4e-7], "", ["0", "2e-7", "4e-7"]),
        ([0.5, 0.75, 1.0], "ratio", ["50%", "75%", "100%"]),
        ([0, 2**30, 2**31], "bytes", ["0", "1 GiB", "2 GiB"]),
        ([-2, 0, 2], "", ["\N{MINUS SIGN}2", "0", "2"]),
        ([], "", []),
    ],
)
def test_tick_labels(ticks: list[float], unit: str, expected: list[str]) -> None:
    assert charts.tick_labels(ticks, unit) == expected


def test_a_scale_is_a_straight_line_even_over_all_floats() -> None:
    scale = Scale(0, 10, 100, 200)
    assert [scale(value) for value in (0, 5, 10)] == [100, 150, 200]
    upside_down = Scale(-1.7e308, 1.7e308, 200, 0)
    assert upside_down(0) == pytest.approx(100)


def test_a_line_has_gaps_where_it_is_not_finite_and_where_steps_go_back() -> None:
    line = [*points(1, 2, NAN, 3, INF, 4), *points(7, 8, start=3)]
    values = [[point.value for point in stroke] for stroke in charts.strokes(line)]
    assert values == [[1, 2], [3], [4], [7, 8]]


def test_path_data() -> None:
    x, y = Scale(0, 2, 0, 20), Scale(0, 1, 10, 0)
    assert charts.path_data([points(0, 1, 0.5)], x, y) == "M0.0 10.0L10.0 0.0 20.0 5.0"
    assert charts.path_data([points(1), points(0, start=2)], x, y) == "M0.0 0.0h0M20.0 10.0h0"


def test_thinning_keeps_spikes_ends_and_gaps() -> None:
    values = [0.0] * 10_000
    values[4321], values[8000] = 99.0, NAN
    strokes = charts.thin(points(*values), 400)
    kept = [point for stroke in strokes for point in stroke]
    assert len(kept) <= 404
    assert max(point.value for point in kept) == 99.0
    assert (kept[0].step, kept[-1].step) == (0, 9999)
    assert [stroke[-1].step for stroke in strokes] == [7999, 9999]


def test_a_chart_says_everything_in_words_too() -> None:
    svg = charts.line_chart("Loss", [Line("train/loss", points(2, 1, 0.5))])
    root = parse(svg)
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == "Loss"
    assert root.findtext(f"{SVG}desc") == "Loss: steps 0 to 2; train/loss last 0.5"
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert texts[-1] == "step"
    assert {"0", "1", "2"} <= set(texts)


def test_every_point_of_a_short_line_has_a_dot() -> None:
    def dots(count: int) -> int:
        root = parse(charts.line_chart("x", [Line("x", points(*range(count)))]))
        return len(list(root.iter(f"{SVG}circle")))

    assert dots(3) == 3 + 1  # the last one is drawn larger
    assert dots(100) == 1


def test_lines_keep_hue_and_take_dashes_after_six() -> None:
    assert charts.slot_class(0) == "c1 d0"
    assert charts.slot_class(5) == "c6 d0"
    assert charts.slot_class(6) == "c1 d1"
    assert charts.slot_class(17) == "c6 d2"
    assert charts.slot_class(18) == "c1 d0"


def test_values_that_are_not_finite_are_marked_at_the_edge() -> None:
    root = parse(charts.line_chart("x", [Line("x", points(1, NAN, 2, INF, 3))]))
    marks = [each for each in root.iter(f"{SVG}path") if "bad" in (each.get("class") or "")]
    assert [mark.findtext(f"{SVG}title") for mark in marks] == ["x NaN at 1", "x ∞ at 3"]


def test_nothing_finite_is_said() -> None:
    assert "no finite value yet" in charts.line_chart("x", [Line("x", points(NAN, NAN))])
    assert "no finite value yet" in charts.line_chart("x", [])
    assert charts.sparkline(points(1), "x") == ""


def test_names_are_text() -> None:
    hostile = "<script>alert(1)</script>\u202e\x1b"
    svg = charts.line_chart(hostile, [Line(hostile, points(1, NAN, 2))])
    svg += charts.sparkline(points(1, 2), hostile)
    assert "<script" not in svg
    assert "\u202e" not in svg
    assert "\x1b" not in svg


@given(
    st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=True, allow_infinity=True),
        ),
        max_size=40,
    )
)
def test_any_points_make_a_chart_inside_its_frame(pairs: list[tuple[int, float]]) -> None:
    line = [Point(step, None, value) for step, value in pairs]
    for svg in (
        charts.line_chart("x", [Line("x", line)]),
        charts.line_chart("x", [Line("x", line)], unit="bytes", in_seconds=True),
    ):
        root = parse(svg)
        for circle in root.iter(f"{SVG}circle"):
            at = float(circle.get("cx", "nan")), float(circle.get("cy", "nan"))
            assert -1 <= at[0] <= charts.WIDTH + 1
            assert -1 <= at[1] <= charts.HEIGHT + 1
        assert len(list(root.iter(f"{SVG}text"))) < 40


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "NaN"),
        (INF, "∞"),
        (-INF, "\N{MINUS SIGN}∞"),
        (-0.5, "\N{MINUS SIGN}0.5"),
        (1.5e-7, "1.5e-07"),
        (1234567.0, "1,234,567"),
    ],
)
def test_numbers_have_the_signs_of_print(value: float | None, expected: str) -> None:
    assert format_value(value) == expected


def test_units_follow_from_system_keys() -> None:
    assert unit_of("sys/cpu3/util") == "ratio"
    assert unit_of("op/cpu/util") == "CPU"  # cores, so 2.0 is not 200 %
    assert format_value(0.2847, unit_of("op/cpu/util")) == "0.285 CPU"
    assert unit_of("evaluate/op/mem/rss") == "bytes"
    assert unit_of("gpu0/power") == "W"
    assert unit_of("train/used") == ""
    assert is_system_key("gpu12/temp")
    assert is_system_key("gpu0/mig3/mem/used")
    assert is_system_key("evaluate/sys/cpu11/util")
    assert not is_system_key("model/op/x")
    assert not is_system_key("system/loss")
    assert scale_of(3 * 2**20, "bytes/s") == (2**20, " MiB/s")
    assert math.isclose(scale_of(5e-324, "")[0], 1.0)
    assert format_value(0.431, "ratio") == "43.1%"
    assert format_value(75, "°C") == "75 °C"
    assert format_value(INF, "bytes") == "∞"
    assert format_value(0.431, "ratio", "0.00") == "0.43"  # the project's word goes first


def summary_of(key: str, count: int) -> Summary:
    return Summary(key, "scalar", count, 0, 0, 0, 0, 0, 0, 9, 0, 9, None, None)


def test_a_page_of_cards_ends_before_it_is_slow_to_read() -> None:
    plans = [cards.Plan("", str(n), [summary_of(str(n), 50_000)]) for n in range(30)]
    assert [len(page) for page in cards.paged(plans)] == [8, 8, 8, 6]
    short = [cards.Plan("", str(n), [summary_of(str(n), 10)]) for n in range(130)]
    assert [len(page) for page in cards.paged(short)] == [60, 60, 10]
    bucketed = [cards.Plan("", "x", [summary_of("x", 10_000_000)])] * 3
    assert [len(page) for page in cards.paged(bucketed)] == [3]
    assert cards.paged([]) == [[]]


def test_system_series_are_grouped_by_what_they_measure() -> None:
    keys = ["op/mem/rss", "sys/cpu/util", "sys/cpu0/util", "sys/cpu10/util", "sys/cpu2/util",
            "gpu0/util", "gpu1/util", "gpu0/temp", "evaluate/op/threads", "sys/net/sent",
            "sys/net/received"]  # fmt: skip
    plans = cards.plan_system([summary_of(key, 2) for key in keys])
    assert [(plan.group, plan.title, [s.key for s in plan.series]) for plan in plans] == [
        ("Process tree", "op/mem/rss", ["op/mem/rss"]),
        ("This machine", "sys/cpu/util", ["sys/cpu/util"]),
        ("This machine", "Cores", ["sys/cpu0/util", "sys/cpu2/util", "sys/cpu10/util"]),
        ("This machine", "Network", ["sys/net/received", "sys/net/sent"]),
        ("GPU", "GPU utilisation", ["gpu0/util", "gpu1/util"]),
        ("GPU", "gpu0/temp", ["gpu0/temp"]),
        ("evaluate: process tree", "evaluate/op/threads", ["evaluate/op/threads"]),
    ]


def test_the_projects_charts_come_first_and_take_their_series() -> None:
    keys = ["train/loss", "validation/loss", "lr", "train/acc", "layer10/x", "layer2/x"]
    charts_of_project = [Chart("Loss", "(train|validation)/loss"), Chart("None", "nothing")]
    plans = cards.plan_metrics([summary_of(key, 2) for key in keys], charts_of_project)
    assert [(plan.group, plan.title) for plan in plans] == [
        ("", "Loss"),
        ("layer2", "layer2/x"),
        ("layer10", "layer10/x"),
        ("train", "train/acc"),
        ("other", "lr"),
    ]


def test_a_table_has_both_ends_and_no_more_rows_than_asked() -> None:
    lines = [Line("a", points(*range(100))), Line("b", points(5, 6, start=98))]
    table = cards.table_of(lines, rows=4)
    assert table == [(0, [0, None]), (33, [33, None]), (66, [66, None]), (99, [99, 6])]


def test_training_and_validation_of_one_measure_share_a_card() -> None:
    keys = ["train/loss", "validation/loss", "train/lr", "val_acc", "acc", "gan/d_train",
            "gan/d_val", "latest", "val", "test/x",
            "metrics/eval/f1", "metrics/train/f1"]  # fmt: skip
    plans = cards.plan_metrics([summary_of(key, 2) for key in keys], (), parts=True)
    assert [(plan.group, plan.title, [s.key for s in plan.series]) for plan in plans] == [
        ("gan", "gan/d", ["gan/d_train", "gan/d_val"]),
        ("metrics", "metrics/f1", ["metrics/eval/f1", "metrics/train/f1"]),
        ("test", "test/x", ["test/x"]),
        ("train", "train/lr", ["train/lr"]),
        ("train and validation", "loss", ["train/loss", "validation/loss"]),
        ("other", "acc", ["acc", "val_acc"]),
        ("other", "latest", ["latest"]),
        ("other", "val", ["val"]),
    ]


def test_what_cannot_be_told_apart_keeps_its_own_card() -> None:
    keys = ["train/loss", "train_loss", "validation/loss"]
    plans = cards.plan_metrics([summary_of(key, 2) for key in keys], (), parts=True)
    assert all(len(plan.series) == 1 for plan in plans)
    # One value is a number, not a line beside the other.
    figures = [summary_of("test/loss", 1), summary_of("train/loss", 50)]
    assert len(cards.plan_metrics(figures, (), parts=True)) == 2
