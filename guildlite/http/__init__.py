"""What both servers share: the guard before everything, one shape for errors, starting uvicorn.

`Guard` is plain ASGI and outermost; `Tokens` holds the secret of one start.
`install_error_handlers` makes every error `{"error": message, "hint": ..., ...}`. `HttpServer`
binds, serves and stops cleanly.
"""

from __future__ import annotations

from guildlite.http.asgi import LOOPBACK, WILDCARD, Application, Message, Receive, Scope, Send
from guildlite.http.errors import RequestError, envelope, install_error_handlers, json_kind
from guildlite.http.guard import CSP, Guard, Tokens, new_token
from guildlite.http.server import HttpServer, base_url, listen, run_server

__all__ = [
    "CSP",
    "LOOPBACK",
    "WILDCARD",
    "Application",
    "Guard",
    "HttpServer",
    "Message",
    "Receive",
    "RequestError",
    "Scope",
    "Send",
    "Tokens",
    "base_url",
    "envelope",
    "install_error_handlers",
    "json_kind",
    "listen",
    "new_token",
    "run_server",
]
