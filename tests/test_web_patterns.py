"""Expressions that people type: what could be searched for without an end is refused at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from guildlite.web.patterns import compile_pattern

#: Expressions from the literature on backtracking, with a text that they take very long for.
ENDLESS = [
    ("(a+)+$", "a" * 64 + "!"),
    ("(a|aa)+$", "a" * 64 + "!"),
    ("(?:a|a?)+$", "a" * 64 + "!"),
    ("(a|b|ab)*c", "ab" * 40),
    ("([a-zA-Z]+)*$", "a" * 64 + "!"),
    ("(.*a){20}", "a" * 64 + "!"),
    ("^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 64),
    ("(x+x+)+y", "x" * 64),
    (r"(\w|\d)*?(\w|\d\d)*$", "1" * 64 + "!"),
    ("(a{1,100}){1,100}$", "a" * 64 + "!"),
    ("(?:(?:(?:){9999}){9999}){9999}", "a"),
    ("(?:){1000000000}", "a"),
    ("a?" * 40 + "a" * 40, "a" * 40),
    ("(?:a|ab)(?:c|bcd)(?:d*)" * 10, "abcd" * 10),
    (".*.*.*.*.*.*.*=", "x" * 3000),
    (r"(?=(a+))+\1+$", "a" * 64 + "!"),
    ("(?i:(A|aa)+)$", "a" * 64 + "!"),
    (r"(?P<n>a)?(?(n)(a|aa)+|b)$", "a" * 64 + "!"),
    (r"(?:(a)\1?)+$", "a" * 64 + "!"),
]

USUAL = [
    "loss", "loss|acc", "^train/", "(train|validation)/loss$", r"sys/cpu\d+/util", "(?i)LOSS",
    r"\d+(\.\d+)?([eE][-+]?\d+)?", r"epoch\s+\d+/\d+", "a.*b", "loss.*acc.*epoch", "(ab)+",
    "(foo|bar)+", r"gpu[0-9]{1,2}/", "[^/]*/[^/]*$", r"layer\.(\d+)\.", "x{3}", "(?:lr|wd)=0.1",
    r"\[\d{2}:\d{2}:\d{2}\]", "(?<!val_)loss", "", "^(?!sys)",
]  # fmt: skip

SEARCH = """
import sys
from guildlite.web.patterns import compile_pattern
pattern, problem = compile_pattern(sys.argv[1])
if pattern:
    pattern.search(sys.argv[2])
print("refused" if pattern is None else "searched")
"""


@pytest.mark.parametrize(("pattern", "text"), ENDLESS)
def test_what_takes_for_ever_is_refused(pattern: str, text: str) -> None:
    """In a process of its own, since nothing else stops a search that went on."""
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, pattern, text],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["refused"], done.stderr
    assert "without an end" in (said := compile_pattern(pattern)[1]) or "too long" in said


@pytest.mark.parametrize("pattern", USUAL)
def test_what_people_search_for_is_taken(pattern: str) -> None:
    found, problem = compile_pattern(pattern)
    assert found is not None and problem == ""


@pytest.mark.parametrize("pattern", ["(", "[", "*", "a{2", "(?P<1>)", "\\", "(?z)", "a" + ")" * 3])
def test_what_is_no_expression_is_told(pattern: str) -> None:
    found, problem = compile_pattern(pattern)
    assert (found is None) == bool(problem)
    if pattern != "a{2":  # which Python takes for plain text
        assert problem


def test_nesting_without_measure_is_no_crash() -> None:
    found, problem = compile_pattern("(" * 5000 + ")" * 5000)
    assert found is None and problem
