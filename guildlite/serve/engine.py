"""Takes turns at the model: within limits of time and number, alone or in batches.

A quick model is run where the request is, since handing it to a thread costs more than the model
does. Everything else waits for one thread that asks the model for all that waits at that moment:
one client never waits for a batch to fill, and many share one call.

Threads: `run` and `infer` belong to the event loop, the model to the batch thread and, while it is
quick, to the event loop; decoding and encoding of large bodies to helper threads. One lock guards
the queue, one the statistics; neither is held while anything else is called.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from guildlite.errors import GuildliteError
from guildlite.http import RequestError
from guildlite.serve.instances import Decoder, encode
from guildlite.serve.model import ModelFailed, ModelRefused, ModelRuntime, TensorSpec
from guildlite.serve.stats import Stats

if TYPE_CHECKING:
    from guildlite.serve.model import Array
    from guildlite.serve.openinference import InferRequest

    Instance = dict[str, Array]
    Outputs = dict[str, Array]

T = TypeVar("T")

#: Above this, parsing alone would hold up other requests: 1 ms for 64 KiB of numbers.
INLINE_BODY_BYTES = 32 * 1024
#: Values of an answer above which it is written in a helper thread.
INLINE_ANSWER_VALUES = 10_000
#: Rows the model sees at a time, which bounds the memory of what it computes.
MAX_BATCH = 64
#: The first calls of some runtimes are a hundred times slower than the rest.
WARM_UPS = 3
#: Requests answered sooner are not watched for clients that leave, which costs a task each.
WATCH_AFTER_S = 0.25
#: The status nobody sees, of a client that left; nginx made it known.
CLIENT_LEFT = 499


@dataclass(slots=True)
class Call:
    """What the model is asked at once for one request: arrays with their leading dimension.

    key: calls of equal keys may share a batch; None for one that must be alone. first: number of
    the request's first instance in it, for errors.
    """

    inputs: dict[str, Any]
    rows: int
    key: tuple[Any, ...] | None
    first: int = 0


class Engine:
    """Answers requests with one model.

    max_inflight: requests being answered or waiting, above which more get 503.
    timeout_s: after this long a request gets 504. A prediction under way cannot be interrupted
        and keeps its place until it is done; one that still waits is dropped.
    max_batch: rows of one call of the model, if it does not itself take fewer.
    """

    def __init__(
        self,
        runtime: ModelRuntime,
        *,
        max_inflight: int = 256,
        timeout_s: float = 30.0,
        max_batch: int = MAX_BATCH,
        helpers: int = 2,
    ) -> None:
        self.runtime = runtime
        self.info = runtime.info
        self.stats = Stats()
        self.max_batch = min(max_batch, self.info.max_batch or max_batch)
        self.timeout_s = timeout_s
        self._max_inflight = max_inflight
        self._inflight = 0
        self._lock = threading.Lock()
        #: What one instance's value looks like, by input name.
        self.shapes = {spec.name: _instance_shape(spec) for spec in self.info.inputs}
        self._leading = {spec.name for spec in self.info.inputs if counts_instances(spec)}
        #: Whether several instances may go through the model together; `warm_up` finds out.
        self._together = False
        self._fixed = all(-1 not in shape for shape in self.shapes.values())
        self._decoder = Decoder(self.info, self.shapes)
        self.helpers = _Helpers(helpers)
        self.batches = _Batches(self._call, self.max_batch)

    @property
    def inflight(self) -> int:
        """Requests being answered or waiting."""
        return self._inflight

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
        call = self._single(instance, 0)
        for _ in range(WARM_UPS):
            outputs = self._ask(call.inputs, 1)
        self.stats = Stats()
        self._ask(call.inputs, 1)
        self._together = self._go_together(instance, outputs)
        return self._row(outputs, None)

    def answer(self, body: bytes) -> bytes:
        """Return the answer to one request body; raises RequestError, 500 when the model failed."""
        calls = self._calls(self._decoder.decode(body))
        return self._encode(calls, self._predict(calls))

    async def run(self, body: bytes, left: Callable[[], Awaitable[object]] | None = None) -> bytes:
        """Return the answer to one request body without holding up the event loop.

        left: awaited meanwhile; once it returns the client is gone and its request dropped.
        """
        self._enter()
        if self._fixed and len(body) <= INLINE_BODY_BYTES and self.stats.is_quick():
            try:
                return self.answer(body)
            finally:
                self.leave()
        turn = _Turn(self, left)
        decode = lambda: self._calls(self._decoder.decode(body))  # noqa: E731
        calls = await turn.prepare(decode, len(body))
        outputs = await turn.predict(calls)
        values = sum(array.size for each in outputs for array in each.values() if _is_array(array))
        return await turn.finish(lambda: self._encode(calls, outputs), values)

    async def infer(
        self, request: InferRequest, left: Callable[[], Awaitable[object]] | None = None
    ) -> bytes:
        """Return the body of the answer to one Open Inference request, as `run` does."""
        self._enter()
        if self._fixed and request.weight <= INLINE_BODY_BYTES and self.stats.is_quick():
            try:
                calls = self._tensor_calls(request.decode())
                return self._encode_tensors(request, calls, self._predict(calls))
            finally:
                self.leave()
        turn = _Turn(self, left)
        calls = await turn.prepare(lambda: self._tensor_calls(request.decode()), request.weight)
        outputs = await turn.predict(calls)
        values = sum(array.size for each in outputs for array in each.values())
        return await turn.finish(lambda: self._encode_tensors(request, calls, outputs), values)

    def close(self) -> None:
        """Free the model; a prediction still under way is abandoned with its thread."""
        self.batches.close()
        self.helpers.close()
        self.runtime.close()

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

    def leave(self) -> None:
        """Give up the place of one request."""
        with self._lock:
            self._inflight -= 1

    # Requests to calls, and outputs to answers

    def _calls(self, instances: Sequence[Instance]) -> list[Call]:
        """Return the calls for some instances: together in pieces, or each alone."""
        import numpy as np

        if len(instances) == 1 or not self._together or not _same_shapes(instances):
            return [self._single(instance, at) for at, instance in enumerate(instances)]
        stacked = {name: np.stack([one[name] for one in instances]) for name in instances[0]}
        return self._pieces(stacked, len(instances), self.max_batch)

    def _single(self, instance: Instance, number: int) -> Call:
        inputs = {
            name: array[None] if name in self._leading else array
            for name, array in instance.items()
        }
        return Call(inputs, 1, self._key(inputs), number)

    def _pieces(self, inputs: dict[str, Any], rows: int, most: int) -> list[Call]:
        key = self._key(inputs)
        if rows <= most:
            return [Call(inputs, rows, key)]
        return [
            Call(
                {name: array[at : at + most] for name, array in inputs.items()},
                min(most, rows - at),
                key,
                at,
            )
            for at in range(0, rows, most)
        ]

    def _key(self, inputs: dict[str, Any]) -> tuple[Any, ...] | None:
        if not self._together:
            return None
        return () if self._fixed else tuple(array.shape[1:] for array in inputs.values())

    def _tensor_calls(self, inputs: dict[str, Array]) -> list[Call]:
        """Return the calls for whole tensors: split only where that changes no answer."""
        leading = {inputs[spec.name].shape[0] for spec in self.info.inputs if spec.shape[:1]}
        counted = all(spec.shape[:1] == (-1,) for spec in self.info.inputs)
        rows = leading.pop() if len(leading) == 1 and counted else 1
        if self._together:
            return self._pieces(inputs, rows, self.max_batch)
        if self.info.max_batch is not None and counted:
            return self._pieces(inputs, rows, self.info.max_batch)
        return [Call(inputs, rows, None)]

    def _encode(self, calls: Sequence[Call], outputs: Sequence[Outputs]) -> bytes:
        answers = []
        for call, given in zip(calls, outputs, strict=True):
            if call.rows == 1:
                answers.append(self._row(given, None))
            else:
                answers += [self._row(given, row) for row in range(call.rows)]
        self.stats.answered(len(answers))
        return encode(answers)

    def _row(self, outputs: Outputs, row: int | None) -> Instance:
        """Return one instance's part of some outputs; None for those of one instance alone."""
        if row is not None:
            return {name: array[row] for name, array in outputs.items()}
        if self.info.free or not self._leading:
            return outputs
        return {spec.name: _without_leading(outputs[spec.name], spec) for spec in self.info.outputs}

    def _encode_tensors(
        self, request: InferRequest, calls: Sequence[Call], outputs: Sequence[Outputs]
    ) -> bytes:
        import numpy as np

        whole = outputs[0]
        if len(outputs) > 1:
            whole = {name: np.concatenate([each[name] for each in outputs]) for name in whole}
        self.stats.answered(sum(call.rows for call in calls))
        return request.encode(whole)

    # The model

    def _predict(self, calls: Sequence[Call]) -> list[Outputs]:
        """Ask the model in this thread; raises RequestError with the index of a guilty instance."""
        results = [self._outcome(call) for call in calls]
        return _raise_first(results)

    def _outcome(self, call: Call) -> Outcome:
        """Return what the model says to one call; of a failed batch, which row was at fault."""
        try:
            return self._ask(call.inputs, call.rows)
        except (ModelRefused, ModelFailed) as error:
            if call.rows == 1 or call.key is None:
                return _with_index(error, call.first)
        outputs: list[Outputs] = []
        for row in range(call.rows):
            one = {name: array[row : row + 1] for name, array in call.inputs.items()}
            try:
                outputs.append(self._ask(one, 1))
            except (ModelRefused, ModelFailed) as error:
                return _with_index(error, call.first + row)
        return _concatenated(outputs)

    def _call(self, calls: Sequence[Call]) -> list[Outcome]:
        """Answer calls of one key: in one batch, and one by one when that fails."""
        if len(calls) == 1:
            return [self._outcome(calls[0])]
        import numpy as np

        names = calls[0].inputs
        batch = {name: np.concatenate([call.inputs[name] for call in calls]) for name in names}
        rows = sum(call.rows for call in calls)
        try:
            outputs = self._ask(batch, rows)
        except (ModelRefused, ModelFailed):
            return [self._outcome(call) for call in calls]
        results: list[Outcome] = []
        at = 0
        for call in calls:
            results.append({name: array[at : at + call.rows] for name, array in outputs.items()})
            at += call.rows
        return results

    def _ask(self, inputs: dict[str, Any], rows: int) -> Outputs:
        begin = time.perf_counter()
        try:
            outputs = self.runtime.predict(inputs)
        except ModelRefused:
            raise
        except Exception as error:
            raise ModelFailed("the model failed to predict") from error
        self.stats.predicted(time.perf_counter() - begin, rows)
        if rows > 1 and self._together:
            for array in outputs.values():
                if array.shape[:1] != (rows,):
                    raise ModelFailed("the model did not answer every instance of a batch")
        return outputs

    def _go_together(self, instance: Instance, alone: Outputs) -> bool:
        """Say whether rows may share a call, by trying: a signature may not tell.

        Two instances must give two answers, and the first the one that it got `alone`: a model
        that looks at the whole batch would answer one client by what another sent.
        """
        import numpy as np

        takes_many = all(spec.shape[:1] == (-1,) for spec in self.info.inputs)
        gives_many = all(spec.shape[:1] in ((), (-1,)) for spec in self.info.outputs)
        if self.info.max_batch == 1 or not (self.info.inputs and takes_many and gives_many):
            return False
        for other in (_neighbour(instance), instance):
            stacked = {name: np.stack([array, other[name]]) for name, array in instance.items()}
            try:
                outputs = self._ask(stacked, 2)
            except GuildliteError:
                continue  # the neighbour may be outside of what the model takes
            return all(
                array.shape[:1] == (2,)
                and alone[name].shape[:1] == (1,)
                and _close(np.asarray(array[0]), np.asarray(alone[name][0]))
                for name, array in outputs.items()
            )
        return False


