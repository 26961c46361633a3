"""The way of one request to the model: a place, a deadline, and an eye on the client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from guildlite.http import RequestError
from guildlite.serve.batching import Batches, Call, Helpers, Job, Outcome

T = TypeVar("T")

#: Above this, parsing alone would hold up other requests: 1 ms for 64 KiB of numbers.
INLINE_BODY_BYTES = 32 * 1024
#: Values of an answer above which it is written in a helper thread.
INLINE_ANSWER_VALUES = 10_000
#: Requests answered sooner are not watched for clients that leave, which costs a task each.
WATCH_AFTER_S = 0.25
#: The status nobody sees, of a client that left; nginx made it known.
CLIENT_LEFT = 499


class Places:
    """Who may ask: so many at a time, and nobody any more once the server is stopping."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._lock = threading.Lock()
        #: Whether the server is on its way out.
        self.closed = False

    @property
    def taken(self) -> int:
        """Requests being answered or waiting."""
        return self._taken

    def enter(self) -> None:
        """Take a place; raises RequestError, 503, when there is none."""
        if self.closed:
            raise RequestError("the server is stopping", status=503)
        with self._lock:
            if self._taken >= self._most:
                raise RequestError(
                    "the server has too many requests to answer",
                    status=503,
                    hint="try again in a second",
                    headers={"retry-after": "1"},
                )
            self._taken += 1

    def leave(self) -> None:
        """Give up the place of one request."""
        with self._lock:
            self._taken -= 1


def raise_first(results: list[Outcome]) -> list[Any]:
    """Return the results; raises the first that is an error."""
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


class Turn:
    """One request on its way through threads, from its deadline to the place that it gives up.

    left: awaited meanwhile; once it returns the client is gone.

    The steps `prepare`, `predict` and `finish` raise RequestError: 504 when the time is up, 499
    when the client left. However it ends, the place in flight is given up once, and not before
    the model has let go of it.
    """

    def __init__(
        self,
        places: Places,
        batches: Batches,
        helpers: Helpers,
        *,
        timeout_s: float,
        left: Callable[[], Awaitable[object]] | None,
    ) -> None:
        self._places, self._batches, self._helpers = places, batches, helpers
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + timeout_s
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
        job = Job(calls, self._loop, self._future)
        self._batches.add(job)
        try:
            return raise_first(await self._future)
        except BaseException:
            # Out of the queue at once; or, in the model's hands already, when it is done.
            if self._batches.drop(job, self._end):
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
        working = self._helpers.submit(job)
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
            self._fail(f"the model took longer than {self._timeout_s:g} seconds", 504)
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
            self._places.leave()


def _copy_result(done: Future[T], future: asyncio.Future[T]) -> None:
    if future.done() or done.cancelled():
        return
    error = done.exception()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())
