"""System and GPU samples on a thread of their own, since a sick driver may never answer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from guildlite.collect.collector import Collector, Guarded
from guildlite.series import Reading


class Sampler:
    """Samples live collectors every `interval_s` until stopped; readings wait in a queue.

    `make` builds the collectors on the sampling thread, so that psutil and NVML are imported
    there and the caller never waits for them.
    """

    def __init__(self, make: Callable[[], Sequence[Collector]], interval_s: float) -> None:
        self._make, self._interval_s = make, interval_s
        self._readings: deque[Reading] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Begin sampling."""
        self._thread.start()

    def take(self) -> list[Reading]:
        """Return the readings since the last call; never waits."""
        readings = []
        while self._readings:
            readings.append(self._readings.popleft())
        return readings

    def stop(self, timeout_s: float = 1.0) -> None:
        """Stop sampling; a collector that hangs is left to end with the process."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        collectors = [Guarded(collector) for collector in self._make()]
        while True:
            for collector in collectors:
                for reading in collector.sample():
                    self._readings.append(reading)
            if self._stopping.wait(self._interval_s):
                break
        for collector in collectors:
            collector.close()