# What the model said to a call: arrays, or the error of its request.
Outcome = Any


def _with_index(error: GuildliteError, number: int) -> RequestError:
    told = RequestError(error.message, status=error.http_status, index=[number])
    told.__cause__ = error.__cause__ or error
    return told


def _raise_first(results: list[Outcome]) -> list[Any]:
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def _concatenated(outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    import numpy as np

    return {name: np.concatenate([each[name] for each in outputs]) for name in outputs[0]}


# Waiting


class _Turn:
    """One request on its way through threads, from its deadline to the place that it gives up.

    The steps `prepare`, `predict` and `finish` raise RequestError: 504 when the time is up, 499
    when the client left. However it ends, the place in flight is given up once, and not before
    the model has let go of it.
    """

    def __init__(self, engine: Engine, left: Callable[[], Awaitable[object]] | None) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + engine.timeout_s
        self._left = left
        self._watch: asyncio.Future[object] | None = None
        #: What is awaited just now; a timer or the watch may end it.
        self._future: asyncio.Future[Any] = self._loop.create_future()
        self._given_up = False
        soon = min(self._loop.time() + WATCH_AFTER_S, self._deadline)
        self._timer = self._loop.call_at(soon, self._look)

    async def prepare(self, decode: Callable[[], T], weight: int) -> T:
        """Decode the request: here when it is small, else in a helper thread."""
        if weight > INLINE_BODY_BYTES:
            return await self._helped(decode)
        try:
            return decode()
        except BaseException:
            self._end()
            raise

    async def predict(self, calls: Sequence[Call]) -> list[Any]:
        """Wait for the model; what waits longer than it may is taken out of the queue."""
        self._future = self._loop.create_future()
        job = _Job(calls, self._loop, self._future)
        self._engine.batches.add(job)
        try:
            return _raise_first(await self._future)
        except BaseException:
            # Out of the queue at once; or, in the model's hands already, when it is done.
            if self._engine.batches.drop(job, self._end):
                self._end()
            raise

    async def finish(self, write: Callable[[], bytes], values: int) -> bytes:
        """Encode the answer and give up the place."""
        if values > INLINE_ANSWER_VALUES:
            answer = await self._helped(write)
        else:
            try:
                answer = write()
            except BaseException:
                self._end()
                raise
        self._end()
        return answer

    async def _helped(self, job: Callable[[], T]) -> T:
        self._future = future = self._loop.create_future()
        working = self._engine.helpers.submit(job)
        working.add_done_callback(lambda done: self._call(_copy_result, done, future))
        try:
            result: T = await future
            return result
        except BaseException:
            working.cancel()
            working.add_done_callback(lambda _: self._call(self._end))
            raise

    def _look(self) -> None:
        """Wait on with an eye on the client, or end: what is answered quickly needs neither."""
        if self._loop.time() >= self._deadline:
            limit = self._engine.timeout_s
            self._fail(f"the model took longer than {limit:g} seconds", 504)
            return
        self._timer = self._loop.call_at(self._deadline, self._look)
        if self._left is not None:
            self._watch = asyncio.ensure_future(self._left())
            self._watch.add_done_callback(self._gone)

    def _gone(self, watch: asyncio.Future[object]) -> None:
        if not watch.cancelled() and watch.exception() is None:
            self._fail("the client has left", CLIENT_LEFT)

    def _fail(self, message: str, status: int) -> None:
        if not self._future.done():
            self._future.set_exception(RequestError(message, status=status))

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call from a thread into the loop; one that is closed wants nothing more."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            pass

    def _end(self) -> None:
        if not self._given_up:
            self._given_up = True
            self._timer.cancel()
            if self._watch is not None:
                self._watch.cancel()
            self._engine.leave()


def _copy_result(done: Future[T], future: asyncio.Future[T]) -> None:
    if future.done() or done.cancelled():
        return
    error = done.exception()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())


