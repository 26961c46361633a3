"""Text, numbers, sizes and times as people read them, against values worked out by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildlite import wording

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcode ★ 日本", "plain ünïcode ★ 日本"),
        ("\x1b]0;title\x07 \x00\x7f\x9b", "\\x1b]0;title\\x07 \\x00\\x7f\\x9b"),
        ("a\tb\nc\rd", "a\\tb\\nc\\rd"),
        ("user\u202egnp.exe\u2066", "user\\u202egnp.exe\\u2066"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("\u180e \ufff9 \ufffb", "\\u180e \\ufff9 \\ufffb"),
        ("tag \U000e0041", "tag \\U000e0041"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\\xe9"),
        ("half \ud83d", "half \\ud83d"),
        # A family of emoji, and a Persian word: joined letters are seen.
        ("\U0001f468\u200d\U0001f467", "\U0001f468\u200d\U0001f467"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
    ],
)
def test_what_is_not_seen_is_spelled_out(text: str, shown: str) -> None:
    assert wording.visible(text) == shown
    shown.encode()


def test_layout_may_be_kept() -> None:
    assert wording.visible("é 漢 😀\n\tx\r", keep="\t\n") == "é 漢 😀\n\tx\\r"


@given(st.text(st.characters()) | st.text(st.characters(categories=["Cc", "Cf", "Cs"])))
def test_any_text_can_be_written_and_moves_nothing(text: str) -> None:
    shown = wording.visible(text)
    shown.encode()
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in shown)
    assert wording.visible(shown) == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (3.0, "3"),
        (0.123456789, "0.1235"),
        (-0.5, "-0.5"),
        (12.3456, "12.35"),
        (999.96, "1000"),
        (4168.24, "4,168"),
        (1234567.0, "1,234,567"),
        (1234567.8, "1,234,568"),
        (2.5e9, "2.5e+09"),
        (1.5e-7, "1.5e-07"),
        (1e300, "1e+300"),
        (None, "NaN"),
        (NAN, "NaN"),
        (INF, "inf"),
        (-INF, "-inf"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert wording.format_number(value) == text


@pytest.mark.parametrize(
    ("value", "pattern", "text"),
    [
        (0.9567, "0.0%", "95.7%"),
        (0.5, "0.000", "0.500"),
        (12.0, "0", "12"),
        (3, "0.000", "3.000"),
        (1234567.4, "#,##0", "1,234,567"),
        (1234.5, "#,##0.00", "1,234.50"),
        (None, "0.0%", "NaN"),
        (-INF, "0.00", "-inf"),
    ],
)
def test_numbers_by_a_projects_format(value: float | None, pattern: str, text: str) -> None:
    assert wording.format_number(value, pattern) == text


def test_counts() -> None:
    counts = [wording.format_count(number, "run") for number in (0, 1, 2, 1000)]
    assert counts == ["0 runs", "1 run", "2 runs", "1,000 runs"]
    assert wording.format_count(2, "entry", "entries") == "2 entries"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (374_100, "365 KiB"),
        (5 * 2**30, "5.0 GiB"),
        (2**60, "1024 PiB"),
    ],
)
def test_sizes(size: float, text: str) -> None:
    assert wording.format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (NAN, ""),
        (-5, "0.0s"),
        (0, "0.0s"),
        (0.44, "0.4s"),
        (9.96, "10s"),
        (12.4, "12s"),
        (59.6, "1m 00s"),
        (64, "1m 04s"),
        (3599.7, "1h 00m"),
        (11_220, "3h 07m"),
        (190_800, "2d 05h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert wording.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("before_s", "text"),
    [(0, "now"), (30, "30s ago"), (7200, "2h ago"), (259_201, "3d ago"), (-600, "in the future")],
)
def test_how_long_ago(before_s: float, text: str) -> None:
    assert wording.format_ago(1_000_000.0 - before_s, 1_000_000.0) == text


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_moments_are_local_and_iso_is_utc() -> None:
    moment = 1_795_196_701.25
    assert wording.format_moment(moment) == "2026-11-21 02:45:01"
    assert wording.format_moment(moment, "%H:%M") == "02:45"
    assert wording.iso_utc(moment) == "2026-11-20T17:45:01.250Z"
    assert wording.iso_utc(0.9996) == "1970-01-01T00:00:01.000Z"


@pytest.mark.parametrize("moment", [None, NAN, INF, 1e300])
def test_moments_outside_of_the_calendar(moment: float | None) -> None:
    assert wording.format_moment(moment) == ""
    assert wording.iso_utc(moment) is None
