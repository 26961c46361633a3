"""The face of every source of readings, and the wrapper that keeps a failing one harmless.

A collector belongs to one thread: nothing here is locked. Whoever runs collectors wraps each in
`Guarded`, which never raises, and commits what `sample` gives.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Protocol

from guildlite.series import Reading


class Unavailable(Exception):
    """There is nothing for this collector to read here; the message says why."""


class Collector(Protocol):
    """A source of readings during a run: probe once, sample often, close once."""

    name: str

    def probe(self) -> dict[str, str]:
        """Return attributes of what is there; raise `Unavailable` when nothing is."""

    def sample(self, final: bool = False) -> Iterable[Reading]:
        """Give what is new since the last look, or what the instruments show now.

        Of a file that is a bounded amount; one calls again until nothing comes. `final` says that
        nothing more will be written, so that what is unfinished is given too.
        """

    def close(self) -> None:
        """Let go of files and libraries; harmless when called twice."""


class Guarded:
    """A collector that cannot fail: trouble becomes a notice, and the next sample tries again.

    A fault is told once, however often it comes back; `failures` counts them all. A collector that
    is `Unavailable` is not asked again and says why in `unavailable`, which is no fault. Readings
    given before a fault in the same sample are passed on. Without a call of `probe` the first
    sample probes, and its attributes come with that sample.
    """

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self.name = collector.name
        self.unavailable: str | None = None
        self.failures: Counter[str] = Counter()
        self._probed = False
        self._notices: list[str] = []

    def probe(self) -> dict[str, str]:
        """Return the attributes found, none when the probe fails; the notice waits for `sample`."""
        if self._probed or self.unavailable is not None:
            return {}
        try:
            attrs = self._collector.probe()
        except Unavailable as error:
            self.unavailable = str(error)
            return {}
        except Exception as error:
            self._note("could not look at its source", error)
            return {}
        self._probed = True
        return attrs

    def sample(self, final: bool = False) -> Iterator[Reading]:
        """Yield what the collector gives, and one reading with the notices that are new."""
        attrs = self.probe()
        if attrs:
            yield Reading(attrs=attrs)
        if self._probed:
            yield from self._readings(final)
        if self._notices:
            notices, self._notices = self._notices, []
            yield Reading(notices=notices)

    def close(self) -> None:
        """Close the collector; a fault here is only counted, since nobody is left to tell."""
        try:
            self._collector.close()
        except Exception as error:
            self._note("could not close", error)

    def _readings(self, final: bool) -> Iterator[Reading]:
        # Not `yield from`: an exception the consumer throws in is not the collector's fault.
        try:
            readings = iter(self._collector.sample(final))
        except Exception as error:
            self._note("could not read", error)
            return
        while True:
            try:
                reading = next(readings)
            except StopIteration:
                return
            except Exception as error:
                self._note("could not read", error)
                return
            yield reading

    def _note(self, what: str, error: Exception) -> None:
        fault = f"collector `{self.name}` {what}: {type(error).__name__}: {error}"
        self.failures[fault] += 1
        if self.failures[fault] == 1:
            self._notices.append(f"{fault}; it is tried again and this is not repeated")


class RunClock:
    """Step and time of live samples: whole seconds since the run started, and now in ms.

    The step follows the monotonic clock from the moment of construction, so that a corrected wall
    clock neither stops nor rewinds it.
    """

    def __init__(self, started_at_ms: int) -> None:
        self._offset_s = max(0.0, time.time() - started_at_ms / 1000)
        self._origin = time.monotonic()

    def now(self) -> tuple[int, int]:
        """Return (step, time in ms since the epoch)."""
        elapsed_s = self._offset_s + time.monotonic() - self._origin
        return int(elapsed_s), int(time.time() * 1000)


def prefixed(operation: str, key: str) -> str:
    """Return the series key of a later operation, as in `evaluate/sys/cpu/util`; "" is the run."""
    return f"{operation.rstrip('/')}/{key}" if operation else key
