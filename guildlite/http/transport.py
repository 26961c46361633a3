"""uvicorn's server with what it lacks: a stop without a word; and the choice of a protocol.

Imported when a server is made: uvicorn takes longer to load than most commands run.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

from guildlite.http.limits import Limits, with_limits

#: How long a server that stops waits for open connections to ask once more.
LINGER_S = 0.3


class Server(uvicorn.Server):
    """uvicorn's server; `ended_by` is the first signal that came, 0 without one."""

    on_ready: Callable[[], None] | None = None
    drain: Callable[[], bool] | None = None
    ended_by = 0

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.on_ready and not self.should_exit:
            self.on_ready()

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        # Streams that outlive the grace are cancelled, which is meant and needs no traceback.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        if self.drain is not None:
            await self._drain(self.drain)
        await super().shutdown(sockets=sockets)

    async def _drain(self, drained: Callable[[], bool]) -> None:
        """Go on accepting until what was asked is answered, and everyone else was told to go.

        A connection that is closed while its next request is on the way is an error to its client;
        one that was told so with an answer is not.
        """
        begin = time.monotonic()
        while not drained() or (
            self.server_state.connections and time.monotonic() - begin < LINGER_S
        ):
            grace_s = self.config.timeout_graceful_shutdown or 0
            if self.force_exit or time.monotonic() - begin > grace_s:
                return
            await asyncio.sleep(0.02)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # uvicorn raises the signal again after a clean stop; the exit status is our caller's.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.ended_by = self.ended_by or sig
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True


def limited_protocol(
    header_timeout_s: float, request_timeout_s: float, most_connections: int
) -> Any:
    """Return the protocol with these limits; uvicorn makes its instances itself.

    httptools reads a request in a third of the time, and is used where it is installed.
    """
    return with_limits(_protocol(), header_timeout_s, request_timeout_s, most_connections)


def _protocol() -> type[Limits]:
    try:
        from guildlite.http.over_httptools import HttptoolsProtocol
    except ImportError:
        from guildlite.http.over_h11 import H11Protocol

        return H11Protocol
    return HttptoolsProtocol
