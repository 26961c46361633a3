"""Text, tables, JSON and colour as they are printed."""

from __future__ import annotations

import io
import json
import sys

import pytest

from guildlite.cli import output
from guildlite.cli.output import Cell, Column, table
from guildlite.runs import Status


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain ünïcode ★ 日本", "plain ünïcode ★ 日本"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\tb\nc\rd", "a\\tb\\nc\\rd"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("user\u202egnp.exe\u2066", "user\\u202egnp.exe\\u2066"),
    ],
)
def test_nothing_moves_the_cursor(text: str, safe: str) -> None:
    assert output.for_terminal(text) == safe
    output.for_terminal(text).encode()


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("a\u200db", 2), ("", 0)]
)
def test_width_in_columns(text: str, width: int) -> None:
    assert output.cell_width(text) == width


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 4, "abc…"),
        ("日本語", 4, "日…"),
        ("ab", 1, "…"),
        ("ab", 0, ""),
    ],
)
def test_fit(text: str, width: int, expected: str) -> None:
    assert output.fit(text, width) == expected
    assert output.cell_width(expected) <= width


def test_json_holds_no_words_that_are_not_json() -> None:
    value = {"a": [float("nan"), float("inf"), -float("inf"), 0.1], "ü": None}
    text = output.format_json(value)
    assert json.loads(text) == {"a": [None, "Infinity", "-Infinity", 0.1], "ü": None}
    assert text == '{"a":[null,"Infinity","-Infinity",0.1],"ü":null}'


# Tables -----------------------------------------------------------------------------------------

COLUMNS = [
    Column("#", ">"),
    Column("status"),
    Column("label", least=8, rank=1),
    Column("loss", ">", rank=3),
    Column("lr", ">", rank=2),
]
ROWS = [
    [Cell("1"), Cell("ok"), Cell("a rather long label"), Cell("0.25"), Cell("0.1")],
    [Cell("10"), Cell("failed"), Cell(""), Cell("3"), Cell("0.01")],
]


def test_a_table_as_wide_as_it_is() -> None:
    assert table(COLUMNS, ROWS, None) == [
        " #  status  label                loss    lr",
        " 1  ok      a rather long label  0.25   0.1",
        "10  failed                          3  0.01",
    ]


def test_a_narrow_table_cuts_first_and_drops_the_highest_rank_next() -> None:
    assert table(COLUMNS, ROWS, 36) == [
        " #  status  label         loss    lr",
        " 1  ok      a rather lo…  0.25   0.1",
        "10  failed                   3  0.01",
    ]
    assert table(COLUMNS, ROWS, 27) == [
        " #  status  label        lr",
        " 1  ok      a rather…   0.1",
        "10  failed             0.01",
    ]
    assert table(COLUMNS, ROWS, 10)[1] == " 1  ok"


@pytest.mark.parametrize("width", range(10, 60))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert all(output.cell_width(line) <= width for line in table(COLUMNS, ROWS, width))


def test_columns_without_text_are_left_out() -> None:
    rows = [[Cell("1"), Cell("ok"), Cell(""), Cell(""), Cell("1")]]
    assert table(COLUMNS, rows, None) == ["#  status  lr", "1  ok       1"]


def test_wide_letters_keep_the_columns_straight() -> None:
    columns = [Column("label"), Column("n", ">")]
    assert table(columns, [[Cell("日本"), Cell("1")], [Cell("abc"), Cell("22")]], None) == [
        "label   n",
        "日本    1",
        "abc    22",
    ]


# Colour -----------------------------------------------------------------------------------------


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.coloured("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    assert output.coloured("x", "red", io.StringIO()) == "x"
    assert output.coloured("x", None, Terminal()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.coloured("x", "red", Terminal()) == "x"


def test_every_status_has_an_icon_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    icons = {output.status_text(each.value).removesuffix(each.value).strip() for each in Status}
    assert len(icons - {""}) == len(Status)


def test_a_status_is_always_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert output.status_text("failed") == "✗ failed"
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert output.status_text("failed") == "failed"


def test_width_comes_from_the_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "66")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert output.terminal_width() is None
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert output.terminal_width() == 66
    monkeypatch.setenv("COLUMNS", "wide")
    assert output.terminal_width() == 80
