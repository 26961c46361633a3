"""Python tracebacks in lines of output: the last one, chained ones before it in short.

Pure functions on lines without escape sequences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

#: Longer tracebacks are shortened: frames of libraries first, then those in the middle.
MOST_LINES = 24
_HEAD_FRAMES, _TAIL_FRAMES = 2, 6
#: Lines behind the last error that belong to it when nothing else follows.
_MOST_MESSAGE_LINES = 6
_TITLE = "Traceback (most recent call last)"
_GROUP = re.compile(r"\s*\+ Exception Group Traceback \(most recent call last\)")
_IN_GROUP = re.compile(r"\s*[|+]")
_LINKS = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
#: What torchrun and its like put before each line of a process.
_PREFIX = re.compile(r"\[(?:rank|default)\d+\]:\s?")
_FRAME = re.compile(r'\s+File "(?P<file>[^"]*)", line (?P<line>\d+)(?:, in (?P<name>.*))?')
_LIBRARY = re.compile(
    r"/(?:site|dist)-packages/(?P<name>[^/]+)"
    r"|/lib/python3[^/]*/(?!(?:site|dist)-packages/)|^<frozen "
)
_SYNTAX = re.compile(r"(?:Syntax|Indentation|Tab)Error: ")
_FATAL = "Fatal Python error: "


class Trace(NamedTuple):
    """A traceback. `error` is its last line, `where` the innermost frame of one's own code.

    `chain` are the errors that led to it, oldest first, each with its place. `lines` is the
    traceback itself, shortened; `left_out` counts the frames that it lacks. `printed` are the lines
    that it was, chain included, without empty ones.
    """

    error: str
    where: str
    chain: tuple[str, ...]
    lines: tuple[str, ...]
    left_out: int = 0
    printed: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The error's type, without its module: `OutOfMemoryError`."""
        return self.error.partition(":")[0].rpartition(".")[2].strip()


def find_trace(lines: Sequence[str]) -> Trace | None:
    """Return the last traceback in `lines`, or None where there is none."""
    lines = [bare_line(line) for line in lines]
    found = [*_traces(lines)]
    if not found:
        return _fatal(lines) or _syntax_error(lines)
    start, end = found[-1]
    first = start
    chain: list[str] = []
    for before, after in zip(reversed(found[:-1]), reversed(found[1:]), strict=True):
        between = [line.strip() for line in lines[before[1] : after[0]] if line.strip()]
        if len(between) != 1 or between[0] not in _LINKS:
            break
        chain.insert(0, _in_short(lines[slice(*before)]))
        first = before[0]
    body = lines[start:end]
    while not body[-1].strip():
        body.pop()
    kept, left_out = _shortened(body)
    printed = tuple(line for line in lines[first:end] if line.strip())
    return Trace(_error_of(body), _where(body), tuple(chain), tuple(kept), left_out, printed)


def bare_line(line: str) -> str:
    """Return a line without what a launcher of several processes puts before it."""
    return _PREFIX.sub("", line, count=1) if line[:1] == "[" else line