@dataclass(eq=False, slots=True)
class _Job:
    """A request's calls in the queue; `future` gets an outcome for each once all are there."""

    calls: Sequence[Call]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[Outcome]]
    outcomes: list[Outcome] = field(default_factory=list)
    waiting: int = 0
    taken: bool = False
    dropped: bool = False
    ended: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self.outcomes = [None] * len(self.calls)
        self.waiting = len(self.calls)


def _deliver(jobs: Sequence[_Job], wake: Callable[[], None]) -> None:
    """Let the model go on, and hand over what its last batch completed; in the event loop."""
    wake()
    for job in jobs:
        if not job.future.done():
            job.future.set_result(job.outcomes)
        if job.ended:
            job.ended()


class _Batches:
    """One daemon thread that asks the model for everything that waits and goes together.

    It looks into the queue when the event loop lets it: after the requests that have arrived are
    in. Nobody is waited for, but a batch that began with the first of sixty would be one of six.

    Daemon, and no ThreadPoolExecutor: the interpreter would join that one's threads when it exits,
    so a model that hangs would keep the server from stopping.
    """

    def __init__(self, ask: Callable[[Sequence[Call]], list[Outcome]], max_batch: int) -> None:
        self._ask = ask
        self._max_batch = max_batch
        self._waiting: deque[tuple[_Job, int]] = deque()
        self._change = threading.Condition()
        self._closed = self._awake = False
        #: The loop that was asked to call `wake` when it comes to it.
        self._waking: asyncio.AbstractEventLoop | None = None
        threading.Thread(target=self._work, name="predict", daemon=True).start()

    def add(self, job: _Job) -> None:
        """Queue every call of `job`; in its event loop."""
        with self._change:
            self._waiting.extend((job, number) for number in range(len(job.calls)))
            if self._awake or self._waking is job.loop:
                return
            self._waking = job.loop
        job.loop.call_soon(self.wake)

    def wake(self) -> None:
        """Let the thread take what waits."""
        with self._change:
            self._waking = None
            self._awake = True
            self._change.notify()

    def drop(self, job: _Job, ended: Callable[[], None]) -> bool:
        """Take `job` out; True when the model has nothing of it, else `ended` is called later."""
        with self._change:
            job.dropped = True
            if job.taken and job.waiting:
                job.ended = ended
                return False
            if not job.taken:
                self._waiting = deque(unit for unit in self._waiting if unit[0] is not job)
            return True

    def close(self) -> None:
        """Let the thread end after the batch it has."""
        with self._change:
            self._closed = True
            self._change.notify()

    def _work(self) -> None:
        while units := self._take():
            try:
                outcomes = self._ask([job.calls[number] for job, number in units])
            except Exception as error:
                outcomes = [error] * len(units)
            done = [
                job
                for (job, number), outcome in zip(units, outcomes, strict=True)
                if self._note(job, number, outcome)
            ]
            self._hand_over(done)

    def _hand_over(self, done: Sequence[_Job]) -> None:
        """Tell the loop once for all of them; it lets the thread go on."""
        for loop in {job.loop for job in done}:
            mine = [job for job in done if job.loop is loop]
            try:
                with self._change:
                    self._awake = False
                loop.call_soon_threadsafe(_deliver, mine, self.wake)
            except RuntimeError:
                self.wake()  # that loop is closed: nobody waits any more

    def _take(self) -> list[tuple[_Job, int]]:
        """Wait for a call, then return it with all that may share its batch; empty at the end."""
        with self._change:
            while not (self._waiting and self._awake) and not self._closed:
                self._awake = self._awake and bool(self._waiting)
                self._change.wait()
            if self._closed:
                return []
            units = [self._waiting.popleft()]
            first = units[0][0].calls[units[0][1]]
            rows = first.rows
            others: list[tuple[_Job, int]] = []
            while self._waiting and first.key is not None and rows < self._max_batch:
                unit = self._waiting.popleft()
                call = unit[0].calls[unit[1]]
                if call.key == first.key and rows + call.rows <= self._max_batch:
                    units.append(unit)
                    rows += call.rows
                else:
                    others.append(unit)
            self._waiting.extendleft(reversed(others))
            for job, _ in units:
                job.taken = True
            return units

    def _note(self, job: _Job, number: int, outcome: Outcome) -> bool:
        """Keep one outcome; True when it was the job's last."""
        with self._change:
            job.outcomes[number] = outcome
            job.waiting -= 1
            if job.waiting and (isinstance(outcome, Exception) or job.dropped):
                # Nobody wants the rest of it.
                rest = [unit for unit in self._waiting if unit[0] is job]
                self._waiting = deque(unit for unit in self._waiting if unit[0] is not job)
                job.waiting -= len(rest)
            return job.waiting == 0


