"""The filter field: what is wrong with a filter, and what can follow in it."""

from __future__ import annotations

from typing import NamedTuple

from guildlite.errors import FilterError
from guildlite.query import Field, read_values, read_vocabulary
from guildlite.query.complete import Candidate, complete
from guildlite.query.fields import parse_filter
from guildlite.query.syntax import iter_tokens
from guildlite.web.lookup import Lookup

#: Candidates of one answer: nobody reads more, and typing on narrows them.
MOST_CANDIDATES = 60
MOST_CHARACTERS = 4000


class Problem(NamedTuple):
    """What is wrong with a filter: `message` in one sentence, and where.

    The trouble is `length` characters from `position` on, none where something is missing at the
    end. `expected` names what could have stood there.
    """

    message: str
    position: int
    length: int
    expected: tuple[str, ...]
    hint: str | None


class Answer(NamedTuple):
    """Candidates to replace the text from `start` to the cursor; `more` were left out."""

    start: int
    candidates: list[Candidate]
    more: int
    problem: Problem | None


def problem_of(error: FilterError) -> Problem:
    """Return an error for the field it is shown under, where its text stands already."""
    message = error.message.removeprefix(f"column {error.position + 1} of `{error.text}`: ")
    length = _length_at(error.text, error.position)
    return Problem(message, error.position, length, error.expected, error.hint)


def _length_at(text: str, position: int) -> int:
    try:
        for token in iter_tokens(text):
            if token.position <= position < token.end:
                return token.end - position
    except FilterError:
        return len(text) - position  # a quote that is never closed
    return 0


def read_completion(lookup: Lookup, text: str, at: int) -> Answer:
    """Return what can stand at the cursor `at` of a filter, and what is wrong with the whole."""
    with lookup.opened() as index:
        vocabulary = read_vocabulary(index).joined(lookup.known())

        def texts(field: Field) -> list[str]:
            return read_values(index, field, MOST_CANDIDATES)

        found = complete(text, min(max(0, at), len(text)), vocabulary, texts)
    problem = None
    try:
        parse_filter(text, vocabulary)
    except FilterError as error:
        problem = problem_of(error)
    first = found.candidates[:MOST_CANDIDATES]
    return Answer(found.start, first, len(found.candidates) - len(first), problem)
