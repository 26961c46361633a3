"""`gl logs`: what a run's script printed, after the fact or as it comes."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import click

from guildlite.cli.context import Context
from guildlite.cli.output import for_terminal
from guildlite.cli.words import command
from guildlite.errors import RunUnreadable, UsageError, did_you_mean

if TYPE_CHECKING:
    from guildlite.runs import Run
    from guildlite.runs.paths import OperationPaths

#: Seconds between two looks at a growing log; a line is on the screen before one wonders.
_LOOK_S = 0.2
#: Lines taken from run.db at once.
_PAGE = 1000
#: Colours and other styles (SGR): they are left out, everything else that is not text is escaped.
_STYLE = re.compile(r"\x1b\[[0-9;:]*m")


@command("logs")
@click.argument("run", required=False, metavar="[RUN]")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines")
@click.option("--raw", is_flag=True, help="The very bytes, stdout to stdout, stderr to stderr")
@click.option("--op", "operation", metavar="NAME", help="A later operation, such as evaluate")
@click.pass_obj
def logs(
    context: Context,
    run: str | None,
    follow: bool,
    tail: int | None,
    raw: bool,
    operation: str | None,
) -> None:
    """Print what a run's script printed.

    Without RUN the latest. Lines of stdout and stderr come in the order they were seen; of a
    progress bar the last state.

    \b
    Examples:
      gl logs -f
      gl logs 3 --op evaluate -n 20
    """
    if raw and tail is not None:
        raise UsageError("`--raw` prints everything and takes no `--tail`")
    found = context.get_run(run)
    paths = _operation_paths(found, operation)
    if raw:
        _print_raw(found, paths, follow)
    else:
        _print_lines(context, found, paths, follow, tail)


def _operation_paths(run: Run, operation: str | None) -> OperationPaths:
    """Return the files of the run itself, or of the latest later operation of that name."""
    if operation is None:
        return run.paths
    later = run.paths.operations()
    for each in reversed(later):
        if operation in (each.name, each.name.partition("-")[2]):
            return each
    names = [each.name for each in later]
    hint = did_you_mean(operation, names) if names else "it has no later operations"
    raise UsageError(f"run `{run.id}` has no operation `{operation}`", hint=hint)


def _is_active(run: Run, paths: OperationPaths) -> bool:
    """Tell whether more may come: asked of the files anew, since a `Run` keeps its status."""
    fresh = run.fresh()
    if not paths.name:
        return not fresh.status.ended
    named = [each for each in fresh.later_operations() if each.name == paths.name]
    return any(not each.status.ended for each in named)


# Lines out of run.db ------------------------------------------------------------------------------


def _print_lines(
    context: Context, run: Run, paths: OperationPaths, follow: bool, tail: int | None
) -> None:
    from guildlite.execute.catchup import settle

    settle([run])
    lines = _Lines(run, paths.name)
    first: Iterable[str] = lines.iter_new()
    if tail is not None:
        first = deque(first, maxlen=tail)
    for line in first:
        context.write(line)
    if not follow:
        return
    active = True
    while active:
        sys.stdout.flush()
        # Asked before the last look, so that what came in between is printed too.
        active = _is_active(run, paths)
        if active:
            time.sleep(_LOOK_S)
        else:
            settle([run])
        for line in lines.iter_new():
            context.write(line)


class _Lines:
    """The lines of one operation in run.db; remembers how far it has come."""

    def __init__(self, run: Run, operation: str) -> None:
        self._run = run
        self._operation = operation
        self._after = 0

    def iter_new(self) -> Iterator[str]:
        """Yield the lines since the last call, safe for a terminal."""
        while True:
            try:
                with self._run.read() as reader:
                    page = reader.output(self._after, _PAGE, self._operation)
            except RunUnreadable:
                # A run that has only just been made has no run.db yet; what it prints will come.
                if not self._run.status.ended:
                    return
                raise
            for row in page:
                self._after = row.id
                yield _readable(row.text)
            if len(page) < _PAGE:
                return


def _readable(line: str) -> str:
    return "\t".join(for_terminal(part) for part in _STYLE.sub("", line).split("\t"))


# The bytes as they are ----------------------------------------------------------------------------


def _print_raw(run: Run, paths: OperationPaths, follow: bool) -> None:
    streams = [(paths.stdout, sys.stdout), (paths.stderr, sys.stderr)]
    offsets = [0, 0]
    active = True
    while active:
        active = follow and _is_active(run, paths)
        for index, (path, stream) in enumerate(streams):
            offsets[index] = _copy_from(path, offsets[index], stream.buffer)
            stream.flush()
        if active:
            time.sleep(_LOOK_S)


def _copy_from(path: os.PathLike[str], offset: int, target: BinaryIO) -> int:
    """Copy a file from `offset` to its end and return where that was; a missing file is empty."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            while chunk := file.read(1 << 20):
                target.write(chunk)
            return file.tell()
    except FileNotFoundError:
        return offset
