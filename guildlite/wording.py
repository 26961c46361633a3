"""How values read to people, alike on a terminal and on a page. Pure functions but for local time.

Texts are plain ASCII, so that they can be searched for and pasted; a page may set them more
finely. None is "nobody knows" and becomes an empty text, except for numbers: there it is NaN, as
in run.db.
"""

from __future__ import annotations

import re
import time

# Text ---------------------------------------------------------------------------------------------

#: Characters that are not seen as themselves: controls; marks that reorder the text after them or
#: take no room, by which a line can read as another; bytes of file names that are no UTF-8. The
#: joiners U+200C and U+200D are none: Persian words and families of emoji need them.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"
    "\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def visible(text: str, keep: str = "") -> str:
    """Return `text` with every character that is not seen as itself written as an escape.

    Those in `keep`, such as line ends, stay.
    """
    # Nearly all text is printable, and this check is ten times faster than the search.
    if text.isprintable():
        return text
    return _UNSEEN.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # the byte that stood there
    if code <= 0xFF:
        return _SHORT.get(char) or f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


#: CSI and OSC sequences, and the two-character ones (ECMA-48), as programs colour their output.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")


def without_sequences(text: str) -> str:
    """Return text without the sequences by which a program colours it or moves a cursor."""
    return _SEQUENCE.sub("", text) if "\x1b" in text else text


# Numbers ------------------------------------------------------------------------------------------

BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def format_number(value: float | None, pattern: str | None = None) -> str:
    """Return a number in four significant digits, or by a project's format such as `0.0%`.

    Whole digits are never rounded away, nor anything of a whole number, below a billion.
    """
    if value is None or value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return str(value)
    if pattern is not None:
        return _by_pattern(value, pattern)
    if abs(value) >= 1e9:
        return f"{value:.4g}"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _by_pattern(value: float, pattern: str) -> str:
    """Return a value by one of the formats a project file allows: `0.000`, `0.0%`, `#,##0`."""
    percent = pattern.endswith("%")
    decimals = len(pattern.rstrip("%").partition(".")[2])
    comma = "," if "," in pattern else ""
    return f"{value * 100 if percent else value:{comma}.{decimals}f}" + "%" * percent


def format_count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 run`, `2 runs`, `1,000 runs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def format_size(size_bytes: float) -> str:
    """Return a size in the unit that suits it: `812 B`, `1.2 MiB`."""
    size = float(size_bytes)
    power = 0
    # Not 1024: 1023.5 would be shown as 1024.
    while size >= 1023.5 and power < len(BINARY_UNITS) - 1:
        size /= 1024
        power += 1
    unit = BINARY_UNITS[power]
    decimals = 0 if unit == "B" or size >= 99.95 else 1
    return f"{size:.{decimals}f} {unit}"


# Times --------------------------------------------------------------------------------------------


def format_duration(seconds: float | None) -> str:
    """Return a duration in at most two units: `0.4s`, `12s`, `1m 04s`, `3h 07m`, `2d 05h`."""
    if seconds is None or seconds != seconds:
        return ""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = int(seconds + 0.5)
    for size, unit, smaller, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // smaller:02d}{small}"
    return f"{whole // 60}m {whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def format_ago(moment: float | None, now: float) -> str:
    """Return how long ago a moment (seconds since the epoch) was: `now`, `5m ago`, `3d ago`."""
    if moment is None:
        return ""
    seconds = now - moment
    if seconds < -60:
        return "in the future"  # a clock that was set back, or another machine's
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit} ago"
    return f"{int(seconds)}s ago" if seconds >= 5 else "now"


def format_moment(moment: float | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return a moment (seconds since the epoch) as this machine's clock showed it.

    Empty for moments outside of the calendar.
    """
    try:
        return "" if moment is None else time.strftime(form, time.localtime(moment))
    except (OverflowError, ValueError, OSError):
        return ""


def iso_utc(moment: float | None) -> str | None:
    """Return a moment as machines read it, ISO 8601 in UTC with milliseconds.

    None for None and for moments outside of the calendar.
    """
    if moment is None:
        return None
    try:
        ms = int(moment * 1000 + 0.5)
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"
    except (OverflowError, ValueError, OSError):
        return None
