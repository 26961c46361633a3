"""What can stand at the cursor of a filter: for shells and for the viewer's filter box."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from guildlite.errors import FilterError
from guildlite.query.fields import ATTRIBUTES, STATUSES, Vocabulary
from guildlite.query.nodes import Field, Term
from guildlite.query.syntax import (
    COMPARISONS,
    SUMMARIES,
    Parser,
    Token,
    iter_tokens,
    quote,
    quote_name,
)

#: Gives the texts that runs have in a field, the most frequent first.
Texts = Callable[[Field], Iterable[str]]


class Candidate(NamedTuple):
    """Something that can stand at the cursor. `text` is as it is typed, `help` says what it is."""

    text: str
    kind: str
    help: str


class Completion(NamedTuple):
    """Candidates replace the text from `start` to the cursor."""

    start: int
    candidates: list[Candidate]


def complete(
    text: str, cursor: int, vocabulary: Vocabulary, texts: Texts = lambda _: ()
) -> Completion:
    """Return what can stand at `cursor` and begins with what is typed there; never raises."""
    before = text[:cursor]
    start = _start_of_word(before)
    typed = before[start:].lstrip("\"'`").lower()
    parser = _parse_up_to(before[:start])
    if parser is None:
        return Completion(start, [])
    found = dict.fromkeys(_candidates(parser, vocabulary, texts))
    matching = [each for each in found if each.text.lower().lstrip("\"'`").startswith(typed)]
    return Completion(start, matching)


def _start_of_word(before: str) -> int:
    """Return where the word that is being typed begins, the end if there is none."""
    token: Token | None = None
    try:
        for each in iter_tokens(before):
            if each.kind != "end":
                token = each
    except FilterError as error:
        return error.position  # an open quote
    if token is None or token.end < len(before) or token.kind == "sign":
        return len(before)
    return token.position


def _parse_up_to(text: str) -> Parser | None:
    """Return the parser after it has read `text`, or None when that is wrong before its end."""
    try:
        parser = Parser(text)
    except FilterError:
        return None
    try:
        parser.parse_filter()
    except FilterError as error:
        if error.position < len(text.rstrip()):
            return None
    return parser


def _candidates(parser: Parser, vocabulary: Vocabulary, texts: Texts) -> Iterator[Candidate]:
    wanted = parser.wanted
    if "value" in wanted or ("text" in wanted and parser.term is not None):
        yield from _values(parser.term, vocabulary, texts)
    if "ago" in wanted:
        yield Candidate("ago", "keyword", "before now")
    if "name" in wanted:
        yield from _names(vocabulary)
    if "summary" in wanted:
        yield from (Candidate(f"{each}(", "summary", f"{each} of a series") for each in SUMMARIES)
    if "comparison" in wanted:
        yield from (Candidate(each, "sign", "") for each in COMPARISONS)
    for keyword in ("contains", "in", "and", "or", "not", "has"):
        if keyword in wanted:
            yield Candidate(keyword, "keyword", "")
    yield from (Candidate(sign, "sign", "") for sign in ("(", ")", ",") if sign in wanted)


def _names(vocabulary: Vocabulary) -> Iterator[Candidate]:
    for name in vocabulary.flags:
        yield Candidate(quote_name(name), "flag", "flag")
    for name in vocabulary.series:
        yield Candidate(quote_name(name), "series", "last value of the series")
    for name, (_, meaning) in ATTRIBUTES.items():
        shadowed = name in vocabulary.flags or name in vocabulary.series
        yield Candidate(f"attr.{name}" if shadowed else name, "attribute", meaning)
    for name in vocabulary.attrs:
        yield Candidate(quote_name(name), "attribute", "attribute")


def _values(term: Term | None, vocabulary: Vocabulary, texts: Texts) -> Iterator[Candidate]:
    field = vocabulary.find(term.name) if term is not None else None
    if field is None or field.kind == "series":
        return
    if field.name == "status" and field.kind == "attr":
        yield from (Candidate(each, "value", "status") for each in STATUSES)
    elif field.type == "time":
        for each in ("1h ago", "1d ago", "7d ago", "today", "yesterday"):
            yield Candidate(each, "value", "time")
    elif field.type == "truth":
        yield from (Candidate(each, "value", "") for each in ("true", "false"))
    elif field.type in ("text", "any"):
        yield from (Candidate(quote(each), "value", "") for each in texts(field))
