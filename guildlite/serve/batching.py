"""One thread that asks the model for all that waits at that moment, and a few for large bodies.

Threads: calls are added in an event loop and answered in the batch thread, which hands the
outcomes back to that loop. One lock guards the queue; nothing else is called while it is held.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

# What the model said to a call: arrays, or the error of its request.
Outcome = Any


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


@dataclass(eq=False, slots=True)
class Job:
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


def _deliver(jobs: Sequence[Job], wake: Callable[[], None]) -> None:
    """Let the model go on, and hand over what its last batch completed; in the event loop."""
    wake()
    for job in jobs:
        if not job.future.done():
            job.future.set_result(job.outcomes)
        if job.ended:
            job.ended()


class Batches:
    """One daemon thread that asks the model for everything that waits and goes together.

    It looks into the queue when the event loop lets it: after the requests that have arrived are
    in. Nobody is waited for, but a batch that began with the first of sixty would be one of six.

    Daemon, and no ThreadPoolExecutor: the interpreter would join that one's threads when it exits,
    so a model that hangs would keep the server from stopping.
    """

    def __init__(self, ask: Callable[[Sequence[Call]], list[Outcome]], max_batch: int) -> None:
        self._ask = ask
        self._max_batch = max_batch
        self._waiting: deque[tuple[Job, int]] = deque()
        self._change = threading.Condition()
        self._closed = self._awake = False
        #: The loop that was asked to call `wake` when it comes to it.
        self._waking: asyncio.AbstractEventLoop | None = None
        threading.Thread(target=self._work, name="predict", daemon=True).start()

    def add(self, job: Job) -> None:
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

    def drop(self, job: Job, ended: Callable[[], None]) -> bool:
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

    def _hand_over(self, done: Sequence[Job]) -> None:
        """Tell the loop once for all of them; it lets the thread go on."""
        for loop in {job.loop for job in done}:
            mine = [job for job in done if job.loop is loop]
            try:
                with self._change:
                    self._awake = False
                loop.call_soon_threadsafe(_deliver, mine, self.wake)
            except RuntimeError:
                self.wake()  # that loop is closed: nobody waits any more

    def _take(self) -> list[tuple[Job, int]]:
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
            others: list[tuple[Job, int]] = []
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

    def _note(self, job: Job, number: int, outcome: Outcome) -> bool:
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


class Helpers:
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
