"""`gl` itself: the shortest way to an answer, and the one place where errors become text.

`gl --help` and `gl --version` are answered before click is imported. Everything else goes to the
click group in `group`; what is raised there is printed here, once, and becomes the exit status.
"""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False  # `typing` itself would double the time of `gl --version`

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guildlite.errors import FilterError, GuildliteError


def main() -> None:
    """Run gl on the words of the command line; never returns."""
    # Most commands are over before there is garbage. Looking for it while importing, and once
    # more at the end, was a fifth of the CPU time of `gl runs` (tests/benchmarks/start_up.py).
    gc.set_threshold(50_000, 20, 20)
    status = run(sys.argv[1:])
    gc.freeze()
    sys.exit(status)


def run(args: Sequence[str]) -> int:
    """Run gl on `args` and return its exit status. Prints; raises nothing but SystemExit."""
    try:
        shell = os.environ.get("_GL_COMPLETE")
        if shell:
            return _complete(shell, args)
        status = _answer_quickly(args)
        if status is None:
            status = _run_command(list(args))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough, as in `gl runs | head`. Nothing may be flushed again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _answer_quickly(args: Sequence[str]) -> int | None:
    if len(args) != 1:
        return None
    if args[0] == "--version":
        from guildlite import __version__

        sys.stdout.write(f"guildlite {__version__}\n")
        return 0
    if args[0] in ("--help", "-h"):
        with open(os.path.join(os.path.dirname(__file__), "help.txt"), encoding="utf-8") as file:
            sys.stdout.write(file.read())
        return 0
    return None


def _complete(shell: str, args: Sequence[str]) -> int:
    """Answer the completion script of a shell."""
    from guildlite.cli.completing import answer_shell

    _print_anything()
    sys.stdout.write(answer_shell(shell, args, os.environ))
    sys.stdout.flush()
    return 0


def _run_command(args: list[str]) -> int:
    from guildlite.cli.context import Context
    from guildlite.errors import INTERRUPTED

    _print_anything()
    context = Context()
    try:
        from guildlite.platform import require_posix

        require_posix()
        return _invoke(args, context)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise  # to `run`, which ends quietly
    except Exception as error:
        if context.debug:
            import traceback

            traceback.print_exc()
        return _report(error)


def _print_anything() -> None:
    """Let names that the terminal's encoding lacks come out escaped rather than end the command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _invoke(args: list[str], context: object) -> int:
    import click

    from guildlite.cli.group import gl
    from guildlite.errors import INTERRUPTED

    try:
        # What a command returns is its exit status; None is 0.
        status = gl.main(args, prog_name="gl", standalone_mode=False, obj=context)
    except click.UsageError as error:
        from guildlite.cli.usage import explain

        raise explain(error) from error
    except click.Abort as error:
        # click's word for Ctrl-C, and for the end of input at a question.
        return 1 if isinstance(error.__cause__, EOFError) else INTERRUPTED
    return status if isinstance(status, int) else 0


def _report(error: Exception) -> int:
    """Print an error for people and return the exit status it stands for."""
    from guildlite.cli.output import for_terminal
    from guildlite.errors import FilterError, GuildliteError

    if not isinstance(error, GuildliteError):
        error = _unexpected(error)
    sys.stdout.flush()
    sys.stderr.write(f"error: {for_terminal(error.message)}\n")
    if isinstance(error, FilterError):
        sys.stderr.write(_pointed(error))
    if error.hint:
        sys.stderr.write(f"hint: {for_terminal(error.hint)}\n")
    return error.exit_code


def _pointed(error: FilterError) -> str:
    """Return the text with a caret below where the trouble begins."""
    from guildlite.cli.output import cell_width, for_terminal

    indent = " " * cell_width(for_terminal(error.text[: error.position]))
    return f"  {for_terminal(error.text)}\n  {indent}^\n"


def _unexpected(error: Exception) -> GuildliteError:
    from guildlite.errors import GuildliteError

    if isinstance(error, OSError) and error.strerror:
        where = f": `{os.fsdecode(error.filename)}`" if error.filename else ""
        return GuildliteError(f"gl failed: {error.strerror}{where}", hint=_DEBUG_HINT)
    text = " ".join(str(error).split()).rstrip(".")
    name = type(error).__name__
    return GuildliteError(f"gl failed: {name}{': ' if text else ''}{text}", hint=_DEBUG_HINT)


_DEBUG_HINT = "`gl --debug ...` shows the traceback"
