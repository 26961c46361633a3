"""A terminal of which the whole screen is redrawn in place: for what is watched rather than read.

Plain ANSI, without curses: the alternate screen, the cursor hidden, each line written over the one
before. The terminal is given back as it was however the watching ends: by a key, by Ctrl-C, by a
signal, by an error; and for the time that Ctrl-Z takes.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

#: The alternate screen, no cursor, and no line that is too long going on in the next.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
#: Terminals that know it show a frame at once or not at all; others pass over it.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
_REST_OF_LINE, _EVERYTHING = "\x1b[K", "\x1b[2J"


def can_redraw() -> bool:
    """Return whether stdout is a terminal on which a cursor can be moved."""
    return sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


class Screen:
    """The screen of the terminal on stdout, for the time of a `with`; one at a time, main thread.

    Inside it Ctrl-C raises KeyboardInterrupt as ever, SIGTERM and SIGHUP raise SystemExit with
    128+N. Nothing else may be printed meanwhile.
    """

    def __init__(self) -> None:
        self._size = (0, 0)
        self._lines: list[str] = []
        self._terminal: list[Any] | None = None
        self._keys = False
        self._handlers: dict[int, Any] = {}
        self._pipe: tuple[int, int] | None = None
        self._old_wakeup = -1

    def size(self) -> tuple[int, int]:
        """Return columns and lines of the terminal now."""
        # Not COLUMNS and LINES: they stay as they were when the window is resized.
        try:
            columns, lines = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            columns, lines = 0, 0
        return columns or 80, lines or 24

    def draw(self, lines: Sequence[str], size: tuple[int, int]) -> None:
        """Show `lines`, from the top; they fit into `size`. Writes only those that have changed."""
        fresh = size != self._size
        before = [] if fresh else self._lines
        self._size, self._lines = size, list(lines)
        count = max(len(lines), len(before))
        text = _EVERYTHING if fresh else ""
        for row in range(count):
            line = lines[row] if row < len(lines) else ""
            if row >= len(before) or line != before[row]:
                text += f"\x1b[{row + 1};1H{line}{_REST_OF_LINE}"
        if text:
            self._write(f"{_BEGIN}{text}{_END}")

    def wait(self, seconds: float) -> str:
        """Return the keys pressed meanwhile: "" after `seconds`, or when the window was resized."""
        keys = sys.stdin.fileno() if self._keys else -1
        watched = [*([keys] if self._keys else ()), *(self._pipe or ())[:1]]
        ready = select.select(watched, [], [], seconds)[0]
        if self._pipe is not None and self._pipe[0] in ready:
            os.read(self._pipe[0], 512)
        if keys not in ready:
            return ""
        pressed = os.read(keys, 512).decode("utf-8", "replace")
        # The end of input would be there again at once, for ever.
        self._keys = bool(pressed)
        return pressed

    def __enter__(self) -> Screen:
        self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, False)
        # So that a signal ends the wait, which Python would otherwise take up again.
        self._old_wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        handlers = {
            signal.SIGWINCH: lambda *_: None,
            signal.SIGTSTP: self._stop_for_a_while,
            signal.SIGTERM: _exit,
            signal.SIGHUP: _exit,
        }
        for number, handler in handlers.items():
            self._handlers[number] = signal.signal(number, handler)
        try:
            self._take()
        except BaseException:
            self._give_all_back()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A second Ctrl-C must not keep the terminal from coming back.
        old = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._give_all_back()
        finally:
            signal.signal(signal.SIGINT, old)

    def _take(self) -> None:
        import termios
        import tty

        if sys.stdin.isatty():
            self._keys = True
            self._terminal = termios.tcgetattr(sys.stdin.fileno())
            # Keys come at once and are not shown; Ctrl-C and Ctrl-Z stay what they are.
            tty.setcbreak(sys.stdin.fileno())
        self._size = (0, 0)
        self._write(_ENTER)

    def _give_back(self) -> None:
        import termios

        # A terminal that has gone (closed window, lost connection) needs nothing any more.
        with contextlib.suppress(OSError, ValueError):
            self._write(_LEAVE)
        if self._terminal is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSAFLUSH, self._terminal)

    def _give_all_back(self) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        for end in self._pipe or ():
            os.close(end)
        self._pipe = None

    def _stop_for_a_while(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the shell gets its screen, and this one comes back with `fg`."""
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        # To this very thread, so that it is stopped here and goes on below once SIGCONT came.
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._stop_for_a_while)
        self._take()

    def _write(self, text: str) -> None:
        # Past the buffers of `sys.stdout`, into which a signal handler may not write.
        data = text.encode(sys.stdout.encoding or "utf-8", "backslashreplace")
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
