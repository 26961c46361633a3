"""What a script printed is text on a page: coloured by classes, never obeyed."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildlite.web.ansi import shown, strip_ansi, to_html


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a < b & c", "a &lt; b &amp; c"),
        ("\x1b[31mred\x1b[0m not", '<span class="fg1">red</span> not'),
        ("\x1b[1;92mok", '<span class="bold fg10">ok</span>'),
        ("\x1b[1mb\x1b[22mn", '<span class="bold">b</span>n'),
        ("\x1b[41;97mx\x1b[49my", '<span class="bg1 fg15">x</span><span class="fg15">y</span>'),
        ("\x1b[38;5;196mx", '<span class="fg9">x</span>'),
        ("\x1b[38;5;244mx", '<span class="fg8">x</span>'),
        ("\x1b[38;2;250;5;5mx\x1b[39my", '<span class="fg9">x</span>y'),
        ("\x1b[48:2:0:0:0mx", '<span class="bg0">x</span>'),
        ("\x1b[mx", "x"),
        ("\x1b[38;5mx", "x"),
        ("\x1b[999999999999mx", "x"),
        ("\x9b32mx", '<span class="fg2">x</span>'),
        ("\x1b[2Kcleared\x1b[1A", "cleared"),
        ("\x1b]0;title\x07shown", "shown"),
        ("\x1b]8;;http://evil/\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(Bx", "x"),
        ("bell\x07 \x00 del\x7f c1\x85", "bell\\x07 \\x00 del\\x7f c1\\x85"),
        ("lone \x1b", "lone \\x1b"),
        ("abc\u202edef", "abc\\u202edef"),
        ("zero\u200bwidth \ufeff", "zero\\u200bwidth \\ufeff"),
        ("tab\there", "tab\there"),
        ("\x1b[31m<script>\x1b[0m", '<span class="fg1">&lt;script&gt;</span>'),
        ("half \udcff", "half \\xff"),
        ("tag \U000e0041", "tag \\U000e0041"),
    ],
)
def test_to_html(text: str, expected: str) -> None:
    assert to_html(text) == expected


def test_search_sees_no_escapes() -> None:
    assert strip_ansi("\x1b[1mEpoch\x1b[0m \x1b[32m3\x1b[0m") == "Epoch 3"


def test_visible_keeps_lines_and_letters() -> None:
    assert shown("é 漢 😀\n\tx") == "é 漢 😀\n\tx"


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "span"
        assert [name for name, _ in attrs] == ["class"]
        self.depth += 1

    def handle_endtag(self, tag: str) -> None:
        self.depth -= 1


@given(st.text(alphabet=st.sampled_from("\x1b[]m;:0123458<>&\"'a/\\\x07\x9b\n")) | st.text())
def test_any_text_gives_closed_spans_and_nothing_else(text: str) -> None:
    html = to_html(text)
    parser = _Elements()
    parser.feed(html)
    parser.close()
    assert parser.depth == 0
    assert "\x1b" not in html
    html.encode()
