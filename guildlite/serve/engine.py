"""Takes turns at the model: decode, predict, encode, within limits of time and number.

A quick model is run where the request is (handing it to a thread costs more than the model does);
everything else goes to a few worker threads, so that health and `/info` always answer.

Threads: `run` belongs to the event loop; `answer` may be called from any thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from statistics import fmean, median
from typing import TYPE_CHECKING

from guildlite.errors import GuildliteError
from guildlite.http import RequestError
from guildlite.serve.instances import Decoder, encode
from guildlite.serve.model import ModelFailed, ModelRefused, ModelRuntime, TensorSpec

if TYPE_CHECKING:
    from guildlite.serve.model import Array

    Instance = dict[str, Array]

#: A hop to a worker thread costs 40 to 60 us of CPU; below twice that it is not worth it.
INLINE_MODEL_S = 100e-6
#: Above this, parsing alone would hold up other requests: 1 ms for 64 KiB of numbers.
INLINE_BODY_BYTES = 32 * 1024
#: Instances the model sees at a time, which bounds the memory of what it computes.
MAX_BATCH = 64
#: The first calls of some runtimes are a hundred times slower than the rest.
WARM_UPS = 3


class Engine:
    """Answers requests with one model.

    max_inflight: requests being answered or waiting, above which more get 503.
    timeout_s: after this long a request gets 504. A prediction under way cannot be interrupted
        and keeps its place until it is done; one that still waits is dropped.
    """

    def __init__(
        self,
        runtime: ModelRuntime,
        *,
        max_inflight: int = 256,
        timeout_s: float = 30.0,
        workers: int = 2,
    ) -> None:
        self.runtime = runtime
        self.info = runtime.info
        self.stats = Stats()
        self._timeout_s = timeout_s
        self._max_inflight = max_inflight
        self._inflight = 0
        self._lock = threading.Lock()
        #: What one instance's value looks like, by input name.
        self.shapes = {spec.name: _instance_shape(spec) for spec in self.info.inputs}
        self._leading = {spec.name for spec in self.info.inputs if _counts_instances(spec)}
        #: Whether several instances may go through the model together; `warm_up` finds out.
        self._together = False
        self._fixed = all(-1 not in shape for shape in self.shapes.values())
        self._decoder = Decoder(self.info, self.shapes)
        self._workers = _Workers(workers)

    def zeros(self) -> Instance:
        """Return one valid instance: zeros, empty strings, free dimensions of length 1."""
        import numpy as np

        instance: Instance = {}
        for spec in self.info.inputs:
            shape = [1 if size < 0 else size for size in self.shapes[spec.name]]
            fill = "" if spec.datatype == "BYTES" else 0
            instance[spec.name] = np.full(shape, fill, dtype=spec.dtype)
        return instance

    def warm_up(self, body: bytes | None = None) -> Instance:
        """Predict a few times, learn whether instances go together, and return one answer.

        `body` is a request to use instead of zeros. Raises GuildliteError when the model cannot
        predict.
        """
        instance = self._decoder.decode(body)[0] if body else self.zeros()
        for _ in range(WARM_UPS):
            answer = self._predict_one(instance)
        self.stats = Stats()
        self._predict_one(instance)
        self._together = self._go_together(instance)
        return answer

    def answer(self, body: bytes) -> bytes:
        """Return the answer to one request body; raises RequestError, 500 when the model failed."""
        instances = self._decoder.decode(body)
        answers = self._predict_many(instances)
        self.stats.answered(len(instances))
        return encode(answers)

    async def run(self, body: bytes) -> bytes:
        """Return the answer to one request body without holding up the event loop."""
        self._enter()
        if len(body) <= INLINE_BODY_BYTES and self._fixed and self.stats.is_quick():
            try:
                return self.answer(body)
            finally:
                self._leave()
        return await self._in_thread(body)

    def close(self) -> None:
        """Free the model; a prediction still under way is abandoned with its thread."""
        self._workers.close()
        self.runtime.close()

    async def _in_thread(self, body: bytes) -> bytes:
        future = self._workers.submit(lambda: self.answer(body))
        # The place is kept until the thread is done, or a stuck model would gather threads.
        future.add_done_callback(lambda _: self._leave())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._timeout_s)
        except asyncio.TimeoutError:
            raise RequestError(
                f"the model took longer than {self._timeout_s:g} seconds", status=504
            )

    def _enter(self) -> None:
        with self._lock:
            if self._inflight >= self._max_inflight:
                raise RequestError(
                    "the server has too many requests to answer",
                    status=503,
                    hint="try again in a second",
                    headers={"retry-after": "1"},
                )
            self._inflight += 1

    def _leave(self) -> None:
        with self._lock:
            self._inflight -= 1

    # Instances and the model

    def _predict_many(self, instances: Sequence[Instance]) -> list[Instance]:
        answers: list[Instance] = []
        for start in range(0, len(instances), MAX_BATCH):
            answers += self._predict_chunk(instances[start : start + MAX_BATCH], start)
        return answers

    def _predict_chunk(self, instances: Sequence[Instance], start: int) -> list[Instance]:
        if len(instances) > 1 and self._together and _same_shapes(instances):
            try:
                return self._predict_together(instances)
            except GuildliteError:
                # One of them is at fault: one by one, only that one is named.
                pass
        answers = []
        for number, instance in enumerate(instances, start):
            try:
                answers.append(self._predict_one(instance))
            except (ModelRefused, ModelFailed) as error:
                raise RequestError(
                    error.message, status=error.http_status, index=[number]
                ) from error
        return answers

    def _predict_together(self, instances: Sequence[Instance]) -> list[Instance]:
        import numpy as np

        stacked = {name: np.stack([one[name] for one in instances]) for name in instances[0]}
        outputs = self._call(stacked, len(instances))
        if any(array.shape[:1] != (len(instances),) for array in outputs.values()):
            raise ModelFailed("the model did not answer every instance of a batch")
        return [
            {name: array[row] for name, array in outputs.items()} for row in range(len(instances))
        ]

    def _predict_one(self, instance: Instance) -> Instance:
        inputs = {
            name: array[None] if name in self._leading else array
            for name, array in instance.items()
        }
        outputs = self._call(inputs, 1)
        if not self._leading:
            return outputs
        return {spec.name: _without_leading(outputs[spec.name], spec) for spec in self.info.outputs}

    def _call(self, inputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
        begin = time.perf_counter()
        try:
            outputs = self.runtime.predict(inputs)
        except ModelRefused:
            raise
        except Exception as error:
            raise ModelFailed("the model failed to predict") from error
        self.stats.predicted(time.perf_counter() - begin, rows)
        return outputs

    def _go_together(self, instance: Instance) -> bool:
        """Say whether two instances give two answers, by trying: a signature may not tell."""
        takes_many = all(spec.shape[:1] == (-1,) for spec in self.info.inputs)
        gives_many = all(spec.shape[:1] in ((), (-1,)) for spec in self.info.outputs)
        if not (self.info.inputs and takes_many and gives_many):
            return False
        try:
            self._predict_together([instance, instance])
        except GuildliteError:
            return False
        return True


class _Workers:
    """A few daemon threads over one queue.

    Not a ThreadPoolExecutor: the interpreter joins that one's threads when it exits, so a model
    that hangs would keep the server from stopping.
    """

    def __init__(self, count: int) -> None:
        self._jobs: SimpleQueue[tuple[Future[bytes], Callable[[], bytes]] | None] = SimpleQueue()
        self._count = count
        for number in range(count):
            threading.Thread(target=self._work, name=f"predict-{number}", daemon=True).start()

    def submit(self, job: Callable[[], bytes]) -> Future[bytes]:
        """Run `job` when a thread is free; a future cancelled before that is skipped."""
        future: Future[bytes] = Future()
        self._jobs.put((future, job))
        return future

    def close(self) -> None:
        """Let every thread end after the job it has."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _work(self) -> None:
        while (task := self._jobs.get()) is not None:
            future, job = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)


