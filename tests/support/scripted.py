"""A model that does what the test says."""

from __future__ import annotations

import threading
from typing import Any

from guildlite.serve.engine import Engine
from guildlite.serve.limits import Limits
from guildlite.serve.model import ModelInfo, ModelRefused, TensorSpec


class Scripted:
    """Adds one to `x`; 13 fails, 14 is refused, 99 waits until the test says so."""

    def __init__(self, shape: tuple[int, ...] = (-1,), max_batch: int | None = None) -> None:
        self.info = ModelInfo(
            "m", (TensorSpec("x", "FP32", shape),), (TensorSpec("y", "FP32", shape),), max_batch
        )
        self.calls: list[list[float]] = []
        self.entered, self.go_on = threading.Event(), threading.Event()

    def predict(self, inputs: Any) -> Any:
        x = inputs["x"]
        self.calls.append(x.ravel().tolist())
        if (x == 13).any():
            raise RuntimeError("the secret cause")
        if (x == 14).any():
            raise ModelRefused("the model refused the input: 14")
        if (x == 99).any():
            self.entered.set()
            self.go_on.wait(60)
        return {"y": x + 1}

    def close(self) -> None:
        pass


def slow_engine(runtime: Scripted, **limits: Any) -> Engine:
    """Return a warm engine that queues everything, as for a model that takes its time."""
    engine = Engine(runtime, Limits(**limits))
    engine.warm_up()
    for _ in range(9):
        engine.stats.predicted(1.0, 1)
    runtime.calls.clear()
    return engine
