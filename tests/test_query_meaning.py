"""What a filter means, worked out by this test itself: without parser, SQL or code of the package.

A filter is drawn together with a Python function that says which runs pass it by the rules of
docs/reference/filters.md; the two grow side by side, so the text never has to be read.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.records import Held, record, reduced

from guildlite.query import find_runs

NOW = 1_795_300_000.0
NAN = "nan"  # a series whose last point is NaN


class Made(NamedTuple):
    """A run as this test knows it; None is what it lacks."""

    number: int
    lr: float | str | None
    opt: str | None
    loss: float | str | None
    least: float | None
    model: str
    label: str


Passes = Callable[[Made], bool]
Drawn = tuple[str, Passes]

SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge, "==": operator.eq,
}  # fmt: skip
#: Flags are texts; what reads as a number is one.
WRITTEN = {"0.1": 0.1, "1e-1": 0.1, "5": 5.0, "-3": -3.0, ".5": 0.5, "auto": "auto"}
NUMBERS = ("0.1", "5", "-3", "0.5", "1e1", "inf", "-inf")
TEXTS = ("adam", "Adam", "sgd", "ß", "two words")
FIELDS: dict[str, Callable[[Made], float | str | None]] = {
    "lr": lambda run: run.lr,
    "flag.lr": lambda run: run.lr,
    "loss": lambda run: None if run.loss == NAN else run.loss,
    "last(loss)": lambda run: None if run.loss == NAN else run.loss,
    "min(loss)": lambda run: run.least,
}

runs = st.builds(
    Made,
    number=st.just(0),
    lr=st.sampled_from([None, *WRITTEN]),
    opt=st.sampled_from([None, *TEXTS]),
    loss=st.sampled_from([None, NAN, 0.1, 0.5, 5.0, -3.0, float("inf"), float("-inf")]),
    least=st.sampled_from([None, 0.1, -3.0, float("-inf")]),
    model=st.sampled_from(["expert", "intro", "Straße"]),
    label=st.sampled_from(["", "base line", "INTRO 2"]),
)


def compare(held: float | str | None, sign: str, wanted: float | str) -> bool:
    """Compare by the rules: who lacks it never passes, a number and a text are only different."""
    if held is None:
        return False
    if isinstance(held, str) != isinstance(wanted, str):
        return sign == "!="
    return SIGNS[sign](held, wanted)


@st.composite
def leaves(draw: st.DrawFn) -> Drawn:
    kind = draw(st.integers(0, 7))
    if kind <= 2:
        name, sign = draw(st.sampled_from([*FIELDS])), draw(st.sampled_from([*SIGNS]))
        number = draw(st.sampled_from(NUMBERS))
        value = float(number)
        return f"{name} {sign} {number}", lambda run: compare(FIELDS[name](run), sign, value)
    if kind == 3:
        sign, text = draw(st.sampled_from([*SIGNS])), draw(st.sampled_from(TEXTS))
        return f'opt {sign} "{text}"', lambda run: compare(run.opt, sign, text)
    if kind == 4:
        chosen = draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=3))
        name, no = draw(st.sampled_from([*FIELDS])), draw(st.booleans())
        values = {float(each) for each in chosen}
        return (
            f"{name} {'not in' if no else 'in'} ({', '.join(chosen)})",
            lambda run: (FIELDS[name](run) in values) != no,
        )
    if kind == 5:
        part, no = draw(st.sampled_from(["AD", "d", "two W", "x"])), draw(st.booleans())
        return (
            f"opt {'not contains' if no else 'contains'} '{part}'",
            lambda run: (run.opt is not None and part.casefold() in run.opt.casefold()) != no,
        )
    if kind == 6:
        what = draw(st.sampled_from(["lr", "opt"]))
        return f"has {what}", lambda run: getattr(run, what) is not None
    word = draw(st.sampled_from(["intro", "EXPERT", '"base line"', "strasse", "zzz"]))
    plain = word.strip('"').casefold()
    return word, lambda run: any(
        plain in text.casefold() for text in (identity(run), run.label, run.model)
    )


def identity(run: Made) -> str:
    return f"20261120T1745{run.number:02d}Z-run"


@st.composite
def negations(draw: st.DrawFn, atoms: st.SearchStrategy[Drawn]) -> Drawn:
    text, passes = draw(atoms)
    for _ in range(draw(st.integers(0, 2))):
        text, passes = f"{draw(st.sampled_from(['not', 'NOT']))} {text}", _opposite(passes)
    return text, passes


def _opposite(passes: Passes) -> Passes:
    return lambda run: not passes(run)


@st.composite
def joined(draw: st.DrawFn, parts: st.SearchStrategy[Drawn], word: str) -> Drawn:
    """Join without brackets: what binds closer is left to the filter."""
    drawn = draw(st.lists(parts, min_size=1, max_size=3))
    every = [passes for _, passes in drawn]
    test = all if word == "and" else any
    return f" {word} ".join(text for text, _ in drawn), lambda run: test(p(run) for p in every)


def either(inner: st.SearchStrategy[Drawn]) -> st.SearchStrategy[Drawn]:
    return joined(joined(negations(inner), "and"), "or")


filters = st.recursive(
    either(leaves()),
    lambda inner: either(inner.map(lambda one: (f"({one[0]})", one[1]))),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(runs, min_size=1, max_size=8), filters)
def test_a_filter_passes_the_runs_that_its_rules_say(drawn: list[Made], filter: Drawn) -> None:
    text, passes = filter
    world = [
        each._replace(number=number, lr=WRITTEN.get(str(each.lr), each.lr))
        for number, each in enumerate(drawn)
    ]
    written = {number: each.lr for number, each in enumerate(drawn)}
    # So that every name is known, as it is where some run has it.
    known = record(
        99, id="known", model="", flags={"lr": "1", "opt": "x"}, series={"loss": _none()}
    )
    held: Any = Held([*(_record(run, written[run.number]) for run in world), known])
    found = {row.record.id for row in find_runs(held, text, now=NOW).rows} - {"known"}
    assert found == {identity(run) for run in world if passes(run)}, text


def _none() -> Any:
    return reduced(None)


def _record(run: Made, lr: float | str | None) -> Any:
    flags = {name: str(text) for name, text in (("lr", lr), ("opt", run.opt)) if text is not None}
    series = {}
    if run.loss is not None or run.least is not None:
        last = run.loss if isinstance(run.loss, float) else None
        series["loss"] = reduced(last, min=run.least)
    return record(
        run.number, id=identity(run), model=run.model, label=run.label, flags=flags, series=series
    )