class Stats:
    """What `/stats` says. Times are those of the model alone."""

    def __init__(self) -> None:
        self.requests = self.instances = 0
        self._recent: deque[tuple[float, int]] = deque(maxlen=9)
        self._quick = False
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
            # The median: one call that lost the processor does not make a model slow.
            self._quick = median(took for took, _ in self._recent) < INLINE_MODEL_S

    def is_quick(self) -> bool:
        """Say whether the model is faster than a hop to another thread."""
        return self._quick

    @property
    def mean_ms(self) -> float:
        """Milliseconds of a call, over the last few."""
        with self._lock:
            return 1000 * fmean(took for took, _ in self._recent) if self._recent else 0.0

    def to_json(self) -> dict[str, object]:
        """Return the body of `/stats`; times in milliseconds over the last calls."""
        with self._lock:
            recent = list(self._recent)
            body: dict[str, object] = {"requests": self.requests, "instances": self.instances}
        seconds = sum(took for took, _ in recent)
        rows = sum(rows for _, rows in recent)
        body["last_ms"] = round(recent[-1][0] * 1000, 4) if recent else None
        body["mean_ms"] = round(self.mean_ms, 4) if recent else None
        body["predictions_per_second"] = round(rows / seconds, 1) if seconds else None
        return body


def _counts_instances(spec: TensorSpec) -> bool:
    """Say whether the first dimension is free, or is 1 in front of others."""
    return spec.shape[:1] == (-1,) or (spec.shape[:1] == (1,) and len(spec.shape) > 1)


def _instance_shape(spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape of one instance's value."""
    return spec.shape[1:] if _counts_instances(spec) else spec.shape


def _without_leading(array: Array, spec: TensorSpec) -> Array:
    """Undo the leading 1 that a single instance went in with, where the output has it too."""
    if spec.shape[:1] in ((), (-1,), (1,)) and array.shape[:1] == (1,):
        row: Array = array[0]
        return row
    return array


def _same_shapes(instances: Sequence[Instance]) -> bool:
    first = {name: array.shape for name, array in instances[0].items()}
    return all(array.shape == first[name] for one in instances[1:] for name, array in one.items())
