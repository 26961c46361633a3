"""A program on a real terminal: a pty whose output is kept, with the test's keys and size."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>()][0-9AB]?)")


def plain(text: str) -> str:
    """Return text without the sequences that move a cursor or set a colour."""
    return _SEQUENCE.sub("", text)


def screen(text: str) -> list[str]:
    """Return the lines of a screen after a program that places every line has written `text`."""
    lines: dict[int, str] = {}
    row, place = 1, 0
    for match in _SEQUENCE.finditer(text):
        lines[row] = lines.get(row, "") + text[place : match.start()]
        place, sequence = match.end(), match[0]
        if sequence.endswith("H"):
            row = int(sequence[2:].partition(";")[0] or 1)
            lines[row] = ""
        elif sequence.endswith("J"):
            lines.clear()
    last = max((row for row, line in lines.items() if plain(line).strip()), default=0)
    return [lines.get(each, "").rstrip() for each in range(1, last + 1)]


class Terminal:
    """A process in a session of its own with this as its terminal; killed when the `with` ends."""

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str], columns: int = 80, lines: int = 24
    ) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            try:
                # A shell that runs the tests in the background ignores these, which is inherited.
                for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
                    signal.signal(number, signal.SIG_DFL)
                _set_size(0, columns, lines)
                os.execvpe(argv[0], [*argv], dict(env))
            finally:
                os._exit(127)
        self.output = ""
        self._status: int | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the window; the kernel tells the process."""
        _set_size(self._fd, columns, lines)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._fd, text.encode())

    def read(self, seconds: float = 0.1) -> str:
        """Return what came within `seconds`, at most; it is also added to `output`."""
        ready = select.select([self._fd], [], [], seconds)[0]
        if not ready:
            return ""
        try:
            text = os.read(self._fd, 65536).decode("utf-8", "replace")
        except OSError:  # the other end is closed
            time.sleep(0.01)
            return ""
        self.output += text
        return text

    def until(self, met: Callable[[str], object], seconds: float = 30) -> str:
        """Read until `met` is true of all output so far, and return it; fails after `seconds`."""
        deadline = time.monotonic() + seconds
        while not met(self.output):
            assert time.monotonic() < deadline, f"not met by {self.output[-3000:]!r}"
            self.read()
        return self.output

    def settled(self, seconds: float = 0.5) -> str:
        """Read until nothing has come for `seconds`, and return all output."""
        while self.read(seconds):
            pass
        return self.output

    def wait(self, seconds: float = 30) -> int:
        """Return the exit status, -N for a signal, once the process has ended; reads the rest."""
        deadline = time.monotonic() + seconds
        while self._status is None:
            assert time.monotonic() < deadline, f"goes on: {self.output[-3000:]!r}"
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        while self.read(0.1):
            pass
        return self._status

    def shows_keys(self) -> bool:
        """Return whether the terminal echoes what is typed, as a shell finds it."""
        return bool(termios.tcgetattr(self._fd)[3] & termios.ECHO)


def _set_size(fd: int, columns: int, lines: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
