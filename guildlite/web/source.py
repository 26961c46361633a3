"""A run's source as plain data: the files kept at its start, and how they differ from others'.

The others are those of another run, or of the project's folder as it is now; of the folder only
what a snapshot of the same operation would take, so that nothing shows here that a run would not
keep. Links are followed nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from guildlite.errors import RunUnreadable
from guildlite.execute.sources import working_tree
from guildlite.http import RequestError
from guildlite.runs import Run
from guildlite.runs.sourcediff import FileDiff, diff_sources, kept_sources
from guildlite.web.files import Entry, list_folder, read_text
from guildlite.web.rundata import grouped
from guildlite.web.workspace import Workspace

#: The word for the project's folder in `against`; ids of runs begin with a digit.
WORKTREE = "worktree"
#: Bytes of a source file that are shown.
MOST_SOURCE_BYTES = 512 * 1024
#: Lines of differences on one page; of a file that is opened alone, and of all together.
MOST_OF_ONE, MOST_OF_ALL = 10_000, 2_000
_MOST_DEPTH = 8


@dataclass(frozen=True, slots=True)
class SourcePage:
    """The files kept at the start, one of them open, and what git said."""

    files: list[Entry]
    file: str
    text: str
    whole: bool
    git: dict[str, str]
    is_diff: bool


@dataclass(frozen=True, slots=True)
class DiffPage:
    """How the kept source differs from that of `against`, a run's id or `worktree`.

    `shown` are the files that are open, in the order of `files`: one that was chosen, else as many
    as one page takes. `missing` says why there is nothing to compare: `this` or `other` kept no
    source, or the run was started in another `folder`. `same` counts files that are alike.
    """

    against: str
    title: str
    files: list[FileDiff]
    file: str
    shown: list[FileDiff]
    same: int
    added: int
    removed: int
    missing: str


def read_source(run: Run, file: str = "") -> SourcePage:
    """Return the kept source files and one of them; raises RequestError 404 for an unknown one."""
    files = list(_kept_files(run))
    names = {_in_address(entry.path): entry.path for entry in files}
    if file and file not in names:
        raise RequestError("this run kept no such source file", status=404)
    chosen = names[file] if file else next(iter(names.values()), "")
    text, whole = read_text(run.paths.sources, chosen, MOST_SOURCE_BYTES) if chosen else ("", True)
    git: dict[str, str] = {}
    try:
        with run.read() as reader:
            git = grouped(reader.attrs()).get("git", {})
    except RunUnreadable:
        pass  # the files speak for themselves
    # Line ends only: what else splits a line in Python does not in an editor.
    text = text.replace("\r\n", "\n").removesuffix("\n")
    is_diff = re.search(r"\.(diff|patch)$", chosen) is not None
    return SourcePage(files, chosen, text, whole, git, is_diff)


def _kept_files(run: Run, folder: str = "", depth: int = 0) -> Iterator[Entry]:
    try:
        listing = list_folder(run.paths.sources, folder)
    except RequestError:
        return
    for entry in listing.entries:
        if entry.kind == "file":
            yield entry
        elif entry.kind == "folder" and depth < _MOST_DEPTH:
            yield from _kept_files(run, entry.path, depth + 1)


def read_diff(workspace: Workspace, run: Run, against: str, file: str = "") -> DiffPage:
    """Return how a run's source differs from another's, or from the folder now.

    Raises RunNotFound for an unknown run and RequestError 404 for a file that does not differ.
    """
    kept = kept_sources(run)
    other = None if against == WORKTREE else workspace.get(against)
    tree = (
        kept_sources(other)
        if other is not None
        else working_tree(workspace.project, workspace.directory, run, kept)
    )
    missing = "this" if not kept.files else "folder" if tree is None else ""
    missing = missing or ("other" if other is not None and tree and not tree.files else "")
    files = [] if missing or tree is None else [*diff_sources(kept, tree)]
    if file:
        names = {_in_address(each.path): each.path for each in files}
        if file not in names:
            raise RequestError("this file is the same on both sides, or on neither", status=404)
        file = names[file]
    return DiffPage(
        against=against,
        title="the folder now" if other is None else other.label or other.id,
        files=files,
        file=file,
        shown=[*_shown(files, file)],
        same=0 if tree is None else len({*kept.files, *tree.files}) - len(files),
        added=sum(each.added for each in files),
        removed=sum(each.removed for each in files),
        missing=missing,
    )


def _in_address(path: str) -> str:
    """Return a path as it comes back from an address: bytes that are no text are lost there."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _shown(files: list[FileDiff], file: str) -> Iterator[FileDiff]:
    """Yield what one page takes: the file chosen, else files until there are too many lines."""
    left = MOST_OF_ONE if file else MOST_OF_ALL
    for each in files:
        if file and each.path != file:
            continue
        lines = sum(len(hunk.lines) for hunk in each.hunks)
        if lines <= left:
            yield each
            left -= lines
        elif file:
            yield _cut(each, left)


def _cut(each: FileDiff, most: int) -> FileDiff:
    hunks = []
    for hunk in each.hunks:
        if most <= 0:
            break
        hunks.append(hunk._replace(lines=hunk.lines[:most]))
        most -= len(hunk.lines)
    return each._replace(hunks=tuple(hunks), cut=True)
