"""What the index answers is what plain Python says, for any runs and any filter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.records import Held, record, reduced

from guildlite.errors import FilterError
from guildlite.index import RunRecord
from guildlite.index.record import LiveState, Reduced
from guildlite.query import Field, find_runs
from guildlite.query.ask import vocabulary_of
from guildlite.query.fields import parse_field, parse_filter
from guildlite.query.plain import matches, value_of
from guildlite.query.syntax import SUMMARIES, quote, quote_name

NOW = 1_795_300_000.0
FLAGS = ("lr", "opt", "loss", "model", "a b", "batch-size")
SERIES = ("loss", "train/acc", "acc", "sys/cpu/util", "output/x")
ATTRS = ("host", "git.branch")
COLUMNS = ("id", "model", "status", "label", "started", "duration", "exit_code", "marked", "note")
TEXTS = ("adam", "Adam", "0.1", "1e-1", "5", "-3", "inf", "true", "True", "", "ß", "SS", "2h", "%_")

texts = st.one_of(
    st.sampled_from(TEXTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
)
numbers = st.one_of(
    st.none(), st.floats(allow_nan=False), st.sampled_from([0.0, 0.1, 5.0, float("inf")])
)
whole = st.sampled_from([0.1, 5, -3, 0, 64, 1_795_196_702, float("inf")])


@st.composite
def summaries(draw: st.DrawFn) -> Reduced:
    values = {part: draw(numbers) for part in ("first", "last", "min", "max", "mean")}
    return reduced(values.pop("last"), count=draw(st.integers(1, 6)), **values)


@st.composite
def runs(draw: st.DrawFn, number: int) -> RunRecord:
    maybe_time = st.one_of(st.none(), st.sampled_from([1_795_196_702.0, NOW - 3600, 0.0]))
    return record(
        number,
        model=draw(st.sampled_from(["expert", "intro", "", "ß"])),
        status=draw(st.sampled_from(["completed", "failed", "lost", "running"])),
        started=draw(maybe_time),
        created=draw(maybe_time),
        duration=draw(st.one_of(st.none(), st.sampled_from([0.0, 64.0, 7200.0]))),
        exit_code=draw(st.one_of(st.none(), st.sampled_from([0, 1, 5]))),
        label=draw(texts),
        note=draw(texts),
        marked=draw(st.booleans()),
        flags=draw(st.dictionaries(st.sampled_from(FLAGS), texts, max_size=4)),
        attrs=draw(st.dictionaries(st.sampled_from(ATTRS), texts, max_size=2)),
        series=draw(st.dictionaries(st.sampled_from(SERIES), summaries(), max_size=4)),
    )


@st.composite
def worlds(draw: st.DrawFn) -> list[RunRecord]:
    count = draw(st.integers(0, 6))
    return [draw(runs(number)) for number in range(1, count + 1)]


@st.composite
def names(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return quote_name(draw(st.sampled_from((*FLAGS, *SERIES, *ATTRS, *COLUMNS))))
    if kind == 1:
        return "flag." + draw(st.sampled_from(("lr", "opt", "loss", "model", "batch-size")))
    if kind == 2:
        part, series = draw(st.sampled_from(SUMMARIES)), draw(st.sampled_from(SERIES))
        return f"{part}({series})"
    if kind == 3:
        return "attr." + draw(st.sampled_from(COLUMNS))
    return draw(st.sampled_from(("lr", "loss", "train/acc", "label", "status", "started")))


values = st.one_of(
    whole.map(str),
    texts.map(lambda text: quote(text) if text.strip() else '""'),
    texts.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'),
    st.sampled_from(
        ["completed", "failed", "2h ago", "1h", "today", "2026-11-20", "true", "false"]
    ),
)


@st.composite
def checks(draw: st.DrawFn) -> str:
    name, kind = draw(names()), draw(st.integers(0, 9))
    if kind < 6:
        sign = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "=="]))
        return f"{name} {sign} {draw(values)}"
    if kind == 6:
        listed = ", ".join(draw(st.lists(values, min_size=1, max_size=4)))
        return f"{name} {draw(st.sampled_from(['in', 'not in']))} ({listed})"
    if kind == 7:
        return f"{name} {draw(st.sampled_from(['contains', 'not contains']))} {draw(values)}"
    return f"has {name}" if kind == 8 else draw(st.sampled_from(["expert", "17", '"ss"', "SS"]))


filters = st.recursive(
    checks(),
    lambda inner: st.one_of(
        inner.map(lambda one: f"not ({one})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}) and ({two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}) or {two[1]}"),
        st.tuples(inner, inner).map(lambda two: f"{two[0]} {two[1]}"),
    ),
    max_leaves=5,
)


def live_of(world: list[RunRecord]) -> dict[str, LiveState]:
    return {
        run.id: LiveState(
            run.status, run.status_note, run.started, run.stopped, run.duration, run.exit_code,
            run.exit_signal,
        )
        for run in world
        if run.status == "running"
    }  # fmt: skip


any_time = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@any_time
@given(worlds(), filters, names(), st.booleans(), st.sampled_from([None, 1, 3]))
def test_the_index_and_plain_python_agree(
    world: list[RunRecord], text: str, sort: str, down: bool, limit: int | None
) -> None:
    held: Any = Held(world, live_of(world))
    vocabulary, _ = vocabulary_of(held.connection)
    try:
        node = parse_filter(text, vocabulary, NOW)
        field = parse_field(sort, vocabulary)
    except FilterError as error:
        with pytest.raises(FilterError) as caught:
            find_runs(held, text, sort=sort, now=NOW)
        assert 0 <= error.position <= max(len(text), len(sort))
        assert caught.value.message == error.message
        return
    expected = [run for run in world if matches(node, run)]
    order = f"-{sort}" if down else sort
    found = find_runs(held, text, sort=order, limit=limit, count=True, now=NOW)
    assert found.total == len(expected)
    assert found.of == len(world)
    listed = [row.record for row in found.rows]
    assert len(listed) == min(len(expected), limit or len(expected))
    assert {run.id for run in listed} <= {run.id for run in expected}
    assert all(run == next(one for one in world if one.id == run.id) for run in listed)
    every, shown = ([_value(field, run) for run in runs] for runs in (expected, listed))
    present = sorted((each for each in every if each is not None), key=_rank, reverse=down)
    assert shown == [*present, *[None] * (len(every) - len(present))][: len(shown)]
    newest = sorted(world, key=lambda run: (run.stamp, run.id), reverse=True)
    assert [newest[row.position - 1].id for row in found.rows] == [run.id for run in listed]


def _value(field: Field, run: RunRecord) -> float | str | None:
    """Return what a run is sorted by; a label that nobody wrote is none."""
    value = value_of(field, run)
    return None if value == "" and field.type == "text" else value


def _rank(value: float | str) -> tuple[bool, float, bytes]:
    if isinstance(value, str):
        return (True, 0.0, value.encode())
    return (False, value, b"")


@any_time
@given(worlds(), filters)
def test_a_filter_and_its_opposite_part_the_runs(world: list[RunRecord], text: str) -> None:
    held: Any = Held(world, live_of(world))
    try:
        first = find_runs(held, text, now=NOW)
    except FilterError:
        return
    second = find_runs(held, f"not ({text})", now=NOW)
    ids = [row.record.id for row in (*first.rows, *second.rows)]
    assert sorted(ids) == sorted(run.id for run in world)
