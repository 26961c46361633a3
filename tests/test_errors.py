"""Errors as a person meets them outside of gl: in a traceback of Python or of a notebook."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest

from guildlite.errors import FilterError, GuildliteError, MissingExtra, UsageError

NOTES = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.11 is the first with notes")
SCRIPT = "from guildlite.errors import UsageError\nraise UsageError('no way', hint='go round')\n"


@NOTES
def test_a_traceback_ends_with_the_hint() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.stderr.splitlines()[-2:] == [
        "guildlite.errors.UsageError: no way",
        "hint: go round",
    ]


def test_before_notes_a_traceback_ends_with_the_message() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert "guildlite.errors.UsageError: no way" in done.stderr


@NOTES
def test_a_notebook_shows_the_hint() -> None:
    pytest.importorskip("IPython")
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance(colors='NoColor')\n"
        f"shell.run_cell({SCRIPT!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.rstrip().endswith("UsageError: no way\nhint: go round")


def test_the_hint_may_be_given_later() -> None:
    error = UsageError("no way")
    assert error.hint is None
    error.hint = "go round"
    error.hint = "go back"
    assert (error.hint, error.__dict__["__notes__"]) == ("go back", ["hint: go back"])


@NOTES
def test_notes_of_others_stay() -> None:
    error = UsageError("no way", hint="go round")
    error.add_note("seen by a test")  # type: ignore[attr-defined]
    error.hint = None
    assert error.__dict__["__notes__"] == ["seen by a test"]


@pytest.mark.parametrize(
    "error",
    [
        UsageError("no", hint="yes"),
        MissingExtra("a plot needs it", extra="notebook"),
        FilterError("a value is missing", text="lr >", position=4, hint="write one"),
    ],
)
def test_copied_and_sent_to_another_process_they_say_the_same(error: GuildliteError) -> None:
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error)
        assert (str(twin), vars(twin)) == (str(error), vars(error))
        assert twin.hint


def test_a_filter_says_where_and_what() -> None:
    error = FilterError("a value is missing", text="lr >", position=4, expected=("value",))
    assert str(error) == "column 5 of `lr >`: a value is missing"
    assert (error.position, error.expected, error.hint) == (4, ("value",), None)
