"""What one server does at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How much, how many and how long.

    timeout_s: after this long a request gets 504. A prediction under way cannot be interrupted
        and keeps its place until it is done; one that still waits is dropped.
    max_batch: rows of one call of the model, if it does not itself take fewer; that bounds the
        memory of what it computes.
    max_inflight: requests being answered or waiting, above which more get 503.
    max_body_bytes: of one request.
    threads: for one call of the model; None for what its framework thinks best.
    """

    timeout_s: float = 30.0
    max_batch: int = 64
    max_inflight: int = 256
    max_body_bytes: int = 16 * 1024 * 1024
    threads: int | None = None
