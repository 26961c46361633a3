"""The filter language: its grammar, what names and values mean, and errors that point."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guildlite.errors import FilterError
from guildlite.query.complete import complete
from guildlite.query.fields import (
    ATTRIBUTES,
    Vocabulary,
    parse_field,
    parse_filter,
    parse_moment,
)
from guildlite.query.nodes import And, Check, Condition, Field, Not, Or, Term, Word
from guildlite.query.syntax import GRAMMAR, parse, quote, quote_name

PAGE = Path(__file__).parents[1] / "docs/reference/filters.md"
NOW = 1_795_200_000.0
WORDS = Vocabulary(
    flags=("lr", "opt", "batch-size", "model"),
    series=("loss", "train/acc", "test/acc", "validation/f1", "my loss"),
    attrs=("host", "git.branch"),
)


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A place whose days are not always of 24 hours."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def checks(text: str) -> list[tuple[str, str, tuple[float | str, ...]]]:
    """Return the checks of a filter without negation, in order."""
    node = parse_filter(text, WORDS, NOW)
    nodes = node.nodes if isinstance(node, (And, Or)) else (node,)
    assert all(isinstance(each, Check) for each in nodes)
    return [(str(each.field), each.operator, each.values) for each in nodes]  # type: ignore[union-attr]


def refusal(text: str, words: Vocabulary = WORDS) -> FilterError:
    with pytest.raises(FilterError) as caught:
        parse_filter(text, words, NOW)
    return caught.value


# Grammar ----------------------------------------------------------------------------------------


def test_the_page_shows_the_grammar() -> None:
    assert GRAMMAR in PAGE.read_text()


def _rules() -> dict[str, str]:
    rules = re.findall(r"^(\w+)\s+= (.*?) ;$", GRAMMAR, re.MULTILINE | re.DOTALL)
    return dict(rules)


#: What the grammar leaves to prose.
_TERMINALS = {
    "name": ["loss", "train/acc", "flag.lr", "`my loss`", "batch-size", "größe"],
    "word": ["adam", "x-1", "2.x", "10%", "a/b"],
    "quoted": ['"a b"', "'it''s'".replace("''", "\\'"), '"and"', '""'],
    "number": ["1", "-0.5", "1e-3", "+7", "inf"],
    "duration": ["2h", "1h30m", "90s", "1.5d"],
    "date": ["2026-11-20", "2025-01-31"],
    "instant": ["2026-11-20T17:45", "2026-11-20T17:45:01"],
    "clock": ["17:45", "17:45:01"],
}


class _Sentences:
    """Draws sentences from the grammar as it is printed."""

    def __init__(self, seed: int) -> None:
        self._draw, self._rules = random.Random(seed), _rules()

    def of(self, rule: str, depth: int = 0) -> str:
        if rule in _TERMINALS:
            return self._draw.choice(_TERMINALS[rule])
        return self._any(_split(self._rules[rule], "|"), depth)

    def _any(self, options: list[str], depth: int) -> str:
        # The last way of every rule that leads back to itself is the one that does not.
        chosen = options[-1] if depth > 8 else self._draw.choice(options)
        return " ".join(self._one(part, depth) for part in _split(chosen, ","))

    def _one(self, part: str, depth: int) -> str:
        if part[0] in "{[":
            times = self._draw.randrange(3 if part[0] == "{" else 2) if depth < 6 else 0
            inner = _split(part[1:-1], "|")
            return " ".join(self._any(inner, depth + 1) for _ in range(times))
        return part.strip('"') if part[0] == '"' else self.of(part, depth + 1)


def _split(text: str, sign: str) -> list[str]:
    """Split at a sign that stands outside quotes and brackets."""
    parts, depth = [""], 0
    for token in re.findall(r'"[^"]*"|\s+|\w+|.', text):
        depth += (token in "{[") - (token in "]}")
        if token == sign and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts]


def test_what_the_grammar_says_is_parsed() -> None:
    lengths = set()
    for seed in range(600):
        sentence = _Sentences(seed).of("filter")
        parse(sentence)
        lengths.add(len(sentence) // 50)
    assert len(lengths) > 3


@pytest.mark.parametrize("seed", range(40))
def test_a_sentence_that_is_cut_or_mixed_up_gives_an_error_or_a_tree(seed: int) -> None:
    draw = random.Random(seed)
    tokens = _Sentences(seed).of("filter").split()
    for _ in range(20):
        draw.shuffle(tokens)
        text = " ".join(tokens[: draw.randrange(len(tokens) + 1)])
        try:
            parse(text)
        except FilterError as error:
            assert 0 <= error.position <= len(text)


def test_and_binds_closer_than_or_and_not_closer_than_both() -> None:
    a, b, c, d = (Word(letter, 0) for letter in "abcd")

    def shape(text: str) -> object:
        return eval(re.sub(r"position=\d+", "position=0", repr(parse(text))))

    assert shape("a or b and not c or d") == Or((a, And((b, Not(c))), d))
    assert shape("a b or c") == Or((And((a, b)), c))
    assert shape("(a or b) c") == And((Or((a, b)), c))
    assert shape("NOT a AND b") == And((Not(a), b))
    assert shape("not not a") == Not(Not(a))
    assert shape("") == shape("   ") == And(())


def test_a_test_has_a_term_an_operator_and_values() -> None:
    node = parse("min( train/acc )>=-1e-3")
    assert isinstance(node, Condition)
    assert node.term == Term("train/acc", "min", 0)
    assert (node.operator, node.literals[0].number) == (">=", -0.001)
    equal = parse("a == b")
    assert isinstance(equal, Condition) and equal.operator == "="
    assert isinstance(parse("a not in (1)"), Not)
    assert isinstance(parse("a not contains x"), Not)


@pytest.mark.parametrize(
    "text", ["", "a b", "and", "it's", "a,b", "x", "ü", 'say "a"', "\\", "a\nb"]
)
def test_quoting_keeps_any_text(text: str) -> None:
    node = parse(f"label = {quote(text)}")
    assert isinstance(node, Condition)
    assert node.literals[0].text == text


@pytest.mark.parametrize("name", ["loss", "my loss", "2h", "and", "0.1", "a(b)", "train/loss"])
def test_quoting_keeps_any_name(name: str) -> None:
    node = parse(f"{quote_name(name)} < 1")
    assert isinstance(node, Condition)
    assert node.term.name == name


# Meaning ----------------------------------------------------------------------------------------


def test_names_are_flags_then_series_then_attributes() -> None:
    words = Vocabulary(flags=("x", "status"), series=("x", "y", "label"), attrs=("x", "y", "z"))
    assert words.find("x") == Field("flag", "x", "any")
    assert words.find("y") == Field("series", "y", "number", "last")
    assert words.find("z") == Field("attr", "z", "any")
    assert words.find("status") == Field("flag", "status", "any")
    assert words.find("attr.status") == Field("attr", "status", "text")
    assert words.find("series.x") == Field("series", "x", "number", "last")
    assert words.find("model") == Field("attr", "model", "text")
    assert words.find("name") == words.find("id")
    assert parse_field("max(x)", words) == Field("series", "x", "number", "max")
    assert words.find("nothing") is None


def test_a_name_that_could_be_two_things_is_noticed() -> None:
    notices: list[str] = []
    parse_filter("model = vit and model = vit and attr.model = x", WORDS, NOW, notices)
    assert notices == ["`model` is taken for the flag; `attr.model` is the run's own"]


def test_the_last_part_of_a_series_will_do_while_it_is_the_only_one() -> None:
    assert str(parse_field("f1", WORDS)) == "validation/f1"
    assert str(parse_field("min(f1)", WORDS)) == "min(validation/f1)"
    error = refusal("acc > 0.9")
    assert "is the end of 2 series" in error.message
    assert error.hint == "write one of them whole: test/acc, train/acc"


def test_values_have_the_type_of_their_field() -> None:
    assert checks("lr >= 1e-2 and lr = auto and lr = '0.10'") == [
        ("flag.lr", ">=", (0.01,)), ("flag.lr", "=", ("auto",)), ("flag.lr", "=", ("0.10",)),
    ]  # fmt: skip
    assert checks("duration > 1h30m or duration < 5") == [
        ("duration", ">", (5400.0,)), ("duration", "<", (5,)),
    ]  # fmt: skip
    assert checks("marked = true and exit_code != 0 and label = 5") == [
        ("marked", "=", (1,)), ("exit_code", "!=", (0,)), ("label", "=", ("5",)),
    ]  # fmt: skip
    assert checks("opt = true") == [("flag.opt", "in", ("true", "True", "TRUE"))]
    assert checks("lr in (0.1, 5, adam, 'x')") == [
        ("flag.lr", "in", (0.1, 5)), ("flag.lr", "in", ("adam",)), ("flag.lr", "in", ("x",)),
    ]  # fmt: skip


def test_a_day_is_a_stretch_of_time() -> None:
    midnight, next_midnight = 1_795_129_200.0, 1_795_215_600.0  # 2026-11-20 in Berlin
    assert parse_moment("2026-11-20", NOW) == (midnight, next_midnight)
    assert parse_moment("today", NOW) == (midnight, next_midnight)
    assert parse_moment("2026-11-20 17:45", NOW) == (midnight + 63_900, midnight + 63_960)
    assert checks("started < 2026-11-20") == [("started", "<", (midnight,))]
    assert checks("started <= 2026-11-20") == [("started", "<", (next_midnight,))]
    assert checks("started > 2026-11-20") == [("started", ">=", (next_midnight,))]
    assert checks("started >= 2026-11-20") == [("started", ">=", (midnight,))]
    assert checks("started = today") == [
        ("started", ">=", (midnight,)), ("started", "<", (next_midnight,)),
    ]  # fmt: skip
    assert checks("started > 2h ago") == [("started", ">", (NOW - 7200,))]
    # The clocks go back in that night.
    low, high = parse_moment("2026-10-25", NOW) or (0, 0)
    assert high - low == 25 * 3600


# Errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "position", "message", "hint"),
    [
        ("loss <", 6, "expected a value after `<`, got the end", None),
        ("loss < and x", 7, "expected a value after `<`, got `and`",
         'put a word of the language in quotes: "and"'),
        ("los < 1", 0, "no run has a flag, series or attribute `los`", "did you mean `loss`?"),
        ("flag.l < 1", 0, "no run has a flag, series or attribute `flag.l`",
         "did you mean `flag.lr`?"),
        ("loss < 0.1 && lr = 1", 11, "expected `and`, `or` or the end, got `&&`", "write `and`"),
        ("label ~ x", 6, "expected `and`, `or` or the end, got `~`", "write `contains`"),
        ("!a", 0, "expected a name, a word or `(`, got `!`", "write `not`"),
        ("(a or b", 7, "expected `)`, `and` or `or`, got the end", None),
        ("a )", 2, "expected `and`, `or` or the end, got `)`", None),
        ("mn(loss) < 1", 0, "`mn` is not a summary of a series", "did you mean `min`?"),
        ("min(lr) < 1", 0, "`lr` is not a series", "it is a flag: write it without `min()`"),
        ("min(loss)", 9, "expected a comparison such as `<`, got the end", None),
        ("lr in 1", 6, "expected `(` after `in`, got `1`", None),
        ("lr in (1 2)", 9, "expected `,` or `)`, got `2`", None),
        ("loss < small", 7, "`loss` needs a number, not `small`", None),
        ("started > 2h", 10, "`started` needs a time such as `2h ago` or `2026-11-20`, not `2h`",
         "did you mean `2h ago`?"),
        ("started > 2026-13-01", 10,
         "`started` needs a time such as `2h ago` or `2026-11-20`, not `2026-13-01`", None),
        ("duration > long", 11, "`duration` needs a duration such as `90s` or `2h`, not `long`",
         None),
        ("status = complete", 9, "no status is called `complete`", "did you mean `completed`?"),
        ("marked > 1", 9, "`marked` needs `= true` or `= false`, not `1`", None),
        ("loss contains x", 14, "`contains` looks into texts, and `loss` is a number",
         "compare it: `loss > ...`"),
        ('label = "x', 8, 'the quote " is never closed', None),
        ("0.1 < loss", 0, "expected a name before `<`, got `0.1`",
         "the name stands first, as in `loss < 0.1`; a name like that goes into backticks"),
    ],
)  # fmt: skip
def test_errors_say_where_what_and_what_was_meant(
    text: str, position: int, message: str, hint: str | None
) -> None:
    error = refusal(text)
    assert error.message == f"column {position + 1} of `{text}`: {message}"
    assert (error.position, error.hint, error.exit_code) == (position, hint, 2)


def test_a_name_is_no_mistake_while_there_are_no_runs() -> None:
    assert parse_filter("loss < 0.1 and x = y", Vocabulary(open=True), NOW)


def test_endless_filters_are_refused_and_long_ones_are_not() -> None:
    assert "nests at most" in refusal("(" * 60 + "a" + ")" * 60).message
    assert "nests at most" in refusal("not " * 60 + "a").message
    assert "at most" in refusal("a " * 6000).message
    assert "at most" in refusal("a" * 200_000).message
    assert parse_filter(" or ".join(["lr = 1"] * 1200), WORDS, NOW)


# Completion -------------------------------------------------------------------------------------


def offered(text: str, cursor: int | None = None) -> list[str]:
    texts = {"flag.opt": ["adam", "a b"]}
    found = complete(
        text, len(text) if cursor is None else cursor, WORDS,
        lambda field: texts.get(str(field), ()),
    )  # fmt: skip
    return [each.text for each in found.candidates]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lo", ["loss"]),
        ("status = co", ["completed"]),
        ("status in (completed, fa", ["failed"]),
        ("opt = ", ["adam", '"a b"']),
        ("opt = a", ["adam", '"a b"']),
        ('opt = "', ["adam", '"a b"']),
        ("loss <", []),
        ("started > 2h a", ["ago"]),
        ("loss < 0.1 a", ["and"]),
        ("min(tr", ["train/acc"]),
        ("attr.m", ["attr.model"]),
        ("marked = t", ["true"]),
        ("loss < < ", []),
        ("`my", ["`my loss`"]),
    ],
)
def test_completion_offers_what_can_follow(text: str, expected: list[str]) -> None:
    found = offered(text)
    assert found == expected or (expected and set(expected) <= set(found) and len(found) < 9)


def test_completion_at_the_start_after_a_name_and_after_a_test() -> None:
    start = offered("")
    assert {"lr", "loss", "status", "`my loss`", "host", "min(", "not", "has", "("} <= set(start)
    assert "model" in start and "attr.model" in start
    assert {"=", "<", "contains", "in", "and", "or"} <= set(offered("loss "))
    assert offered("loss < 0.1 ") == ["and", "or"]
    assert ")" in offered("(loss < 0.1 ")
    assert ")" not in offered("loss < 0.1 ")


def test_completion_replaces_the_word_under_the_cursor_only() -> None:
    found = complete("los < 1 and x", 3, WORDS)
    assert (found.start, [each.text for each in found.candidates]) == (0, ["loss"])
    assert complete("a or ba", 7, WORDS).start == 5


def test_each_attribute_is_on_the_page() -> None:
    page = PAGE.read_text()
    for name, (kind, meaning) in ATTRIBUTES.items():
        assert f"| `{name}` | {kind} | {meaning} |" in page
