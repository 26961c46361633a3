"""Numbers with their units, as charts and pages show them. Pure functions.

What a number means follows from its series key (`unit_of`): keys under `sys/`, `op/` and `gpuN/`
have the units of docs/reference; a script's own series have none, and the project's `metrics:`
may give them a format such as `0.0%`.
"""

from __future__ import annotations

import math

from guildlite.series import SYSTEM_KEY
from guildlite.wording import BINARY_UNITS, format_moment, format_number

#: Kinds of unit; "" is a plain number.
RATIO, BYTES, RATE, WATTS, CELSIUS, HERTZ = "ratio", "bytes", "bytes/s", "W", "°C", "MHz"

#: As wide as a digit, so that columns of numbers stay aligned.
MINUS = "\N{MINUS SIGN}"
#: What the process tree uses: 2 CPU is two cores kept busy.
CPUS = "CPU"
INFINITY = "\N{INFINITY}"

_DECIMAL = ("", "k", "M", "G", "T")


def unit_of(key: str) -> str:
    """Return the kind of unit of a series, "" for what the script itself wrote."""
    match = SYSTEM_KEY.fullmatch(key)
    if match is None:
        return ""
    name = match[2].partition("/")[2]
    if match[3] == "op" and name == "cpu/util":
        return CPUS
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
        while top >= 1024 ** (power + 1) and power < len(BINARY_UNITS) - 1:
            power += 1
        return float(1024**power), f" {BINARY_UNITS[power]}" + ("/s" if unit == RATE else "")
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


def format_value(value: float | None, unit: str = "", pattern: str | None = None) -> str:
    """Return a value of a series, set for a page; None is NaN, as in run.db.

    `pattern` is a project's number format; it goes before the unit.
    """
    if unit and not pattern and value is not None and math.isfinite(value):
        factor, suffix = scale_of(abs(value), unit)
        scaled = value / factor
        return _set(f"{scaled:.3g}" if abs(scaled) < 1000 else f"{scaled:.0f}") + suffix
    return _set(format_number(value, pattern))


def _set(text: str) -> str:
    """Return a number with the signs of print; an exponent stays as it is typed."""
    return text if "e-" in text else text.replace("-", MINUS).replace("inf", INFINITY)


def format_clock(at_ms: int | None) -> str:
    """Return only the time of day of a time in ms, "" for None."""
    return format_moment(None if at_ms is None else at_ms / 1000, "%H:%M:%S")
