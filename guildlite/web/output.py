"""A run's output for people: by pages, searched, and found again by time or by what went wrong."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guildlite.runs import Run, RunReader, StoredLine
from guildlite.series import STDERR, STDOUT
from guildlite.web.ansi import strip_ansi
from guildlite.web.patterns import compile_pattern

#: Lines on one page.
LINES_PER_PAGE = 500
#: Lines found by a search that are counted; the newest.
MOST_FOUND = 20_000
#: Characters of a line that are searched, as many as a page shows of it.
LONGEST_LINE = 5000
_SCAN_LINES = 10_000
_STREAMS = {"stdout": STDOUT, "stderr": STDERR}

# What a script says that fails: Python's traceback first, since what leads to it often says
# "error" long before; then the words of other languages, compilers and the kernel. A number after
# it makes "error: 0.3" a measurement.
_TRACEBACK = "Traceback (most recent call last)"
_ERROR = re.compile(
    r"(?-i:\b\w*(?:Error|Exception)\b\s*[:(])(?!\s*[-+.\d])|\b(?:error|fatal|panic)\s*:(?!\s*[-+.\d])"
    r"|Segmentation fault|core dumped|CUDA (?:error|out of memory)|No space left on device",
    re.IGNORECASE,
)
# One of these is in whatever `_ERROR` finds; looking for them first takes a third of the time.
_HINTS = ("error", "exception", "fatal", "panic", "fault", "dumped", "out of memory", "no space")


@dataclass(frozen=True, slots=True)
class OutputPage:
    """One page of output.

    total: lines, after filtering.
    matches: lines in which `query` was found, None without one; `capped`: there are more.
    match, previous, next: ids of the line found that is shown, and of its neighbours.
    problem: why `query` is no expression that can be searched for, "" if it is one.
    spans: for each line shown, where `query` was found: pairs of begin and end without colours.
    """

    lines: list[StoredLine]
    page: int
    pages: int
    total: int
    capped: bool
    query: str
    stream: str
    operation: str | None
    operations: list[str]
    regex: bool = False
    only: bool = False
    matches: int | None = None
    match: int | None = None
    number: int = 0
    previous: int | None = None
    next: int | None = None
    problem: str = ""
    spans: tuple[tuple[tuple[int, int], ...], ...] = ()


def page_of(line_id: int) -> int:
    """Return the page of the whole output on which a line stands; ids count from 1."""
    return (line_id - 1) // LINES_PER_PAGE + 1


def read_output(
    run: Run,
    *,
    stream: str = "",
    query: str = "",
    regex: bool = False,
    only: bool = False,
    match: int | None = None,
    operation: str | None = None,
    page: int | None = None,
) -> OutputPage:
    """Return one page of a run's output, the last when `page` is None. Raises RunUnreadable.

    query: text to be found in a line in whatever case, colours aside; an expression if `regex`.
    only: leave out lines without it; else the page is that of `match`, the id of a line found,
        or of the first one.
    operation: None is all, "" the run's own, else a later one's name.
    """
    stream = stream if stream in _STREAMS else ""
    pattern, problem = compile_query(query, regex)
    with run.read() as reader:
        total = reader.output_count(operation)
        last = reader.last_output(1)
        # Ids count from 1 without a gap in what we write; anything else is read from the start.
        plain = not (stream or operation is not None) and (not last or last[0].id == total)
        found = _found(reader, stream, pattern, operation) if pattern else None
        capped = found is not None and len(found) > MOST_FOUND
        found = found[-MOST_FOUND:] if found is not None else None
        everything: Sequence[StoredLine] = ()
        if found is not None and only:
            everything, plain, total = found, False, len(found)
        elif not plain:
            everything = _found(reader, stream, None, operation)
            capped = capped or len(everything) > MOST_FOUND
            everything = everything[-MOST_FOUND:]
            total = len(everything)
        here = None if only or found is None or page else _chosen(found, match)
        if here is not None:
            page = _place(here, everything, plain)
        pages = max(1, -(-total // LINES_PER_PAGE))
        page = pages if page is None else min(max(1, page), pages)
        begin = (page - 1) * LINES_PER_PAGE
        lines = (
            reader.output(after=begin, limit=LINES_PER_PAGE)
            if plain
            else list(everything[begin : begin + LINES_PER_PAGE])
        )
    number, previous, following = _around(found or [], here, lines)
    return OutputPage(
        lines=lines,
        page=page,
        pages=pages,
        total=total,
        capped=capped,
        query=query,
        stream=stream,
        operation=operation,
        operations=[each.name for each in run.later_operations()],
        regex=regex,
        only=only,
        matches=None if found is None else len(found),
        match=None if here is None else here.id,
        number=number,
        previous=previous,
        next=following,
        problem=problem,
        spans=tuple(spans_of(pattern, line.text) for line in lines) if pattern else (),
    )


def compile_query(query: str, regex: bool) -> tuple[re.Pattern[str] | None, str]:
    """Return what to search for, None for nothing; and why it cannot be, or ""."""
    if not query:
        return None, ""
    if not regex:
        return re.compile(re.escape(query), re.IGNORECASE), ""
    pattern, problem = compile_pattern(query, re.IGNORECASE)
    return pattern, problem and f"this is no expression to search for: {problem}"


def spans_of(pattern: re.Pattern[str], text: str) -> tuple[tuple[int, int], ...]:
    """Return where `pattern` is in a line, colours taken away: begin and end of each place."""
    plain = strip_ansi(text[:LONGEST_LINE])
    return tuple(found.span() for found in pattern.finditer(plain) if found.end() > found.start())


def line_at(run: Run, at_ms: int) -> int | None:
    """Return the id of the line nearest to a time in ms; None where no line has a time.

    Lines are in order of arrival, so that their times never fall but by what clocks are set back.
    """
    with run.read() as reader:
        last = reader.last_output(1)
        low, high = 1, last[0].id if last else 0
        if not high:
            return None
        while low < high:
            middle = (low + high) // 2
            line = _timed(reader, middle)
            if line is None or line.time is None or line.time >= at_ms or line.id > high:
                high = middle
            else:
                low = max(middle, line.id) + 1
        after, before = _timed(reader, low), _timed_before(reader, low)
    near = [line for line in (before, after) if line is not None and line.time is not None]
    return min(near, key=lambda line: abs((line.time or 0) - at_ms)).id if near else None


def first_error(run: Run) -> int | None:
    """Return the id of the first line that says that something failed, a traceback first of all."""
    other = None
    with run.read() as reader:
        for line in _scan(reader, "", None, None):
            text = line.text[:LONGEST_LINE]
            if _TRACEBACK in text:
                return line.id
            if other is None and any(hint in text.lower() for hint in _HINTS):
                other = line.id if _ERROR.search(strip_ansi(text)) else None
    return other


def _timed(reader: RunReader, line_id: int) -> StoredLine | None:
    """Return the first of some lines from `line_id` on that has a time."""
    lines = reader.output(after=line_id - 1, limit=64)
    return next((line for line in lines if line.time is not None), None)


def _timed_before(reader: RunReader, line_id: int) -> StoredLine | None:
    lines = reader.output(after=max(0, line_id - 65), limit=64)
    earlier = (line for line in reversed(lines) if line.time is not None and line.id < line_id)
    return next(earlier, None)


def _found(
    reader: RunReader, stream: str, pattern: re.Pattern[str] | None, operation: str | None
) -> list[StoredLine]:
    """Return lines that fit: the newest, one more than are counted."""
    return list(deque(_scan(reader, stream, pattern, operation), maxlen=MOST_FOUND + 1))


def _chosen(found: Sequence[StoredLine], match: int | None) -> StoredLine | None:
    """Return the line that was asked for, or the first found from there on."""
    if not found:
        return None
    return next((line for line in found if match is None or line.id >= match), found[-1])


def _around(
    found: Sequence[StoredLine], here: StoredLine | None, lines: Sequence[StoredLine]
) -> tuple[int, int | None, int | None]:
    """Return the number of the line found that is shown, from 1, and the ids before and after it.

    Without one (0), before and after the first line on the page. After the last comes the first.
    """
    if not found:
        return 0, None, None
    if here is not None:
        at = found.index(here)
        return at + 1, found[at - 1].id, found[(at + 1) % len(found)].id
    begin = lines[0].id if lines else 0
    at = sum(line.id < begin for line in found)
    return 0, found[at - 1].id, found[at % len(found)].id


def _place(line: StoredLine, everything: Sequence[StoredLine], plain: bool) -> int:
    if plain:
        return page_of(line.id)
    before = sum(each.id < line.id for each in everything)
    return before // LINES_PER_PAGE + 1


def _scan(
    reader: RunReader, stream: str, pattern: re.Pattern[str] | None, operation: str | None
) -> Iterator[StoredLine]:
    number = _STREAMS.get(stream)
    after = 0
    while lines := reader.output(after=after, limit=_SCAN_LINES, op=operation):
        for line in lines:
            if number is not None and line.stream != number:
                continue
            if pattern and not pattern.search(strip_ansi(line.text[:LONGEST_LINE])):
                continue
            yield line
        after = lines[-1].id
