"""What names mean: flags, series and attributes, and the types their values have."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from guildlite.errors import FilterError, nearest
from guildlite.query.nodes import And, Check, Condition, Field, Literal, Node, Not, Or, Term

#: Attributes every run has: name → (type, meaning). Others are those of its run.db.
ATTRIBUTES: dict[str, tuple[str, str]] = {
    "id": ("text", "name of the run directory"),
    "uid": ("text", "random name that stays when the directory is renamed"),
    "project": ("text", "name of the project"),
    "model": ("text", "model of the project, or the script"),
    "operation": ("text", "as in `train`"),
    "status": ("text", "pending, running, completed, failed, stopped, lost or unreadable"),
    "created": ("time", "when it was asked for"),
    "started": ("time", "when the script started, or was asked for"),
    "stopped": ("time", "when the script ended"),
    "duration": ("duration", "from start to end, or so far"),
    "exit_code": ("number", "exit status of the script"),
    "exit_signal": ("number", "signal the script died of"),
    "label": ("text", "from `gl label`"),
    "note": ("text", "from `gl note`"),
    "marked": ("truth", "`true` with a star from `gl mark`"),
    "error": ("text", "why the run cannot be read"),
}
#: Other names of the same.
_ALIASES = {"name": "id", "time": "duration", "op": "operation"}
STATUSES = ("pending", "running", "completed", "failed", "stopped", "lost", "unreadable")
#: What a name may begin with to say which it means.
PREFIXES = {"flag": "flag", "series": "series", "attr": "attr"}
_TRUTHS = {"true": 1, "yes": 1, "false": 0, "no": 0}


class Vocabulary(NamedTuple):
    """The names there are among the runs. `attrs` are those beyond `ATTRIBUTES`.

    An `open` vocabulary has no runs behind it yet, so an unknown name is no mistake.
    """

    flags: Collection[str] = ()
    series: Collection[str] = ()
    attrs: Collection[str] = ()
    open: bool = False

    def find(self, name: str) -> Field | None:
        """Return what a name means: a flag, else a series, else an attribute, or None.

        `flag.`, `series.` and `attr.` before it decide. Of a series that no other name shadows
        the last part will do: `loss` for `train/loss` while that is the only one.
        """
        prefix, dot, rest = name.partition(".")
        if name in self.flags:
            return Field("flag", name, "any")
        if name in self.series:
            return Field("series", name, "number", "last")
        attribute = self._attribute(name)
        if attribute is not None:
            return attribute
        if dot and prefix in PREFIXES:
            return self._prefixed(prefix, rest)
        endings = self.ending_with(name)
        return Field("series", endings[0], "number", "last") if len(endings) == 1 else None

    def joined(self, other: Vocabulary) -> Vocabulary:
        """Return the names of both."""
        return Vocabulary(
            {**dict.fromkeys(self.flags), **dict.fromkeys(other.flags)},
            {**dict.fromkeys(self.series), **dict.fromkeys(other.series)},
            {**dict.fromkeys(self.attrs), **dict.fromkeys(other.attrs)},
            self.open,
        )

    def ending_with(self, name: str) -> list[str]:
        """Return the series whose key ends with `/name`."""
        return sorted(key for key in self.series if key.endswith(f"/{name}"))

    def names(self) -> Iterator[str]:
        """Yield every name, those that mean something without a prefix first."""
        yield from self.flags
        yield from self.series
        yield from ATTRIBUTES
        yield from self.attrs
        yield from (f"flag.{name}" for name in self.flags)

    def _prefixed(self, prefix: str, name: str) -> Field | None:
        if prefix == "attr":
            return self._attribute(name)
        if prefix == "flag":
            return Field("flag", name, "any") if self.open or name in self.flags else None
        found = name in self.series or self.open
        return Field("series", name, "number", "last") if found else None

    def _attribute(self, name: str) -> Field | None:
        name = _ALIASES.get(name, name)
        if name in ATTRIBUTES:
            return Field("attr", name, ATTRIBUTES[name][0])
        return Field("attr", name, "any") if name in self.attrs else None


def parse_filter(
    text: str, vocabulary: Vocabulary, now: float | None = None, notices: list[str] | None = None
) -> Node:
    """Return the tree of a filter, every name resolved and every value typed.

    `now` is what `2h ago` counts from, seconds since the epoch. `notices` takes a sentence for
    each name that could have been two things. Raises FilterError.
    """
    if not text.strip():
        return And(())
    from guildlite.query.syntax import parse  # only here: most lists have no filter

    resolver = _Resolver(text, vocabulary, time.time() if now is None else now)
    node = resolver.node(parse(text))
    if notices is not None:
        notices += dict.fromkeys(resolver.notices)
    return node


def parse_field(text: str, vocabulary: Vocabulary) -> Field:
    """Return the field that `loss`, `flag.lr` or `min(loss)` names. Raises FilterError."""
    from guildlite.query.syntax import parse_term

    return _Resolver(text, vocabulary, 0.0).field(parse_term(text))


def parse_moment(text: str, now: float) -> tuple[float, float] | None:
    """Return the stretch of time that a date, a minute, a second or `today` is, or None.

    Local time, in seconds since the epoch; the end is no longer part of it.
    """
    days = {"today": 0, "yesterday": -1}
    if text in days:
        day = time.localtime(now)
        return _day(day, days[text]), _day(day, days[text] + 1)
    for form, length_s in (
        ("%Y-%m-%d", 0), ("%Y-%m-%d %H:%M", 60), ("%Y-%m-%dT%H:%M", 60),
        ("%Y-%m-%d %H:%M:%S", 1), ("%Y-%m-%dT%H:%M:%S", 1),
    ):  # fmt: skip
        try:
            parts = time.strptime(text, form)
            if not length_s:
                return _day(parts, 0), _day(parts, 1)
            return time.mktime(parts), time.mktime(parts) + length_s
        except (ValueError, OverflowError):
            continue
    return None


def _day(parts: time.struct_time, later: int) -> float:
    # mktime puts the 32nd of a month right, and knows that a day may have 23 hours.
    return time.mktime((parts[0], parts[1], parts[2] + later, 0, 0, 0, 0, 0, -1))


class _Resolver:
    """Gives the tests of one filter their meaning."""

    def __init__(self, text: str, vocabulary: Vocabulary, now: float) -> None:
        self.text, self.vocabulary, self.now = text, vocabulary, now
        self.notices: list[str] = []

    def node(self, node: Node) -> Node:
        """Return the tree with checks where it has tests."""
        if isinstance(node, Not):
            return Not(self.node(node.node))
        if isinstance(node, (And, Or)):
            return type(node)(tuple(self.node(each) for each in node.nodes))
        return self._check(node) if isinstance(node, Condition) else node

    # Names --------------------------------------------------------------------------------------

    def field(self, term: Term) -> Field:
        """Return what a term means. Raises FilterError with the nearest name."""
        found = self.vocabulary.find(term.name)
        if term.summary is not None and (found is None or found.kind != "series"):
            found = self._series_of(term, found)
        if found is None:
            if self.vocabulary.open:
                return Field("series", term.name, "any", term.summary or "last")
            raise self._unknown(term)
        if found.kind != "attr" and term.name in ATTRIBUTES:
            self.notices.append(
                f"`{term.name}` is taken for the {found.kind}; `attr.{term.name}` is the run's own"
            )
        if found.kind != "series":
            return found
        return found._replace(summary=term.summary or "last")

    def _series_of(self, term: Term, found: Field | None) -> Field | None:
        """Return the series inside `min(...)` when a flag or attribute has the same name."""
        endings = self.vocabulary.ending_with(term.name)
        if term.name in self.vocabulary.series:
            return Field("series", term.name, "number", "last")
        if len(endings) == 1:
            return Field("series", endings[0], "number", "last")
        if found is not None and not endings:
            kind = "a flag" if found.kind == "flag" else "an attribute"
            raise self._error(
                f"`{term.name}` is not a series", term.position,
                f"it is {kind}: write it without `{term.summary}()`",
            )  # fmt: skip
        return None

    def _unknown(self, term: Term) -> FilterError:
        name = term.name
        endings = self.vocabulary.ending_with(name)
        if endings:
            several = ", ".join(endings[:4])
            return self._error(
                f"`{name}` is the end of {len(endings)} series", term.position,
                f"write one of them whole: {several}",
            )  # fmt: skip
        known = [*self.vocabulary.names()]
        known += [key.rpartition("/")[2] for key in self.vocabulary.series]
        close = nearest(name, known)
        if close:
            hint = f"did you mean `{close}`?"
        else:
            hint = "flags, series and attributes of the runs have names here; see `gl runs --json`"
        return self._error(
            f"no run has a flag, series or attribute `{name}`", term.position, hint, ("name",)
        )

    # Values -------------------------------------------------------------------------------------

    def _check(self, test: Condition) -> Node:
        field = self.field(test.term)
        if test.operator == "has":
            return Check(field, "has", ())
        if test.operator == "contains":
            if field.type not in ("text", "any"):
                raise self._error(
                    f"`contains` looks into texts, and `{test.term.name}` is a {field.type}",
                    test.literals[0].position, f"compare it: `{test.term.name} > ...`",
                )  # fmt: skip
            return Check(field, "contains", (test.literals[0].text,), written=True)
        if field.type == "time":
            return _any_of([self._moment(field, test.operator, one) for one in test.literals])
        checks = [self._value(field, one, test) for one in test.literals]
        if test.operator != "in":
            value, written = checks[0]
            if isinstance(value, tuple):
                return _spellings(field, test.operator, value)
            return Check(field, test.operator, (value,), written)
        return _any_of(_membership(field, checks))

    def _value(
        self, field: Field, literal: Literal, test: Condition
    ) -> tuple[float | str | tuple[str, ...], bool]:
        """Return a literal as the field's type has it, and whether as written."""
        kind, number = literal.kind, literal.number
        if field.type == "number":
            if kind != "number" or number is None:
                raise self._wrong(literal, field, "a number")
            return number, False
        if field.type == "duration":
            if kind not in ("number", "duration") or number is None:
                raise self._wrong(literal, field, "a duration such as `90s` or `2h`")
            return number, False
        if field.type == "truth":
            if literal.text.lower() not in _TRUTHS or test.operator not in ("=", "!=", "in"):
                raise self._wrong(literal, field, "`= true` or `= false`")
            return _TRUTHS[literal.text.lower()], False
        if field.type == "text":
            self._refuse_unknown_status(field, literal, test)
            return literal.text, False
        if kind == "ago":
            raise self._wrong(literal, field, "a number or a text")
        if kind == "number" and number is not None:
            return number, False
        if kind == "quoted":
            return literal.text, True
        if literal.text.lower() in ("true", "false") and test.operator in ("=", "!=", "in"):
            word = literal.text.lower()
            return (word, word.capitalize(), word.upper()), False
        return literal.text, False

    def _refuse_unknown_status(self, field: Field, literal: Literal, test: Condition) -> None:
        if field.name != "status" or test.operator not in ("=", "!=", "in"):
            return
        if literal.text not in STATUSES:
            close = nearest(literal.text.lower(), STATUSES)
            hint = f"did you mean `{close}`?" if close else f"known: {', '.join(STATUSES)}"
            raise self._error(
                f"no status is called `{literal.text}`", literal.position, hint, STATUSES
            )

    def _moment(self, field: Field, operator: str, literal: Literal) -> Node:
        """Return the check against a stretch of time: `=` is inside it, `<` before, `>` after."""
        if literal.kind == "ago" and literal.number is not None:
            low = high = self.now - literal.number
        else:
            span = parse_moment(literal.text, self.now)
            if span is None:
                raise self._wrong(literal, field, "a time such as `2h ago` or `2026-11-20`")
            low, high = span
        if operator in ("=", "in", "!="):
            inside = And((Check(field, ">=", (low,)), Check(field, "<", (high,))))
            outside = Or((Check(field, "<", (low,)), Check(field, ">=", (high,))))
            return outside if operator == "!=" else inside
        if low == high:
            return Check(field, operator, (low,))
        # Whether the stretch itself is meant to be part of it.
        bound = low if operator in ("<", ">=") else high
        return Check(field, "<" if operator[0] == "<" else ">=", (bound,))

    # Errors -------------------------------------------------------------------------------------

    def _wrong(self, literal: Literal, field: Field, what: str) -> FilterError:
        from guildlite.query.syntax import parse_duration

        hint = None
        if field.type == "time" and parse_duration(literal.text) is not None:
            hint = f"did you mean `{literal.text} ago`?"
        return self._error(
            f"`{field.name}` needs {what}, not `{literal.text}`", literal.position, hint, ("value",)
        )

    def _error(
        self, message: str, position: int, hint: str | None, expected: tuple[str, ...] = ()
    ) -> FilterError:
        return FilterError(message, text=self.text, position=position, expected=expected, hint=hint)


def _spellings(field: Field, operator: str, texts: Sequence[str]) -> Node:
    """Return the check against a truth value, which scripts and shells spell in three ways."""
    inside = Check(field, "in", tuple(texts))
    return And((Check(field, "has", ()), Not(inside))) if operator == "!=" else inside


def _membership(
    field: Field, checks: Iterable[tuple[float | str | tuple[str, ...], bool]]
) -> list[Node]:
    """Return an `in` check for each kind of value: numbers, texts, texts as written."""
    kinds: dict[tuple[bool, bool], list[float | str]] = {}
    for value, written in checks:
        values = value if isinstance(value, tuple) else (value,)
        kinds.setdefault((isinstance(values[0], str), written), []).extend(values)
    return [Check(field, "in", tuple(values), key[1]) for key, values in kinds.items()]


def _any_of(nodes: Sequence[Node]) -> Node:
    return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))
