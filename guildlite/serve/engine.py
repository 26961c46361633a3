"""Takes turns at the model: within limits of time and number, alone or in batches.

A quick model is run where the request is, since handing it to a thread costs more than the model
does. Everything else waits for one thread that asks the model for all that waits at that moment:
one client never waits for a batch to fill, and many share one call.

Threads: `run` and `infer` belong to the event loop, the model to the batch thread and, while it is
quick, to the event loop; decoding and encoding of large bodies to helper threads.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from guildlite.errors import GuildliteError
from guildlite.http import RequestError
from guildlite.serve.batching import Batches, Call, Helpers, Outcome
from guildlite.serve.instances import Decoder, encode
from guildlite.serve.limits import Limits
from guildlite.serve.model import ModelFailed, ModelRefused, ModelRuntime
from guildlite.serve.shapes import (
    close,
    counts_instances,
    instance_shape,
    is_array,
    neighbour,
    same_shapes,
    without_leading,
)
from guildlite.serve.stats import Stats
from guildlite.serve.turn import INLINE_BODY_BYTES, Places, Turn, raise_first

if TYPE_CHECKING:
    from guildlite.serve.model import Array
    from guildlite.serve.openinference import InferRequest

    Instance = dict[str, Array]
    Outputs = dict[str, Array]

#: The first calls of some runtimes are a hundred times slower than the rest.
WARM_UPS = 3


class Engine:
    """Answers requests with one model.

    helpers: threads for bodies that are too large for the event loop.
    """

    def __init__(
        self, runtime: ModelRuntime, limits: Limits | None = None, *, helpers: int = 2
    ) -> None:
        limits = limits or Limits()
        self.runtime = runtime
        self.info = runtime.info
        self.stats = Stats()
        self.max_batch = min(limits.max_batch, self.info.max_batch or limits.max_batch)
        self._timeout_s = limits.timeout_s
        self._places = Places(limits.max_inflight)
        #: What one instance's value looks like, by input name.
        self.shapes = {spec.name: instance_shape(spec) for spec in self.info.inputs}
        self._leading = {spec.name for spec in self.info.inputs if counts_instances(spec)}
        #: Whether several instances may go through the model together; `warm_up` finds out.
        self._together = False
        self._fixed = all(-1 not in shape for shape in self.shapes.values())
        self._decoder = Decoder(self.info, self.shapes)
        self._helpers = Helpers(helpers)
        self._batches = Batches(self._call, self.max_batch)

    @property
    def inflight(self) -> int:
        """Requests being answered or waiting."""
        return self._places.taken

    @property
    def stopping(self) -> bool:
        """Whether no more requests are taken."""
        return self._places.closed

    def drain(self) -> bool:
        """Take no more requests; True once those that were taken are answered."""
        self._places.closed = True
        return self._places.taken == 0

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
        self._places.enter()
        if self._fixed and len(body) <= INLINE_BODY_BYTES and self.stats.is_quick():
            try:
                return self.answer(body)
            finally:
                self._places.leave()
        turn = self._turn(left)
        decode = lambda: self._calls(self._decoder.decode(body))  # noqa: E731
        calls = await turn.prepare(decode, len(body))
        outputs = await turn.predict(calls)
        values = sum(array.size for each in outputs for array in each.values() if is_array(array))
        return await turn.finish(lambda: self._encode(calls, outputs), values)

    async def infer(
        self, request: InferRequest, left: Callable[[], Awaitable[object]] | None = None
    ) -> bytes:
        """Return the body of the answer to one Open Inference request, as `run` does."""
        self._places.enter()
        if self._fixed and request.weight <= INLINE_BODY_BYTES and self.stats.is_quick():
            try:
                calls = self._tensor_calls(request.decode())
                return self._encode_tensors(request, calls, self._predict(calls))
            finally:
                self._places.leave()
        turn = self._turn(left)
        calls = await turn.prepare(lambda: self._tensor_calls(request.decode()), request.weight)
        outputs = await turn.predict(calls)
        values = sum(array.size for each in outputs for array in each.values())
        return await turn.finish(lambda: self._encode_tensors(request, calls, outputs), values)

    def close(self) -> None:
        """Free the model; a prediction still under way is abandoned with its thread."""
        self._batches.close()
        self._helpers.close()
        self.runtime.close()

    def _turn(self, left: Callable[[], Awaitable[object]] | None) -> Turn:
        return Turn(
            self._places, self._batches, self._helpers, timeout_s=self._timeout_s, left=left
        )

    # Requests to calls, and outputs to answers

    def _calls(self, instances: Sequence[Instance]) -> list[Call]:
        """Return the calls for some instances: together in pieces, or each alone."""
        import numpy as np

        if len(instances) == 1 or not self._together or not same_shapes(instances):
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
        return {spec.name: without_leading(outputs[spec.name], spec) for spec in self.info.outputs}

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
        return raise_first(results)

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
        for other in (neighbour(instance), instance):
            stacked = {name: np.stack([array, other[name]]) for name, array in instance.items()}
            try:
                outputs = self._ask(stacked, 2)
            except GuildliteError:
                continue  # the neighbour may be outside of what the model takes
            return all(
                array.shape[:1] == (2,)
                and alone[name].shape[:1] == (1,)
                and close(np.asarray(array[0]), np.asarray(alone[name][0]))
                for name, array in outputs.items()
            )
        return False


def _with_index(error: GuildliteError, number: int) -> RequestError:
    told = RequestError(error.message, status=error.http_status, index=[number])
    told.__cause__ = error.__cause__ or error
    return told


def _concatenated(outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    import numpy as np

    return {name: np.concatenate([each[name] for each in outputs]) for name in outputs[0]}
