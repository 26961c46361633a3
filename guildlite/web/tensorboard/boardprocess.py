"""TensorBoard's own process, executed as a file: `python boardprocess.py LOGDIR`.

Standard input brings one line of JSON, `{"secret", "fd"}`: what must not be in an argument, which
every user of the machine can read, and the listening socket to serve on. Then it stays open for as
long as whoever started this lives. Its end, however that came about, ends this process.

It answers only requests that carry the secret: a port on loopback is open to everybody. When it
can answer it prints the line READY.

Nothing of guildlite is imported here, and nothing of TensorBoard anywhere else.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

READY = "guildlite: TensorBoard answers"
#: The request header with the secret.
HEADER = "X-Guildlite-Board"
#: Exit statuses.
UNIMPORTABLE, READER_DIED = 3, 4
LONGEST_WARM_UP_S = 3.0

_Wsgi = Any


def main(logdir: str) -> None:
    import json
    import os
    import threading

    words = json.loads(sys.stdin.buffer.readline())
    # From here on even an import that hangs ends with the viewer.
    threading.Thread(target=_end_with_owner, daemon=True).start()
    # TensorBoard's own switch for doing without TensorFlow, which would take seconds to import and
    # whose reader ends the process at some damaged files.
    sys.modules["tensorboard.compat.notf"] = ModuleType("tensorboard.compat.notf")
    try:
        from tensorboard import program
    except Exception as error:
        # Also what a broken installation raises besides ImportError.
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(UNIMPORTABLE)

    apps: list[_Wsgi] = []
    board = program.TensorBoard(server_class=_server_class(words["fd"], words["secret"], apps))
    # Several event files in one directory are several stretches of one run, as after a resumption.
    board.configure(
        ["tensorboard", "--logdir", logdir, "--load_fast", "auto", "--reload_multifile", "true"]
    )
    # `main` would add the process to a list in the temporary directory that others read.
    board.launch()
    _watch_reader()
    _warm_up(apps[0])
    print(READY, file=sys.stderr, flush=True)
    threading.Event().wait()


def _end_with_owner() -> None:
    import os

    sys.stdin.buffer.read()
    # TensorBoard's data server ends in the same way: its standard input is a pipe from here.
    os._exit(0)


def _watch_reader() -> None:
    """End when TensorBoard's data server does, without which every answer would be an error."""
    import os
    import threading

    def wait() -> None:
        try:
            # Seen, not collected: it is TensorBoard's child to wait for.
            end = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            return  # TensorBoard reads by itself
        status = end.si_status if end is not None else 0
        print(f"the data server ended with {status}", file=sys.stderr, flush=True)
        os._exit(READER_DIED)

    if hasattr(os, "waitid"):
        threading.Thread(target=wait, daemon=True).start()


def _warm_up(app: _Wsgi) -> None:
    """Wait a moment for the first runs, and let TensorBoard find out which of its pages to offer.

    Otherwise the first page says that there is no data, and has embeddings among what is inactive.
    """
    import time

    from werkzeug.test import Client

    client = Client(app)
    deadline = time.monotonic() + LONGEST_WARM_UP_S
    try:
        while client.get("/data/runs").json == [] and time.monotonic() < deadline:
            time.sleep(0.05)
        client.get("/data/plugins_listing")
    except Exception as error:
        # The page will meet the same and say so.
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)


def _server_class(descriptor: int, secret: str, apps: list[_Wsgi]) -> type:
    """Return a server for TensorBoard that serves on a socket already listening.

    What it serves is added to `apps`, as it is before the secret is asked for.
    """
    from werkzeug.serving import WSGIRequestHandler, make_server

    class QuietHandler(WSGIRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Log nothing: the log is for what goes wrong."""

    class Server:
        def __init__(self, wsgi_app: _Wsgi, flags: object) -> None:
            apps.append(wsgi_app)
            self._server = make_server(
                "127.0.0.1",
                0,
                _guarded(wsgi_app, secret),
                threaded=True,
                request_handler=QuietHandler,
                fd=descriptor,
            )

        def serve_forever(self) -> None:
            self._server.serve_forever()

        def get_url(self) -> str:
            return ""

    return Server


def _guarded(app: _Wsgi, secret: str) -> _Wsgi:
    """Return the WSGI application that answers only who knows the secret."""
    import hmac

    key = "HTTP_" + HEADER.upper().replace("-", "_")

    def guarded(environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
        given = environ.pop(key, "")
        if not hmac.compare_digest(given.encode(), secret.encode()):
            start("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"this TensorBoard belongs to a viewer\n"]
        answer: Iterable[bytes] = app(environ, start)
        return answer

    return guarded


if __name__ == "__main__":
    # The script's own folder has modules named as the standard library's.
    del sys.path[0]
    main(sys.argv[1])
