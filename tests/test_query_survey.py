"""What many runs are like together: counts, differing flags, groups and their means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

import pytest
from support.many_runs import FIRST, flags_of, make_many, metrics_of
from support.run_dirs import make_run

from guildlite.errors import FilterError
from guildlite.index import Index
from guildlite.query import find_runs
from guildlite.query.survey import group_filter, read_groups, read_survey
from guildlite.runs import RunStore

COUNT = 60


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    make_many(root, COUNT, flags=5, metrics=4)
    return root


@pytest.fixture
def index(many: Path, tmp_path: Path) -> Iterator[Index]:
    with Index(many, tmp_path / "index") as index:
        index.refresh()
        yield index


def test_a_survey_counts_and_compares(index: Index) -> None:
    whole = read_survey(index)
    assert whole.total == COUNT
    assert whole.flags == ["lr", "batch_size", "optimizer", "seed", "flag4"]
    assert set(whole.series) == {
        "train/loss", "validation/loss", "train/accuracy", "validation/accuracy",
    }  # fmt: skip
    assert not whole.labels
    adams = [n for n in range(COUNT) if flags_of(n)["optimizer"] == "adam"]
    part = read_survey(index, "optimizer = adam")
    assert part.total == len(adams)
    assert "optimizer" not in part.flags
    assert read_survey(index, "optimizer = adam and lr > 5") == (0, [], [], False)


def test_groups_have_their_runs_means_and_statuses(index: Index) -> None:
    found = read_groups(index, "", ["flag.optimizer"], ["train/loss"])
    assert found.total == COUNT
    assert [group.values for group in found.groups] == [("adam",), ("lion",), ("sgd",)]
    for group in found.groups:
        members = [n for n in range(COUNT) if flags_of(n)["optimizer"] == group.values[0]]
        losses = [metrics_of(n)["train/loss"][1] for n in members]
        (figure,) = group.means
        assert figure is not None
        assert (group.runs, figure.n) == (len(members), len(members))
        assert figure.mean == pytest.approx(mean(losses))
        assert figure.std == pytest.approx(stdev(losses))
        assert group.started == FIRST + 60 * max(members)
        failed = sum(n % 10 == 9 for n in members)
        assert group.statuses.get("failed", 0) == failed
        assert group.statuses["completed"] == len(members) - failed


def test_the_filter_of_a_group_finds_its_runs(index: Index) -> None:
    by = ["flag.batch_size", "model", "status"]
    found = read_groups(index, "train/loss < 0.7", by)
    assert sum(group.runs for group in found.groups) == found.total
    for group in found.groups:
        inside = f"(train/loss < 0.7) and {group_filter(found.by, group.values)}"
        assert find_runs(index, inside, limit=0, count=True).total == group.runs


@pytest.mark.parametrize(
    "text", ["true", "True", "0.10", "", 'a "quoted" \\ word', "and", "2h ago", "nan", "x y"]
)
def test_any_value_can_be_a_group(tmp_path: Path, text: str) -> None:
    store = RunStore(tmp_path / "runs")
    make_run(store, flags={"odd name": text})
    make_run(store, flags={"odd name": "another"})
    make_run(store)
    with Index(store.root, tmp_path / "index") as index:
        index.refresh()
        found = read_groups(index, "", ["`flag.odd name`"])
        assert len(found.groups) == 3
        for group in found.groups:
            inside = group_filter(found.by, group.values)
            assert find_runs(index, inside, limit=0, count=True).total == 1, inside


def test_groups_in_any_order(index: Index) -> None:
    def order(sort: str) -> list[object]:
        found = read_groups(index, "", ["flag.seed"], ["train/loss"], sort=sort)
        return [group.values[0] for group in found.groups]

    assert order("") == order("flag.seed") == [0, 1, 2, 3, 4]
    assert order("-seed") == [4, 3, 2, 1, 0]
    losses = {
        seed: mean(metrics_of(n)["train/loss"][1] for n in range(COUNT) if n % 5 == seed)
        for seed in range(5)
    }
    assert order("train/loss") == sorted(losses, key=lambda seed: losses[seed])
    assert order("-started") == [4, 3, 2, 1, 0]


def test_what_cannot_be_grouped_by(index: Index) -> None:
    for by in ("train/loss", "started", "duration", "nothing"):
        with pytest.raises(FilterError):
            read_groups(index, "", [by])


def test_an_offset_cuts_the_same_list(index: Index) -> None:
    for filter, sort in (("", ""), ("", "train/loss"), ("lr > 0.001", "-duration")):
        whole = [(row.position, row.record.id) for row in find_runs(index, filter, sort=sort).rows]
        parts = [
            (row.position, row.record.id)
            for start in range(0, COUNT, 7)
            for row in find_runs(index, filter, sort=sort, limit=7, offset=start).rows
        ]
        assert parts == whole
