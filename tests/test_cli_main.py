"""`gl` itself: help, errors, exit statuses, the ways in."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from support.commands import call

import guildlite
from guildlite.cli import main as entry
from guildlite.cli.commands import COMMANDS, FAMILIES, format_help
from guildlite.cli.group import gl as group
from guildlite.cli.words import FlagWordsCommand
from guildlite.errors import GuildliteError, UsageError

HELP = Path(guildlite.__file__).parent / "cli" / "help.txt"


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `gl schema` raise `error`."""

    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr("guildlite.cli.projects.schema", broken)


# Help -------------------------------------------------------------------------------------------


def test_the_checked_in_help_is_what_click_would_print() -> None:
    with click.Context(group, info_name="gl") as ctx:
        assert group.get_help(ctx) + "\n" == HELP.read_text(encoding="utf-8") == format_help()


def test_help_names_every_command_once_and_fits_eighty_columns_nearly() -> None:
    lines = call("--help").out.splitlines()
    for name in COMMANDS:
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1
    assert max(map(len, lines)) <= 88


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("-C", ".", "--help")])
def test_help_is_the_same_by_every_way(words: tuple[str, ...]) -> None:
    answer = call(*words)
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == HELP.read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [("--version",), ("--debug", "--version")])
def test_version(words: tuple[str, ...]) -> None:
    assert call(*words) == (0, f"guildlite {guildlite.__version__}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_opens_and_begins_with_the_line_of_the_table(name: str) -> None:
    answer = call(name, "--help")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith(f"Usage: gl {name}")
    assert COMMANDS[name][1] in " ".join(answer.out.split())
    assert "Example" in answer.out and f"gl {name}" in answer.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_line_of_help(name: str) -> None:
    command = getattr(import_module(f"guildlite.cli.{COMMANDS[name][0]}"), name)
    assert command.short_help == COMMANDS[name][1]
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, param.name
            assert not param.help.endswith("."), param.name


def test_families_share_no_command() -> None:
    assert len(COMMANDS) == sum(len(commands) for commands in FAMILIES.values())


def test_module_and_entry_are_the_same(tmp_path: Path) -> None:
    root = Path(guildlite.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "guildlite", "no-such-command"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: `no-such-command` is not a command of gl\nhint: ")


# Wrong words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["shwo"], "`shwo` is not a command of gl", "did you mean `gl show`?"),
        (["qqq"], "`qqq` is not a command of gl", "`gl --help` lists the commands"),
        (["train.py"], "`train.py` is not a command of gl", "`gl run train.py` runs a script"),
        (
            ["lr=0.1"],
            "`lr=0.1` is not a command of gl",
            "flags come after the command: `gl train lr=0.1`",
        ),
        (["runs", "--limt"], "`--limt` is not an option of `gl runs`", "did you mean `--limit`?"),
        (
            ["--lr", "1"],
            "`--lr` is not an option of `gl`",
            "flags of a script come after the command, without dashes: `gl train lr=0.1`",
        ),
        (["label"], "`gl label` needs RUN", "`gl label --help` shows how it is used"),
        (["rm"], "`gl rm` needs RUN", "`gl rm --help` shows how it is used"),
        (
            ["runs", "-n", "x"],
            "`--limit`: `x` is not a valid integer range",
            "`gl runs --help` shows how it is used",
        ),
        (["-C", "nope", "runs"], "`-C nope`: no such file or directory", None),
    ],
)
def test_wrong_words_get_one_sentence_and_a_hint(
    words: list[str], message: str, hint: str | None
) -> None:
    expected = f"error: {message}\n" + (f"hint: {hint}\n" if hint else "")
    assert call(*words) == (2, "", expected)


def test_the_other_directory_is_where_the_command_runs(empty_directory: Path) -> None:
    (empty_directory / "there").mkdir()
    (empty_directory / "there" / "project.yml").write_text("name: far\n")
    assert call("-C", "there", "project").out == "name: far\n"


