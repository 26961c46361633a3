"""What tells runs apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def differing_flags(given: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the names of flags that have more than one value among runs, in project order.

    `given` holds the flags of each run. A flag that only some runs have (another model's) does
    not differ by that alone.
    """
    values: dict[str, set[str]] = {}
    for flags in given:
        for name, value in flags.items():
            values.setdefault(name, set()).add(value)
    return [name for name, seen in values.items() if len(seen) > 1]
