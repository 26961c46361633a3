"""Real servers to send requests to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guildlite import http

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def running(app: http.Application, port: int = 0, **limits: Any) -> Iterator[int]:
    """Serve `app` from a thread on a loopback port, by default a free one; gives the port."""
    server = http.HttpServer(app, http.listen("127.0.0.1", port), **{"grace_s": 2, **limits})
    ready = threading.Event()
    thread = threading.Thread(target=server.run, args=(ready.set,), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield server.port
    finally:
        server.stop()
        thread.join(30)


_SERVE = """
import json, sys
from pathlib import Path
from guildlite.errors import GuildliteError
from guildlite.serve import Source, serve_run
options = json.loads(sys.argv[2])
own = {"name", "file", "predictor", "trust", "uid", "served_as"} & set(options)
source = Source(Path(sys.argv[1]), **{key: options.pop(key) for key in own})
try:
    sys.exit(serve_run(source, out=lambda line: print(line, file=sys.stderr, flush=True),
                       **options))
except GuildliteError as error:
    sys.exit(f"error: {error.message}\\nhint: {error.hint}")
"""


def start_serve(run_dir: Path, options: str) -> subprocess.Popen[str]:
    """Start `serve_run` as a process of its own; `options` is a JSON object."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _SERVE, os.fspath(run_dir), options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