@pytest.mark.parametrize(
    ("words", "typed", "assignment"),
    [
        (["--lr", "0.1"], "--lr", "lr=0.1"),
        (["--lr=0.1"], "--lr", "lr=0.1"),
        (["--lr", "-0.1"], "--lr", "lr=-0.1"),
        (["-lr", "0.1"], "-lr", "lr=0.1"),
        (["m", "--fast"], "--fast", "fast=True"),
        (["--fast", "--slow"], "--fast", "fast=True"),
        (["--fast", "lr=1"], "--fast", "fast=True"),
    ],
)
def test_a_flag_written_the_scripts_way_is_answered_with_gls(
    words: list[str], typed: str, assignment: str
) -> None:
    command = FlagWordsCommand(
        "train", params=[click.Argument(["words"], nargs=-1), click.Option(["--preview"])]
    )
    with pytest.raises(UsageError) as caught:
        command.make_context("train", words)
    assert caught.value.message == f"`{typed}` is not an option of `train`"
    assert caught.value.hint is not None
    assert caught.value.hint.endswith(
        f"flags of the script are words without dashes: `{assignment}`"
    )


def test_a_misspelt_option_is_not_taken_for_a_flag_only() -> None:
    command = FlagWordsCommand("train", params=[click.Option(["--preview"], is_flag=True)])
    with pytest.raises(UsageError) as caught:
        command.make_context("train", ["--preveiw"])
    assert str(caught.value.hint).startswith("did you mean `--preview`? ")


def test_a_bare_command_may_have_its_own_answer() -> None:
    command = FlagWordsCommand("run", when_bare=("`gl run` needs a script", "see `gl runs`"))
    with pytest.raises(UsageError, match="needs a script"):
        command.make_context("run", [])


# Errors -----------------------------------------------------------------------------------------


class Unlucky(GuildliteError):
    exit_code = 125


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (Unlucky("no luck", hint="try again"), 125, "error: no luck\nhint: try again\n"),
        (GuildliteError("a\x1b[2Jb\u202ec"), 1, "error: a\\x1b[2Jb\\u202ec\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (
            ZeroDivisionError("division\nby zero."),
            1,
            "error: gl failed: ZeroDivisionError: division by zero\n"
            "hint: `gl --debug ...` shows the traceback\n",
        ),
        (
            PermissionError(13, "Permission denied", "/x"),
            1,
            "error: gl failed: Permission denied: `/x`\n"
            "hint: `gl --debug ...` shows the traceback\n",
        ),
    ],
)
def test_errors_become_a_sentence_and_a_status(
    error: BaseException, status: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(error, monkeypatch)
    assert call("schema") == (status, "", text)


def test_debug_adds_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    raising(ZeroDivisionError("oops"), monkeypatch)
    answer = call("--debug", "schema")
    assert answer.status == 1
    assert "Traceback (most recent call last)" in answer.err
    assert answer.err.splitlines()[-2] == "error: gl failed: ZeroDivisionError: oops"


def test_what_a_command_returns_is_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "guildlite.cli.projects.schema", click.Command("schema", callback=lambda: 7)
    )
    assert call("schema").status == 7


def test_windows_is_answered_with_wsl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guildlite.platform.WINDOWS", True)
    answer = call("runs")
    assert answer.status == 1
    assert "WSL" in answer.err


def test_a_reader_that_left_ends_the_command_quietly() -> None:
    root = Path(guildlite.__file__).parents[1]
    code = "from guildlite.cli.main import main; import sys; sys.argv = ['gl', 'schema']; main()"
    receiver, sender = os.pipe()
    os.close(receiver)
    with os.fdopen(sender, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=pipe,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(root)},
            check=False,
        )
    assert done.stderr == b""
    assert done.returncode == 1


def test_letters_the_terminal_lacks_do_not_end_the_command(
    empty_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty_directory / "project.yml").write_text("description: größer ★\n", encoding="utf-8")
    out = io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", out)
    assert entry.run(["project"]) == 0
    assert out.buffer.getvalue() == b"description: gr\\xf6\\xdfer \\u2605\n"  # type: ignore[attr-defined]


# Where one stands -------------------------------------------------------------------------------


def test_bare_gl_without_a_project_leads_to_one() -> None:
    answer = call()
    assert answer.status == 0
    commands = [line.strip().partition("  ")[0] for line in answer.out.splitlines()]
    assert commands[-3:] == ["gl init", "gl init --example digits", "gl run SCRIPT"]


def test_bare_gl_in_a_project_without_runs(empty_directory: Path) -> None:
    (empty_directory / "project.yml").write_text(
        "name: digits\nmodels: {m: {train: 'true', prepare: 'true'}}\n"
    )
    answer = call()
    assert answer.out.startswith("project digits\n  models  m\n")
    commands = [line.strip().partition("  ")[0] for line in answer.out.splitlines()]
    assert commands[-3:] == ["gl prepare", "gl train", "gl models"]
