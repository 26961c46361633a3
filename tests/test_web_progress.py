"""How far a run is, what that rests on, and the figures at the top of its page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from support.run_dirs import START, make_run
from support.viewing import make_project, viewing

from guildlite.runs import Run, RunStore
from guildlite.runs.db import RunDb
from guildlite.series import OutputLine, Point, Reading
from guildlite.web.progress import Progress, read_progress

Points = Sequence[tuple[int, float, float]]


def make(
    store: RunStore,
    flags: Mapping[str, str],
    series: Mapping[str, Points] | None = None,
    lines: Sequence[tuple[float, str]] = (),
) -> Run:
    """A running run; points are (step, seconds after the start, value), lines (seconds, text)."""
    run = make_run(store, flags=flags, alive=True, ended=False)
    points = {
        key: [Point(step, int((START + at) * 1000), value) for step, at, value in rows]
        for key, rows in (series or {}).items()
    }
    output = [OutputLine(int((START + at) * 1000), 1, text) for at, text in lines]
    with RunDb(run.paths.db) as db:
        db.write([Reading(None, points, output)])
    return run


def progress_of(run: Run, now: float = START) -> Progress | None:
    with run.read() as reader:
        return read_progress(reader, run.flags, reader.summaries(), now)


def every(seconds: float, count: int, first: int = 0) -> Points:
    return [(first + n, seconds * n, 1.0) for n in range(count)]


def test_a_flag_for_steps_and_the_longest_series(store: RunStore) -> None:
    # Steps 0 to 49 in 98 seconds: 50 of 200 done, 150 left at 2 s each.
    series = {"loss": every(2, 50), "val": every(20, 5)}
    found = progress_of(make(store, {"max-steps": "200"}, series))
    assert found is not None
    assert (found.done, found.goal, found.unit) == (50, 200, "step")
    assert found.basis == "the flag `max-steps`"
    assert found.ends_at - START == pytest.approx(98 + 150 * 2)


@pytest.mark.parametrize("name", ["steps", "trainer.max_steps", "num_train_steps", "total-iters"])
def test_names_of_such_flags(store: RunStore, name: str) -> None:
    assert progress_of(make(store, {name: "1e3"}, {"loss": every(1, 10, first=1)})) is not None


@pytest.mark.parametrize(
    "flags", [{"eval_steps": "100"}, {"steps": "many"}, {"steps": "-1"}, {"steps": "nan"},
              {"steps": "inf"}, {"steps": "0.5"}, {"lr": "100"}, {"warmup_epochs": "5"}]
)  # fmt: skip
def test_other_flags_say_nothing(store: RunStore, flags: dict[str, str]) -> None:
    assert progress_of(make(store, flags, {"loss": every(1, 3)})) is None


def test_a_goal_that_was_passed_means_something_else(store: RunStore) -> None:
    assert progress_of(make(store, {"steps": "10"}, {"loss": every(1, 50)})) is None


def test_the_pace_is_of_late_and_of_this_attempt(store: RunStore) -> None:
    before = [(n, 10.0 * n, 1.0) for n in range(8)]
    resumed = [(4 + n, 1000.0 + n, 1.0) for n in range(3)]  # one second a step now
    found = progress_of(make(store, {"steps": "17"}, {"loss": [*before, *resumed]}))
    assert found is not None
    assert found.done == 7
    assert found.ends_at - START == pytest.approx(1002 + 10)


def test_a_step_that_takes_long_puts_the_end_off(store: RunStore) -> None:
    run = make(store, {"steps": "5"}, {"loss": every(10, 3)})  # steps 0, 1, 2 at 0, 10, 20 s
    for now, ends in ((25, 40), (30, 40), (90, 100)):
        found = progress_of(run, START + now)
        assert found is not None and found.ends_at is not None
        assert found.ends_at - START == pytest.approx(ends)


def test_epochs_from_a_series_of_that_name(store: RunStore) -> None:
    epoch = [(100 * n, 30.0 * n, float(n)) for n in range(1, 4)]
    series = {"loss": every(0.3, 300), "train/epoch": epoch}
    found = progress_of(make(store, {"epochs": "10"}, series))
    assert found is not None
    assert (found.done, found.goal, found.unit) == (3, 10, "epoch")
    assert found.basis == "the flag `epochs` and the series `train/epoch`"
    assert found.ends_at - START == pytest.approx(90 + 7 * 30)


def test_epochs_from_what_is_printed(store: RunStore) -> None:
    lines = [(10.0 * n, f"\x1b[1mepoch {n} of 5\x1b[0m  step 7/8 loss 0.1") for n in (1, 2, 3)]
    found = progress_of(make(store, {"epochs": "5"}, {"loss": every(0.1, 300)}, lines))
    assert found is not None
    assert (found.done, found.goal) == (3, 5)
    assert "what the script prints" in found.basis
    assert found.ends_at - START == pytest.approx(30 + 20)


def test_printed_counts_of_another_number_are_not_the_flags(store: RunStore) -> None:
    found = progress_of(make(store, {"epochs": "7"}, {}, [(1.0, "epoch 1/5")]))
    assert found is not None
    assert (found.goal, found.basis) == (5, "what the script prints")


@pytest.mark.parametrize(
    ("text", "done", "goal"),
    [("Epoch [3/10]", 3, 10), ("step 1,200/2,000", 1200, 2000), ("Iteration: 5 / 9", 5, 9),
     ("epoch=4/8", 4, 8), ("Epoch 2 of 3", 2, 3)],
)  # fmt: skip
def test_ways_to_print_it(store: RunStore, text: str, done: int, goal: int) -> None:
    found = progress_of(make(store, {}, {}, [(5.0, text)]))
    assert found is not None
    assert (found.done, found.goal) == (done, goal)
    # One line alone may have come at the start or at the end of what it names.
    assert found.ends_at is None


@pytest.mark.parametrize("text", ["epoch 12/10", "loss 3/10", "stepped 1 of 2", "epoch 3", "0/0"])
def test_what_is_printed_otherwise(store: RunStore, text: str) -> None:
    assert progress_of(make(store, {}, {}, [(5.0, text)])) is None


def test_steps_taken_for_epochs_say_so(store: RunStore) -> None:
    found = progress_of(make(store, {"epochs": "20"}, {"acc": every(60, 5)}))
    assert found is not None
    assert (found.done, found.unit) == (5, "epoch")
    assert "if each step is an epoch" in found.basis


def test_nothing_known_is_nothing_said(store: RunStore) -> None:
    assert progress_of(make(store, {}, {"loss": every(1, 5)}, [(1.0, "hello")])) is None
    first = progress_of(make(store, {"steps": "9"}, {"loss": [(0, 1.0, 1.0)]}))
    assert first is not None
    assert first.ends_at is None


def test_the_page_shows_it_while_the_run_is_running(tmp_path: Path) -> None:
    place = make_project(tmp_path)
    run = make(place.store, {"steps": "200"}, {"loss": every(2, 50)})
    done = make_run(place.store, "intro", flags={"steps": "9"}, series={"loss": [1.0, 2.0]})
    with viewing(tmp_path) as client:
        page = client.get(f"/runs/{run.id}").text
        assert '<progress max="200" value="50"' in page
        assert "step 50 of 200" in page
        assert "Concluded from the flag <code>steps</code>" in page
        assert client.get(f"/api/v1/runs/{run.id}").json()["progress"]["goal"] == 200
        assert "<progress" not in client.get(f"/runs/{done.id}").text


def test_tiles_reduce_a_series_to_one_number(tmp_path: Path) -> None:
    fields = [
        "loss", "last_5_average(loss)", "average(loss)", "min(loss)", "max( loss )", "first(loss)",
        "steps(loss)", "duration(loss)", "count(loss)", "odd(x)", "typo(loss)", "mean(gone)",
    ]  # fmt: skip
    (tmp_path / "project.yml").write_text(
        f"models: {{a: a.py}}\nmetrics: {{loss: {{format: '0.00'}}}}\nview: {{fields: {fields}}}\n"
    )
    store = RunStore(tmp_path / "runs")
    values = [9.0, 1.0, 2.0, 3.0, 4.0, 10.0]
    rows = [(10 * n, 15.0 * n, value) for n, value in enumerate(values)]
    run = make(store, {}, {"loss": rows, "odd(x)": [(0, 0.0, 7.0)]})
    with viewing(tmp_path) as client:
        page = client.get(f"/runs/{run.id}").text
    figures = re.findall(r'<dd class="figure"><bdi>(.*?)</bdi>', page)
    # Eight at most: a wall of figures says nothing.
    assert figures == ["10.00", "4.00", "4.83", "1.00", "10.00", "9.00", "50", "1m 15s"]