def _traces(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield start and end of each traceback, those inside an exception group not apart."""
    place = 0
    while place < len(lines):
        line = lines[place]
        if _GROUP.match(line):
            end = place + 1
            while end < len(lines) and _IN_GROUP.match(lines[end]):
                end += 1
        elif line.startswith(_TITLE):
            end = _end_of(lines, place)
        else:
            place += 1
            continue
        yield place, end
        place = end


def _end_of(lines: Sequence[str], start: int) -> int:
    """Return the line after a traceback: after its error, and what more of the message follows."""
    end = start + 1
    while end < len(lines) and (not lines[end] or lines[end][0].isspace()):
        if lines[end].strip() in _LINKS:
            return end
        end += 1
    end = min(end + 1, len(lines))
    rest = [line for line in lines[end:] if line.strip()]
    if len(rest) <= _MOST_MESSAGE_LINES and not any(line.startswith(_TITLE) for line in rest):
        rest_end = end
        while rest_end < len(lines) and lines[rest_end].strip() not in _LINKS:
            rest_end += 1
        if rest_end == len(lines):
            return rest_end
    # The further lines of a message are indented by those who write such messages.
    while end < len(lines) and lines[end][:1].isspace():
        end += 1
    return end


def _error_of(body: Sequence[str]) -> str:
    """Return the line that names the error; of a group that of the group."""
    if _GROUP.match(body[0]):
        for line in body[1:]:
            if re.match(r"\s*\| \S", line):
                return line.strip().removeprefix("|").strip()
    for line in body[1:]:
        if line and not line[0].isspace():
            return line.strip()
    return body[-1].strip()


def _frames(body: Sequence[str]) -> list[tuple[re.Match[str], int]]:
    return [(match, at) for at, line in enumerate(body) if (match := _FRAME.match(line))]


def _where(body: Sequence[str]) -> str:
    """Return the innermost frame of one's own code, else the innermost."""
    frames = [match for match, _ in _frames(body)]
    own = [match for match in frames if not _LIBRARY.search(match["file"])]
    for match in reversed(own or frames):
        name = f" in {match['name']}" if match["name"] and match["name"] != "<module>" else ""
        return f"{match['file']}:{match['line']}{name}"
    return ""


def _in_short(body: Sequence[str]) -> str:
    where = _where(body)
    return _error_of(body) + (f"  ({where})" if where else "")


def _shortened(body: Sequence[str]) -> tuple[list[str], int]:
    """Return a traceback of at most about MOST_LINES lines, and how many frames were left out."""
    frames = _frames(body)
    if len(body) <= MOST_LINES or len(frames) <= 2:
        return _cut(body), 0
    starts = [at for _, at in frames]
    last = _end_of_frames(body, starts[-1])
    pieces = [body[a:b] for a, b in zip(starts, [*starts[1:], last], strict=True)]
    kept = [
        not _LIBRARY.search(match["file"]) or place == len(frames) - 1
        for place, (match, _) in enumerate(frames)
    ]
    own = [place for place, keep in enumerate(kept) if keep]
    for place in own[_HEAD_FRAMES:-_TAIL_FRAMES]:
        kept[place] = False
    lines = [*body[: starts[0]]]
    run: list[int] = []
    for place, piece in enumerate(pieces):
        if not kept[place]:
            run.append(place)
            continue
        if run:
            lines.append(_gap([frames[each][0] for each in run]))
            run = []
        lines += piece
    return [*lines, *_cut(body[last:])], kept.count(False)


def _end_of_frames(body: Sequence[str], start: int) -> int:
    end = start + 1
    while end < len(body) and (not body[end] or body[end][0].isspace()):
        end += 1
    return end


def _gap(frames: Sequence[re.Match[str]]) -> str:
    names = [found["name"] for frame in frames if (found := _LIBRARY.search(frame["file"]))]
    names = list(dict.fromkeys(name or "Python's own modules" for name in names))
    where = f" in {', '.join(names[:3])}" if names and len(names) <= 3 else ""
    return f"  ... {len(frames)} frame{'s' if len(frames) > 1 else ''}{where}"


def _cut(lines: Sequence[str]) -> list[str]:
    if len(lines) <= 2 * MOST_LINES:
        return [*lines]
    left = len(lines) - 2 * MOST_LINES
    return [*lines[:MOST_LINES], f"  ... {left} lines", *lines[-MOST_LINES:]]


def _fatal(lines: Sequence[str]) -> Trace | None:
    """Return what Python's fault handler wrote of a crash in C code."""
    starts = [at for at, line in enumerate(lines) if line.startswith(_FATAL)]
    if not starts:
        return None
    body = [line for line in lines[starts[-1] :] if line.strip()]
    where = _first_own_frame(body)
    return Trace(body[0].strip(), where, (), tuple(_cut(body)), printed=tuple(body))


def _first_own_frame(body: Sequence[str]) -> str:
    # The fault handler has the innermost frame first.
    for match, _ in _frames(body):
        if not _LIBRARY.search(match["file"]):
            return f"{match['file']}:{match['line']}"
    return ""


def _syntax_error(lines: Sequence[str]) -> Trace | None:
    """Return the error of a script that could not even be read: it has no title."""
    for end in range(len(lines) - 1, -1, -1):
        if not _SYNTAX.match(lines[end]):
            continue
        for start in range(end - 1, max(-1, end - 6), -1):
            match = _FRAME.match(lines[start])
            if match:
                body = tuple(lines[start : end + 1])
                where = f"{match['file']}:{match['line']}"
                return Trace(lines[end].strip(), where, (), body, printed=body)
    return None
