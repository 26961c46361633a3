"""Numbers, sizes, times and durations as people read them. Pure functions.

What a number means follows from its series key (`unit_of`): keys under `sys/`, `op/` and `gpuN/`
have the units of docs/reference; a script's own series have none, and the project's `metrics:`
may give them a format such as `0.0%`.
"""

from __future__ import annotations

import math
from datetime import datetime, timezone

from guildlite.series import SYSTEM_KEY

#: Kinds of unit; "" is a plain number.
RATIO, BYTES, RATE, WATTS, CELSIUS, HERTZ = "ratio", "bytes", "bytes/s", "W", "°C", "MHz"

#: As wide as a digit, so that columns of numbers stay aligned.
MINUS = "\N{MINUS SIGN}"

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DECIMAL = ("", "k", "M", "G", "T")


def unit_of(key: str) -> str:
    """Return the kind of unit of a series, "" for what the script itself wrote."""
    match = SYSTEM_KEY.fullmatch(key)
    if match is None:
        return ""
    name = match[2].partition("/")[2]
    if match[3] == "op" and name == "cpu/util":
        return ""  # counts cores
    endings = (
        ("util", RATIO), ("fan", RATIO), ("power", WATTS), ("temp", CELSIUS), ("clock", HERTZ),
        ("read", RATE), ("write", RATE), ("sent", RATE), ("received", RATE),
        ("used", BYTES), ("available", BYTES), ("rss", BYTES), ("own", BYTES),
    )  # fmt: skip
    last = name.rpartition("/")[2]
    return next((unit for ending, unit in endings if last == ending), "")


def scale_of(top: float, unit: str) -> tuple[float, str]:
    """Return (factor, suffix) so that values up to `top`, divided by factor, are easily read."""
    if top >= 1e18:
        exponent = math.floor(math.log10(top))
        return 10.0**exponent, f"e{exponent}" + (f" {unit}" if unit and unit != RATIO else "")
    if unit == RATIO:
        return 0.01, "%"
    if unit in (BYTES, RATE):
        power = 0
        while top >= 1024 ** (power + 1) and power < len(_BINARY) - 1:
            power += 1
        return float(1024**power), f" {_BINARY[power]}" + ("/s" if unit == RATE else "")
    if unit:
        return 1.0, f" {unit}"
    if 0 < top < 1e-3:
        exponent = math.floor(math.log10(top))
        # Subnormal numbers: ten to this power would be 0.
        return (10.0**exponent, f"e{exponent}") if exponent > -308 else (1.0, "")
    power = 0
    while top >= 1000 ** (power + 1) * 10 and power < len(_DECIMAL) - 1:
        power += 1
    return float(1000**power), _DECIMAL[power]


def format_number(value: float | None, unit: str = "", pattern: str | None = None) -> str:
    """Return a value as text; None is NaN, as in run.db. `pattern` is a project's number format."""
    if value is None or value != value:
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if pattern:
        return _by_pattern(value, pattern)
    if unit:
        factor, suffix = scale_of(abs(value), unit)
        scaled = value / factor
        return _minus(f"{scaled:.3g}" if abs(scaled) < 1000 else f"{scaled:.0f}") + suffix
    if value == int(value) and abs(value) < 1e9:
        return _minus(f"{int(value):,}")
    return _minus(f"{value:,.1f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}")


def _by_pattern(value: float, pattern: str) -> str:
    percent = pattern.rstrip().endswith("%")
    digits = pattern.rstrip().rstrip("%").strip()
    decimals = len(digits.partition(".")[2])
    comma = "," if "," in digits else ""
    return _minus(f"{value * 100 if percent else value:{comma}.{decimals}f}") + "%" * percent


def _minus(text: str) -> str:
    return text.replace("-", MINUS) if "e-" not in text else text


def format_count(number: int, one: str, many: str | None = None) -> str:
    """Return `1 run`, `2 runs`, `1,000 runs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def format_bytes(size: float) -> str:
    """Return a file's size: `812 B`, `1.2 MiB`."""
    factor, suffix = scale_of(size, BYTES)
    return f"{size:.0f} B" if factor == 1 else f"{size / factor:.1f}{suffix}"


def format_duration(seconds: float | None) -> str:
    """Return a time span: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 14 min`, `3 d 04 h`; "" for None."""
    if seconds is None or seconds != seconds:
        return ""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24} d {hours % 24:02} h"


def format_moment(at_s: float | None, *, seconds: bool = True) -> str:
    """Return an epoch time as this machine's clock showed it, "" for None or impossible ones."""
    moment = _moment(at_s)
    form = "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"
    return moment.astimezone().strftime(form) if moment else ""


def format_clock(at_ms: int | None) -> str:
    """Return only the time of day of a time in ms, "" for None."""
    moment = _moment(None if at_ms is None else at_ms / 1000)
    return moment.astimezone().strftime("%H:%M:%S") if moment else ""


def iso_moment(at_s: float | None) -> str:
    """Return an epoch time as machines read it: UTC, ISO 8601; "" for None."""
    moment = _moment(at_s)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""


def _moment(at_s: float | None) -> datetime | None:
    try:
        return None if at_s is None else datetime.fromtimestamp(at_s, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return None
