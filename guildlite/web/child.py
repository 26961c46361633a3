"""A server as a process of the viewer's: started when asked for, again when it died, never left.

The process serves on a socket made here, so its port is known before it runs and is nobody else's.
It holds the reading end of a pipe from us: when we are gone, killed or not, it reads the end of the
pipe and goes too. A signal on the parent's death would not do: Linux sends that when the starting
thread ends, and other systems have none.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from typing import NamedTuple

from guildlite.platform import WINDOWS, signal_name

#: A process that lived so long did not die of how it was started.
SOUND_AFTER_S = 30.0
LONGEST_WAIT_S = 60.0
#: Lines of what the process said that are shown when it died.
_LAST_LINES = 20
_LONGEST_LINE = 300
_STOP_S = 2.0
#: What the viewer's own environment holds and its servers are not to know.
_PRIVATE_VARIABLES = ("GL_TOKEN",)


class Trouble(NamedTuple):
    """Why there is no server now; `retry_s` seconds until another is started, if ever."""

    message: str
    hint: str | None = None
    lines: tuple[str, ...] = ()
    retry_s: float | None = None


class Child(ABC):
    """One server, called `name`, started in `folder`. Any thread may call any method.

    It runs from the first `ensure` to `stop`; if it dies between them, the next `ensure` starts
    another, at once the first time, then after 2, 4 ... 60 s. Its standard input brings one line of
    JSON, `{"secret", "fd"}` and what `words` adds, and then stays open for as long as we live. On
    standard error it prints the line `ready_line` once it can answer.
    """

    def __init__(self, name: str, folder: Path, *, ready_line: str) -> None:
        self._name = name
        self._folder = folder
        self._ready_line = ready_line
        self.secret = secrets.token_urlsafe(32)
        self.port = 0
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None
        self._ready = threading.Event()
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        self._started_at = self._retry_at = 0.0
        self._failures = 0
        self._trouble: Trouble | None = None

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self._ready.is_set() and self._is_alive()

    @property
    def trouble(self) -> Trouble | None:
        """Why none is running; None while one starts or runs."""
        trouble = self._trouble
        if trouble is None or trouble.retry_s is None:
            return trouble
        return trouble._replace(retry_s=max(0.0, self._retry_at - time.monotonic()))

    def ensure(self) -> None:
        """Start it if none is running and it is time to try."""
        with self._lock:
            if self._is_alive():
                return
            if self._process is not None:
                self._note_end(self._process)
            if self._trouble is None or time.monotonic() >= self._retry_at:
                self._start()

    def stop(self) -> None:
        """End it, within seconds whatever it does; `ensure` would start another."""
        with self._lock:
            if self._process is not None:
                self._end(self._process)
                self._process = None

    # What subclasses say

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command to execute."""

    def words(self) -> dict[str, object]:
        """Return what the process is told besides the secret and its socket."""
        return {}

    def missing(self) -> Trouble | None:
        """Return why nothing can be started here."""
        return None

    def explain(self, status: int, lines: tuple[str, ...]) -> Trouble:
        """Say why a process died with this exit status after these last lines.

        With `retry_s` 0 another is worth trying at once.
        """
        if status < 0:
            message = f"{self._name} was ended by {signal_name(-status)}"
        else:
            message = f"{self._name} ended with exit status {status}"
        return Trouble(message, None, lines, 0.0)

    # The process

    def _is_alive(self) -> bool:
        process = self._process
        return process is not None and process.poll() is None

    def _start(self) -> None:
        if WINDOWS:
            self._trouble = Trouble(f"{self._name} is started on Linux and macOS only")
            return
        missing = self.missing()
        if missing is not None:
            self._trouble = missing
            return
        self._ready.clear()
        self._said.clear()
        self._trouble = None
        self._started_at = time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.bind(("127.0.0.1", 0))
            # Listening before it can accept: whoever comes early waits instead of being refused.
            sock.listen(64)
            self.port = int(sock.getsockname()[1])
            words = json.dumps({**self.words(), "secret": self.secret, "fd": sock.fileno()})
            try:
                process = self._process = self._spawn(sock)
            except OSError as error:
                message = f"{self._name} cannot be started: {error.strerror or error}"
                self._note_failure(Trouble(message, retry_s=0.0))
                return
        assert process.stdin is not None
        try:
            process.stdin.write(words.encode() + b"\n")
            process.stdin.flush()
        except OSError:
            pass  # dead already; the next look says why
        self._listener = threading.Thread(target=self._listen, args=(process,), daemon=True)
        self._listener.start()

    def _spawn(self, sock: socket.socket) -> subprocess.Popen[bytes]:
        environment = {
            name: value for name, value in os.environ.items() if name not in _PRIVATE_VARIABLES
        }
        return subprocess.Popen(
            self.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self._folder,
            env=environment,
            pass_fds=[sock.fileno()],
            # Ctrl-C in the terminal is for the viewer, which then ends this in its own time.
            start_new_session=True,
        )

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Keep the last lines that the process says, and learn when it answers."""
        assert process.stderr is not None
        with process.stderr as stream:
            for line in stream:
                text = line.decode("utf-8", "replace").rstrip()
                if text == self._ready_line:
                    self._ready.set()
                elif text:
                    self._said.append(text[:_LONGEST_LINE])

    def _note_end(self, process: subprocess.Popen[bytes]) -> None:
        """Say why a process died that was not stopped, and when to start another."""
        self._end(process)
        self._process = None
        if self._ready.is_set() and time.monotonic() - self._started_at >= SOUND_AFTER_S:
            self._failures = 0
        self._note_failure(self.explain(process.returncode, tuple(self._said)))

    def _note_failure(self, trouble: Trouble) -> None:
        self._failures += 1
        # What will not change by itself is not tried again before somebody could read of it.
        power = self._failures - (1 if trouble.retry_s is not None else 0)
        wait_s = min(2.0**power, LONGEST_WAIT_S) if power else 0.0
        self._retry_at = time.monotonic() + wait_s
        self._trouble = trouble if trouble.retry_s is None else trouble._replace(retry_s=wait_s)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End a process, if it has not ended, and collect what is left of it."""
        assert process.stdin is not None
        try:
            process.stdin.close()
        except OSError:
            pass  # it was dead before it read its first words
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._listener is not None:
            self._listener.join(_STOP_S)
