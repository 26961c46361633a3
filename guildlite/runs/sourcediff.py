"""What differs between two sets of source files: what two runs kept, or a run and the folder now.

One function for the terminal and the viewer. A `SourceTree` is a list of paths and a way to read
one, so that it does not matter where the files lie; nothing here follows a link.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from guildlite.platform import open_regular
from guildlite.runs.run import Run

#: The state of the repository, kept beside the sources; no source itself.
GIT_DIFF = "git.diff"
#: Larger files are only said to differ.
MOST_SOURCE_BYTES = 1024 * 1024
#: Lines of each side that are matched with one another. Matching takes up to their product: at this
#: size 0.3 s where every line is another one. Longer stretches are shown as replaced as a whole.
MOST_MATCHED_LINES = 4000
#: Lines of a difference that are kept of one file.
MOST_LINES = 20_000
#: Lines around a change that are shown, as `diff -u` has it.
CONTEXT = 3
#: Entries of a run's kept sources that are looked at; a snapshot has 500 files at most.
_MOST_ENTRIES = 5000


@dataclass(frozen=True)
class SourceTree:
    """Source files: path with `/` → size in bytes, and how to read one (None: gone or no file)."""

    files: Mapping[str, int]
    read: Callable[[str], bytes | None]


class Line(NamedTuple):
    """A line of a difference. `sign` is ` `, `-` or `+`; numbers count from 1.

    `unended` says that no line end follows, which only the last line of a file can lack.
    """

    sign: str
    old: int | None
    new: int | None
    text: str
    unended: bool = False


class Hunk(NamedTuple):
    """Changed lines with those around them. Starts and counts are those of `@@ -a,b +c,d @@`."""

    old_start: int
    old_count: int
    new_start: int
    new_count: int
    lines: tuple[Line, ...]

    @property
    def head(self) -> str:
        old = _range(self.old_start, self.old_count)
        return f"@@ -{old} +{_range(self.new_start, self.new_count)} @@"


class FileDiff(NamedTuple):
    """A file that differs. `kind` is changed, removed or added.

    `why` says why there are no hunks: `binary`, `large`, or `empty` for a file without a line; else
    it is empty itself. `added` and `removed` count lines. `cut` says that lines are missing at the
    end because there are too many.
    """

    path: str
    kind: str
    added: int = 0
    removed: int = 0
    hunks: tuple[Hunk, ...] = ()
    why: str = ""
    cut: bool = False

    def unified(self) -> list[str]:
        """Return the lines of a unified diff, without line ends; none where `why` says so."""
        if not self.hunks:
            return []
        old = "/dev/null" if self.kind == "added" else f"a/{self.path}"
        new = "/dev/null" if self.kind == "removed" else f"b/{self.path}"
        lines = [f"--- {old}", f"+++ {new}"]
        for hunk in self.hunks:
            lines.append(hunk.head)
            for line in hunk.lines:
                lines.append(line.sign + line.text)
                if line.unended:
                    lines.append("\\ No newline at end of file")
        return lines


def _range(start: int, count: int) -> str:
    # POSIX: an empty range stands before its first line, and a count of one is left out.
    return f"{start}" if count == 1 else f"{start},{count}"


def kept_sources(run: Run) -> SourceTree:
    """Return the source files that a run kept; without the changes git knew of."""
    root = run.paths.sources
    files: dict[str, int] = {}
    for path, size in _files_below(root):
        if path != GIT_DIFF:
            files[path] = size
        if len(files) >= _MOST_ENTRIES:
            break
    return SourceTree(files, lambda path: read_file(root / path))


def _files_below(root: Path) -> Iterator[tuple[str, int]]:
    for folder, names, files in os.walk(root):
        names.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            try:
                found = os.lstat(path)
            except OSError:
                continue
            yield Path(path).relative_to(root).as_posix(), found.st_size


def read_file(path: Path, most_bytes: int = MOST_SOURCE_BYTES + 1) -> bytes | None:
    """Return the first bytes of a plain file; None where there is none: a link, a FIFO, nothing."""
    try:
        with open_regular(path) as file:
            return file.read(most_bytes) or b""
    except (OSError, ValueError):
        return None


def diff_sources(one: SourceTree, other: SourceTree) -> Iterator[FileDiff]:
    """Yield the files that differ, by path. A file that is a link now counts as not there."""
    for path in sorted({*one.files, *other.files}):
        before = one.read(path) if path in one.files else None
        after = other.read(path) if path in other.files else None
        if before != after:
            yield diff_file(path, before, after)
        elif before is not None and one.files[path] != other.files[path]:
            # Alike as far as they were read.
            yield FileDiff(path, "changed", why="large")


def diff_file(path: str, before: bytes | None, after: bytes | None) -> FileDiff:
    """Return how one file differs; None stands for a file that is not there."""
    kind = "added" if before is None else "removed" if after is None else "changed"
    sides = [data for data in (before, after) if data is not None]
    if any(len(data) > MOST_SOURCE_BYTES for data in sides):
        return FileDiff(path, kind, why="large")
    if any(b"\0" in data for data in sides):
        return FileDiff(path, kind, why="binary")
    old, new = _lines(before or b""), _lines(after or b"")
    if old == new:  # bytes that are no UTF-8 look alike
        return FileDiff(path, kind, why="empty" if not old else "binary")
    return _diff_lines(path, kind, old, new)


def _lines(data: bytes) -> list[str]:
    """Return lines with their ends. `\\n` alone ends one: the rest is text, `\\r` too."""
    return re.findall(r"[^\n]*\n|[^\n]+", data.decode("utf-8", "replace"))


def _diff_lines(path: str, kind: str, old: Sequence[str], new: Sequence[str]) -> FileDiff:
    hunks: list[Hunk] = []
    added = removed = shown = 0
    cut = False
    for group in _grouped(_operations(old, new)):
        added += sum(d - c for tag, _, _, c, d in group if tag != "equal")
        removed += sum(b - a for tag, a, b, _, _ in group if tag != "equal")
        lines = tuple(_hunk_lines(group, old, new, MOST_LINES - shown))
        shown += len(lines)
        whole = sum(max(b - a, d - c) if tag == "equal" else b - a + d - c
                    for tag, a, b, c, d in group)  # fmt: skip
        cut = cut or len(lines) < whole
        if lines:
            hunks.append(_hunk(group, lines))
    return FileDiff(path, kind, added, removed, tuple(hunks), cut=cut)


#: What difflib calls an opcode: equal, replace, delete or insert; ends of old, ends of new.
_Operation = tuple[str, int, int, int, int]


def _operations(old: Sequence[str], new: Sequence[str]) -> list[_Operation]:
    from difflib import SequenceMatcher  # 5 ms, and most runs have the same sources

    # What is alike at both ends needs no matching, and in source that is nearly all.
    shortest = min(len(old), len(new))
    head = 0
    while head < shortest and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < shortest - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    ends = len(old) - tail, len(new) - tail
    middle = old[head : ends[0]], new[head : ends[1]]
    found: list[_Operation] = [("equal", 0, head, 0, head)] if head else []
    if max(map(len, middle)) > MOST_MATCHED_LINES and all(middle):
        found.append(("replace", head, ends[0], head, ends[1]))
    else:
        matcher = SequenceMatcher(None, *middle, autojunk=max(map(len, middle)) > 500)
        found += [
            (tag, a + head, b + head, c + head, d + head)
            for tag, a, b, c, d in matcher.get_opcodes()
        ]
    if tail:
        found.append(("equal", ends[0], len(old), ends[1], len(new)))
    return found


def _grouped(operations: Sequence[_Operation]) -> Iterator[list[_Operation]]:
    """Yield the operations of each hunk: those whose contexts touch are one."""
    group: list[_Operation] = []
    for place, (tag, a, b, c, d) in enumerate(operations):
        if tag != "equal":
            group.append((tag, a, b, c, d))
            continue
        last = place == len(operations) - 1
        if b - a > 2 * CONTEXT or last or not group:
            if group:
                group.append((tag, a, min(b, a + CONTEXT), c, min(d, c + CONTEXT)))
                yield group
                group = []
            if not last:
                group = [(tag, max(a, b - CONTEXT), b, max(c, d - CONTEXT), d)]
        else:
            group.append((tag, a, b, c, d))
    if any(tag != "equal" for tag, *_ in group):
        yield group


def _hunk(group: Sequence[_Operation], lines: tuple[Line, ...]) -> Hunk:
    old = sum(line.sign != "+" for line in lines)
    new = sum(line.sign != "-" for line in lines)
    first = group[0]
    return Hunk(first[1] + bool(old), old, first[3] + bool(new), new, lines)


def _hunk_lines(
    group: Sequence[_Operation], old: Sequence[str], new: Sequence[str], most: int
) -> Iterator[Line]:
    left = most
    for tag, a, b, c, d in group:
        pairs: list[tuple[str, Sequence[str], int, int]] = (
            [(" ", old, a, b)] if tag == "equal" else [("-", old, a, b), ("+", new, c, d)]
        )
        for sign, lines, start, end in pairs:
            for place in range(start, min(end, start + left)):
                text = lines[place]
                yield Line(
                    sign,
                    None if sign == "+" else place + 1,
                    place + 1 if sign == "+" else place - a + c + 1 if sign == " " else None,
                    text.removesuffix("\n"),
                    not text.endswith("\n"),
                )
            left = max(0, left - (end - start))
