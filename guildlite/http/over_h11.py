"""HTTP/1.1 read by h11, which every installation has."""

from __future__ import annotations

from typing import Any

import h11
from uvicorn.protocols.http import h11_impl

from guildlite.http.limits import BODY, HEAD, JoinedWrites, Limits


class H11Protocol(Limits, h11_impl.H11Protocol):
    """uvicorn's protocol over h11, with limits of time."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
        self.admit()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self.unwatch()
        super().connection_lost(exc)

    def owes(self) -> str | None:
        state = self.conn.their_state
        return HEAD if state is h11.IDLE else BODY if state is h11.SEND_BODY else None

    def may_refuse(self) -> bool:
        state = self.conn.their_state
        if self.cycle is not None and not self.cycle.response_complete:
            return not self.cycle.response_started
        if state is h11.SEND_BODY:
            return False
        return state is not h11.IDLE or bool(self.conn.trailing_data[0])
