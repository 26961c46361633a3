"""What was asked and how long it took: the bodies of `/stats` and `/metrics`.

Counters are written by hand in the Prometheus text format. Labels are routes, never addresses:
whoever asks for a thousand names must not make a thousand series.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from statistics import fmean

#: A hop to a worker thread costs 40 to 60 us of CPU; below twice that it is not worth it.
INLINE_MODEL_S = 100e-6
#: Upper ends in seconds; from a quick model on one core to the default time-out.
BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Stats:
    """Counts of one server; every method may be called from any thread."""

    def __init__(self) -> None:
        self.requests = self.instances = 0
        self._recent: deque[tuple[float, int]] = deque(maxlen=9)
        self._quick = False
        self._model_s, self._batches, self._rows = 0.0, 0, 0
        self._answers: Counter[tuple[str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def answered(self, instances: int) -> None:
        """Count one request that got its answer."""
        with self._lock:
            self.requests += 1
            self.instances += instances

    def predicted(self, seconds: float, rows: int) -> None:
        """Note one call of the model."""
        with self._lock:
            self._recent.append((seconds, rows))
            self._model_s += seconds
            self._batches += 1
            self._rows += rows
            # The median: one call that lost the processor does not make a model slow.
            middle = sorted(self._recent)[len(self._recent) // 2][0]
            self._quick = middle < INLINE_MODEL_S

    def finished(self, route: str, status: int, seconds: float) -> None:
        """Count one request to a predict route, answered or refused."""
        with self._lock:
            self._answers[route, status] += 1
            counts = self._buckets.setdefault(route, [0] * (len(BUCKETS_S) + 1))
            counts[bisect_left(BUCKETS_S, seconds)] += 1
            self._seconds[route] += seconds

    def is_quick(self) -> bool:
        """Say whether the model is faster than a hop to another thread."""
        return self._quick

    @property
    def mean_ms(self) -> float:
        """Milliseconds of a call, over the last few."""
        with self._lock:
            return 1000 * fmean(took for took, _ in self._recent) if self._recent else 0.0

    def to_json(self) -> dict[str, object]:
        """Return the body of `/stats`; times are in milliseconds, of the model's last calls."""
        with self._lock:
            recent = list(self._recent)
            body: dict[str, object] = {"requests": self.requests, "instances": self.instances}
            body["batches"] = self._batches
            body["mean_batch"] = round(self._rows / self._batches, 2) if self._batches else None
        seconds = sum(took for took, _ in recent)
        rows = sum(rows for _, rows in recent)
        body["last_ms"] = round(recent[-1][0] * 1000, 4) if recent else None
        body["mean_ms"] = round(self.mean_ms, 4) if recent else None
        body["predictions_per_second"] = round(rows / seconds, 1) if seconds else None
        return body

    def to_prometheus(self, *, model: str, inflight: int) -> str:
        """Return the body of `/metrics`. `model` labels the counters of the model itself."""
        with self._lock:
            label = f'{{model="{_escape(model)}"}}'
            lines = [
                *_head("gl_serve_requests_total", "counter", "Requests to predict routes."),
                *(
                    f'gl_serve_requests_total{{route="{route}",status="{status}"}} {count}'
                    for (route, status), count in sorted(self._answers.items())
                ),
                *self._histogram(),
                *_head("gl_serve_inflight", "gauge", "Requests being answered or waiting."),
                f"gl_serve_inflight {inflight}",
            ]
            for name, value, words in (
                ("instances_total", self.instances, "Instances answered."),
                ("model_calls_total", self._batches, "Calls of the model."),
                ("model_rows_total", self._rows, "Rows that the model was asked."),
                ("model_seconds_total", f"{self._model_s:.6f}", "Seconds in the model."),
            ):
                lines += _head(f"gl_serve_{name}", "counter", words)
                lines.append(f"gl_serve_{name}{label} {value}")
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name = "gl_serve_request_seconds"
        lines = _head(name, "histogram", "Seconds from the complete request to its answer.")
        for route, counts in sorted(self._buckets.items()):
            total = 0
            for end, count in zip((*BUCKETS_S, "+Inf"), counts, strict=True):
                total += count
                lines.append(f'{name}_bucket{{route="{route}",le="{end}"}} {total}')
            lines.append(f'{name}_sum{{route="{route}"}} {self._seconds[route]:.6f}')
            lines.append(f'{name}_count{{route="{route}"}} {total}')
        return lines


def _head(name: str, kind: str, words: str) -> list[str]:
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
