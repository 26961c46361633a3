"""Which viewers are running, so that a second `gl view` of a project finds the first one.

One small file for each project directory in the user's cache, readable by its owner alone since it
holds the secret. It is believed only while the very process that wrote it is alive and answers
as the viewer of that directory; it may be deleted at any time.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from guildlite.cache import CacheFile
from guildlite.platform import ProcessIdentity

#: Environment variable with the secret scripts use; without it each start makes its own.
TOKEN_VARIABLE = "GL_TOKEN"

_TIMEOUT_S = 2.0
_MOST_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Running:
    """A viewer that is running. `connect_host` is where this machine reaches it."""

    directory: str
    url: str
    connect_host: str
    port: int
    secret: str
    process: ProcessIdentity

    def request_code(self) -> str | None:
        """Return a new one-time code, None when nobody or somebody else answers."""
        health = self._ask("GET", "/api/v1/health")
        if health.get("directory") != self.directory:
            return None
        code = self._ask("POST", "/api/v1/code").get("code")
        return code if isinstance(code, str) else None

    def _ask(self, method: str, path: str) -> dict[str, object]:
        connection = HTTPConnection(self.connect_host, self.port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path, headers={"Authorization": f"Bearer {self.secret}"})
            answer = connection.getresponse()
            body = answer.read(_MOST_BYTES)
            data = json.loads(body) if answer.status == 200 else None
        except (OSError, HTTPException, ValueError):
            return {}
        finally:
            connection.close()
        return data if isinstance(data, dict) else {}


def find_running(directory: Path) -> Running | None:
    """Return the viewer of `directory` whose process is alive, or None."""
    data = _state_file(directory).read()
    try:
        process = ProcessIdentity.from_json(data["process"])
        if process is None or not process.alive():
            return None
        return Running(
            directory=str(directory),
            url=str(data["url"]),
            connect_host=str(data["connect_host"]),
            port=int(data["port"]),
            secret=str(data["secret"]),
            process=process,
        )
    except (KeyError, TypeError, ValueError):
        return None


def write_running(running: Running) -> None:
    """Say that this viewer is running; quietly without a cache to write to."""
    body = {
        "url": running.url,
        "connect_host": running.connect_host,
        "port": running.port,
        "secret": running.secret,
        "process": running.process.to_json(),
    }
    _state_file(Path(running.directory)).write(body)


def forget_running(directory: Path) -> None:
    """Remove the file, if it is ours."""
    running = find_running(directory)
    if running is not None and running.process.pid == os.getpid():
        _state_file(directory).remove()


def _state_file(directory: Path) -> CacheFile:
    return CacheFile("viewers", str(directory))
