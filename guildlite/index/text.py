"""When a text is a number: for flags and attributes, and for numbers in filters."""

from __future__ import annotations

import re

NUMBER = re.compile(r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|inf)", re.ASCII)


def parse_number(text: str) -> float | int | None:
    """Return the number that `text` is, or None. Integers of 64 bits stay integers."""
    if not text or text[-1] not in "0123456789.f" or NUMBER.fullmatch(text) is None:
        return None
    if text.lstrip("+-").isdigit() and len(text) < 20:
        whole = int(text)
        if -(2**63) <= whole < 2**63:
            return whole
    return float(text)
