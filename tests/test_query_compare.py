"""Comparison: columns, time to quality, groups over seeds and whether a difference is noise."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from support.run_dirs import START, make_run

from guildlite.errors import FilterError
from guildlite.index import Index
from guildlite.query import find_runs
from guildlite.query.columns import Reach, parse_column, value_in
from guildlite.query.compare import Grouping, compare_runs, group_runs
from guildlite.query.fields import Vocabulary
from guildlite.query.welch import mean_of, t_quantile, welch
from guildlite.runs import RunStore
from guildlite.runs.db import RunDb
from guildlite.series import Point, Reading

WORDS = Vocabulary(flags=("lr", "seed"), series=("loss", "acc"))
GOALS = {"loss": "min", "acc": "max"}


@pytest.fixture
def index(store: RunStore) -> Index:
    return Index(store.root)


def fill(store: RunStore, groups: dict[str, list[float]], **flags: str) -> None:
    number = 0
    for lr, values in groups.items():
        for seed, value in enumerate(values):
            given = {"lr": lr, "seed": str(seed), **flags}
            make_run(store, flags=given, series={"acc": [value]}, started=START + number)
            number += 1


# Student and Welch ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    # Table B of D. S. Moore, The Basic Practice of Statistics: two-sided 95 %.
    ("df", "t"), [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (30, 2.042), (1000, 1.962)],
)  # fmt: skip
def test_quantiles_are_those_of_the_tables(df: int, t: float) -> None:
    assert t_quantile(0.975, df) == pytest.approx(t, abs=0.0005)


def test_an_interval_from_the_textbook() -> None:
    # scipy.stats.t.interval(0.95, 4, loc=mean, scale=sem) of these five
    found = mean_of([0.91, 0.93, 0.92, 0.95, 0.90])
    assert found.mean == pytest.approx(0.922)
    assert found.std == pytest.approx(0.019235384061671343)
    assert found.low == pytest.approx(0.8981161161190002)
    assert found.high == pytest.approx(0.9458838838809999)
    assert mean_of([0.5]) == (1, 0.5, None, None, None)


def test_welch_on_published_figures() -> None:
    # scipy.stats.ttest_ind(a, b, equal_var=False) of these
    a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4]
    b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 30.2, 24.4]
    found = welch(mean_of(a), mean_of(b))
    assert found is not None
    assert found.t == pytest.approx(-2.860742240922125)
    assert found.df == pytest.approx(27.800825066321394)
    assert found.p == pytest.approx(0.007934009582695018)


def test_many_groups_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    chance = random.Random(20261121)
    for _ in range(50):
        groups = [
            [chance.gauss(chance.random(), chance.uniform(0.001, 3)) for _ in range(size)]
            for size in (chance.randint(2, 30), chance.randint(2, 30))
        ]
        for group in groups:
            low, high = stats.t.interval(
                0.95, len(group) - 1, loc=sum(group) / len(group), scale=stats.sem(group)
            )
            found = mean_of(group)
            assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
        told = stats.ttest_ind(*groups, equal_var=False)
        judged = welch(mean_of(groups[0]), mean_of(groups[1]))
        assert judged is not None
        assert judged.t == pytest.approx(told.statistic, rel=1e-9)
        assert judged.df == pytest.approx(told.df, rel=1e-9)
        assert judged.p == pytest.approx(told.pvalue, rel=1e-7, abs=1e-13)


def test_welch_without_spread_and_with_one_value() -> None:
    assert welch(mean_of([1.0]), mean_of([1.0, 2.0])) is None
    same = welch(mean_of([1.0, 1.0]), mean_of([1.0, 1.0]))
    other = welch(mean_of([1.0, 1.0]), mean_of([2.0, 2.0]))
    assert same is not None and same.p == 1
    assert other is not None and other.p == 0


# Columns ----------------------------------------------------------------------------------------


def test_columns_are_fields_best_values_and_times_to_quality() -> None:
    assert str(parse_column("best(loss)", WORDS, GOALS)) == "min(loss)"
    assert str(parse_column("best(acc)", WORDS, GOALS)) == "max(acc)"
    assert str(parse_column("flag.lr", WORDS)) == "flag.lr"
    reach = parse_column(" step( loss < 0.1 ) ", WORDS)
    assert isinstance(reach, Reach)
    assert str(reach) == "step(loss < 0.1)"


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("step(loss = 1)", 5, "`step(...)` needs one comparison of a series"),
        ("step(lr < 1)", 5, "`step(...)` needs one comparison of a series"),
        ("step(loss < 1 and acc > 1)", 5, "`step(...)` needs one comparison of a series"),
        ("time(min(loss) < 1)", 5, "`time(...)` looks at every point, not at a summary"),
        ("step(los < 1)", 5, "no run has a flag, series or attribute `los`"),
        ("step(loss <)", 11, "expected a value after `<`, got the end"),
        ("best(loss)", 5, "`loss` has no goal, so none of its values is the best"),
    ],
)
def test_wrong_columns_are_pointed_at(text: str, position: int, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_column(text, WORDS)
    assert caught.value.message == f"column {position + 1} of `{text}`: {message}"
    assert caught.value.position == position


def test_time_to_quality_is_the_first_point_that_gets_there(store: RunStore, index: Index) -> None:
    run = make_run(store, started=START)
    points = [
        Point(step, int((START + 10 * number) * 1000) if number != 4 else None, value)
        for number, (step, value) in enumerate(
            [(1, 0.9), (2, math.nan), (3, 0.4), (1, 0.05), (2, 0.01)], 1
        )
    ]
    with RunDb(run.paths.db) as db:
        db.write([Reading(None, {"loss": points})])
        db.seal({})
    make_run(store, started=START + 1)
    with index:
        index.refresh()
        columns = ["step(loss < 0.5)", "time(loss < 0.5)", "time(loss < 0.1)", "step(loss < 0.001)"]
        found = compare_runs(index, "", columns, goals=GOALS)
    assert found.values == [(None,) * 4, (3, 30.0, None, None)]
    assert found.best == (1, 1, None, None)


def test_a_run_that_cannot_be_read_has_no_time_to_quality(tmp_path: Path) -> None:
    from support.records import record, reduced

    held = record(series={"loss": reduced(0.1)})
    column = parse_column("step(loss < 1)", WORDS)
    assert value_in(column, held, str(tmp_path)) is None


def test_the_best_of_each_column_goes_by_its_goal(store: RunStore, index: Index) -> None:
    for number, (loss, acc) in enumerate([(0.3, 0.7), (0.1, math.inf), (math.nan, 0.9)]):
        make_run(store, series={"loss": [loss], "acc": [acc]}, started=START - number)
    with index:
        index.refresh()
        found = compare_runs(index, "", ["loss", "acc", "best(acc)", "id"], goals=GOALS)
    assert [row[0] for row in found.values] == [0.3, 0.1, None]
    assert found.best == (1, 2, 2, None)


# Groups -----------------------------------------------------------------------------------------


def grouped(index: Index, goal: str | None = "max") -> Grouping:
    index.refresh()
    return group_runs(find_runs(index).rows, parse_column("acc", WORDS), ["lr"], goal=goal)


def test_a_clear_difference_is_called_one(store: RunStore, index: Index) -> None:
    fill(store, {"0.1": [0.90, 0.91, 0.92], "0.01": [0.80, 0.82, 0.81], "1": [0.1, 0.2]})
    with index:
        found = grouped(index)
    assert [group.name for group in found.groups] == ["lr=0.1", "lr=0.01", "lr=1"]
    mean = found.groups[0].mean
    assert mean is not None and mean.mean == pytest.approx(0.91)
    # scipy.stats.ttest_ind([.90,.91,.92], [.80,.82,.81], equal_var=False).pvalue
    assert found.difference is not None
    assert found.difference.p == pytest.approx(0.00025521674944192465)
    assert found.sentence == (
        "`lr=0.1` is better than `lr=0.01` beyond noise: 0.91 against 0.81"
        " (Welch's t-test, p = 0.00026, n = 3 and 3)"
    )


def test_noise_is_called_noise_and_says_how_many_would_tell(store: RunStore, index: Index) -> None:
    fill(store, {"0.1": [0.90, 0.80, 0.85], "0.01": [0.82, 0.88, 0.79]})
    with index:
        found = grouped(index)
    assert found.sentence == (
        "`lr=0.1` is not better than `lr=0.01` beyond noise: 0.85 against 0.83"
        " (Welch's t-test, p = 0.64, n = 3 and 3); about 91 runs each would tell"
    )


def test_single_runs_say_nothing_about_noise(store: RunStore, index: Index) -> None:
    fill(store, {"0.1": [0.9], "0.01": [0.8, 0.81]})
    with index:
        found = grouped(index)
        assert found.difference is None
        assert "`lr=0.1` is a single run" in found.sentence
        assert "without a goal" in grouped(index, None).sentence


def test_what_else_varies_in_a_group_is_named(store: RunStore, index: Index) -> None:
    make_run(store, flags={"lr": "0.1", "seed": "1", "epochs": "5"}, series={"acc": [0.5]})
    make_run(store, flags={"lr": "0.1", "seed": "2", "epochs": "9"}, series={"acc": [0.6]})
    make_run(store, flags={"seed": "2"}, series={"acc": [math.nan]})
    make_run(store, flags={"lr": "0.1", "seed": "3", "epochs": "7"})
    with index:
        found = grouped(index)
    first, second = found.groups
    assert (first.mixed, first.without, len(first.runs)) == (("epochs",), 1, 2)
    assert (second.name, second.mean, second.without) == ("lr=(none)", None, 1)
    assert found.sentence == "there is nothing to compare: only one group has values"


def test_names_that_the_project_declares_are_no_mistake(store: RunStore, index: Index) -> None:
    make_run(store, series={"loss": [1.0]})
    known = Vocabulary(flags=("warmup",), series=("later",))
    with index:
        index.refresh()
        with pytest.raises(FilterError):
            compare_runs(index, "warmup > 3", ["loss"])
        found = compare_runs(index, "warmup > 3", ["later"], known=known)
        assert found.rows == []
        found = compare_runs(index, "", ["best(later)"], goals={"later": "max"}, known=known)
        assert found.values == [(None,)] and found.best == (None,)