class _Helpers:
    """A few daemon threads over one queue, for what is too large to decode in the event loop."""

    def __init__(self, count: int) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._count = count
        for number in range(count):
            threading.Thread(target=self._work, name=f"decode-{number}", daemon=True).start()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Run `job` when a thread is free; a future cancelled before that is skipped."""
        future: Future[T] = Future()
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


# Shapes


def counts_instances(spec: TensorSpec) -> bool:
    """Say whether the first dimension is free, or is 1 in front of others."""
    return spec.shape[:1] == (-1,) or (spec.shape[:1] == (1,) and len(spec.shape) > 1)


def _instance_shape(spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape of one instance's value."""
    return spec.shape[1:] if counts_instances(spec) else spec.shape


def _without_leading(array: Array, spec: TensorSpec) -> Array:
    """Undo the leading 1 that a single instance went in with, where the output has it too."""
    if spec.shape[:1] in ((), (-1,), (1,)) and array.shape[:1] == (1,):
        row: Array = array[0]
        return row
    return array


def _same_shapes(instances: Sequence[Instance]) -> bool:
    first = {name: array.shape for name, array in instances[0].items()}
    return all(array.shape == first[name] for one in instances[1:] for name, array in one.items())


def _neighbour(instance: Instance) -> Instance:
    """Return an instance of the same shape with other numbers."""
    return {
        name: array if array.dtype.kind in "bO" else array + array.dtype.type(1)
        for name, array in instance.items()
    }


def _close(one: Array, other: Array) -> bool:
    """Say whether two answers are the same but for the order in which sums were taken."""
    import numpy as np

    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool((one == other).all())
    return bool(np.allclose(one, other, rtol=1e-2, atol=1e-4, equal_nan=True))


def _is_array(value: object) -> bool:
    return hasattr(value, "size") and hasattr(value, "dtype")
