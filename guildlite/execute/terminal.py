"""`--tty`: the script gets a pseudo-terminal, so that `breakpoint()` and `input()` work.

The front end owns it: output is shown and appended to stdout.log here, both streams as one, and
the script gets SIGHUP when the front end goes. That is the price of a terminal.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, BinaryIO


class Terminal:
    """A pseudo-terminal between this terminal and a script."""

    def __init__(self) -> None:
        self._master, self.slave = os.openpty()
        os.set_blocking(self._master, False)
        self._copy_size()
        self._before: list[Any] | None = None
        self._log: BinaryIO | None = None

    def attach(self, log: Path) -> None:
        """Begin to relay; keystrokes go to the script unread, Ctrl-C too."""
        os.close(self.slave)
        self._log = open(log, "ab", buffering=0)  # noqa: SIM115 - closed by `close`
        if sys.stdin.isatty():
            import termios
            import tty

            self._before = termios.tcgetattr(0)
            tty.setraw(0)

    def relay(self) -> bool:
        """Pass on what is waiting in both directions; False when the script's side is closed."""
        if self._before is not None:
            self._pass_keys()
        try:
            while data := os.read(self._master, 65536):
                os.write(1, data)
                if self._log is not None:
                    self._log.write(data)
        except BlockingIOError:
            return True
        except OSError:
            return False  # EIO: nobody holds the other side any more
        return False

    def _pass_keys(self) -> None:
        import select

        while select.select([0], [], [], 0)[0]:
            keys = os.read(0, 1024)
            if not keys:
                return
            os.write(self._master, keys)

    def _copy_size(self) -> None:
        import termios

        try:
            termios.tcsetwinsize(self.slave, termios.tcgetwinsize(1))
        except (AttributeError, OSError, termios.error):
            pass  # no terminal to copy from, or Python 3.10

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._before is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._before)
            self._before = None
        if self._log is not None:
            self._log.close()
        os.close(self._master)
