"""What the script printed: lines for the `output` table and the scalars found in them.

The bytes are in the logs, which the script itself writes; here they are read once, in bounded
pieces, and never waited for. A line is what stands before a line feed; of a line redrawn with `\\r`
the last state, so a progress bar gives one line. Text is UTF-8 with U+FFFD for what is not, and for
NUL, at which SQLite's shell would stop. Everything else, colours included, is kept.

The same bytes give the same lines and points however the reading was cut up in time or restarted;
only the times differ. A last line without line feed is given once nothing more can follow.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from guildlite.collect.collector import prefixed
from guildlite.collect.scalars import MOST_NAMES, ScalarFinder
from guildlite.platform import open_regular
from guildlite.runs.paths import OperationPaths, RunPaths
from guildlite.series import STDERR, STDOUT, Cursor, OutputLine, Point, Reading

KIND = "output"
#: Logs begin empty and are ours, so they have no first record that could name them.
DIGEST = "log"

#: Bytes of a line that are kept; a longer one is data.
LONGEST_LINE = 64 * 1024
#: Lines of one log that go into run.db, about 100 MB there; the log keeps them all.
MOST_LINES = 1_000_000
#: Bytes per reading: at worst, all line feeds, some 20 MB of lines in memory.
CHUNK = 128 * 1024
#: Bytes and lines per log and sample, about 0.2 s of work: a script that prints a gigabyte must not
#: delay what others have to say.
SAMPLE_BYTES = 2 * 1024 * 1024
SAMPLE_LINES = 5_000
#: Bytes that gave neither line nor point before a reading is made only to say how far we are.
SILENT_BYTES = 1024 * 1024

#: Bytes by which a log that became shorter is recognised.
HEAD = 32

#: A piece of a log without these holds no scalar.
_CANDIDATE = re.compile(rb"\d|nan|inf", re.I)


class OutputLogs:
    """Follows the logs of a run and of the later operations on it.

    `cursors` are those of run.db, of any kind. `live` says that lines are read as they appear, so
    that the moment of reading is theirs; without it times are None.
    """

    name = "output"

    def __init__(self, paths: RunPaths, cursors: Iterable[Cursor] = (), live: bool = False) -> None:
        self._paths = paths
        self._cursors = {cursor.path: cursor for cursor in cursors if cursor.kind == KIND}
        self._live = live
        self._tails: dict[Path, _Tail] = {}

    def probe(self) -> dict[str, str]:
        """Return no attributes: the logs are there, or will be."""
        return {}

    def sample(self, final: bool = False) -> Iterator[Reading]:
        """Yield what is new, a bounded amount per call; call again until nothing comes.

        With `final` nothing more will be written, so an unfinished last line is given too, once
        all before it has been.
        """
        for tail in self._all_tails():
            if final or not tail.over:
                yield from tail.read(final)

    def close(self) -> None:
        """Close the logs; sampling afterwards goes on from the cursors given at the beginning."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()

    def _all_tails(self) -> list[_Tail]:
        for operation in (self._paths, *self._paths.operations()):
            for path, stream in ((operation.stdout, STDOUT), (operation.stderr, STDERR)):
                if path not in self._tails:
                    relative = path.relative_to(self._paths.run_dir).as_posix()
                    cursor = self._cursors.get(relative) or Cursor(relative, KIND, DIGEST)
                    self._tails[path] = _Tail(path, cursor, stream, operation, self._live)
        return list(self._tails.values())


class _Tail:
    """One log, read from its cursor on."""

    def __init__(
        self, path: Path, cursor: Cursor, stream: int, operation: OperationPaths, live: bool
    ) -> None:
        state: dict[str, Any] = cursor.state
        self._log = _Log(path, cursor)
        self._stream, self._op, self._live = stream, operation.name, live
        self._exit = operation.exit if operation.name else None
        self._prefix = prefixed(operation.name.partition("-")[2] or operation.name, "output/")
        self._lines: int = state.get("lines", 0)
        self._scalars = ScalarFinder(state.get("scalars"))
        self._line = _Line()
        self._resume: list[int] | None = state.get("line")
        self._given = cursor.offset
        self._ended = self._final = False
        #: True when the operation has ended and its log was read to the end.
        self.over = False

    def read(self, final: bool) -> Iterator[Reading]:
        """Yield a reading for each piece of the log that is new, up to the limits of a sample."""
        # Asked before reading: what was written before the exit is then seen.
        ended = final or (self._exit is not None and self._exit.exists())
        if ended > self._ended or final > self._final:
            self._log.end_here()
        self._ended, self._final = ended, final
        log, reading = self._log, Reading()
        bytes_left, last_line = SAMPLE_BYTES, self._lines + SAMPLE_LINES
        while bytes_left > 0 and self._lines < last_line:
            chunk = log.next_chunk()
            if log.cut:
                self._begin_again(reading)
            if not chunk:
                self.over = ended
                break
            bytes_left -= len(chunk)
            self._take(chunk, reading)
            if reading.points or reading.lines or log.offset - self._given >= SILENT_BYTES:
                yield self._finish(reading)
                reading = Reading()
        if self.over:
            self._resume_line()
            if self._line.size:
                self._add(self._line.take(), reading)
            log.close()
        # Stopped by a limit: the caller must hear that there may be more.
        more = bytes_left <= 0 or self._lines >= last_line
        if reading.points or reading.lines or log.notices or (more and log.offset > self._given):
            yield self._finish(reading)

    def close(self) -> None:
        self._log.close()

    def _finish(self, reading: Reading) -> Reading:
        log = self._log
        state: dict[str, object] = {
            "head": log.head.hex(),
            "lines": self._lines,
            "scalars": self._scalars.state,
        }
        if self._line.size:
            state["line"] = self._line.state
        elif self._resume:
            state["line"] = self._resume
        reading.cursor = Cursor(log.name, KIND, DIGEST, log.offset, state)
        reading.notices = log.take_notices()
        self._given = log.offset
        return reading

    def _begin_again(self, reading: Reading) -> None:
        """Give the line whose end was cut off together with the log."""
        self._log.cut = False
        self._resume, self._given = None, 0
        if self._line.size:
            self._add(self._line.take(), reading)

    def _resume_line(self) -> None:
        """Read again what was kept of the line in which the cursor stands."""
        if self._resume is not None:
            start, size, returned = self._resume
            kept = self._log.read_again(start, size)
            # Less when the log is gone, and the line with it.
            if len(kept) == min(size, LONGEST_LINE):
                self._line = _Line(start, size, bool(returned), kept)
            self._resume = None

    def _take(self, chunk: bytes, reading: Reading) -> None:
        self._resume_line()
        at = self._log.offset - len(chunk)
        if self._lines > MOST_LINES:
            chunk, at = self._skip(chunk, at, reading)
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            self._line.extend(part, at)
            at += len(part) + 1
            self._add(self._line.take(), reading)
        self._line.extend(rest, at)

    def _skip(self, chunk: bytes, at: int, reading: Reading) -> tuple[bytes, int]:
        """Pass over whole lines that can neither be stored nor hold a scalar; return the rest."""
        first, last = chunk.find(b"\n"), chunk.rfind(b"\n")
        if first == last or _CANDIDATE.search(chunk, first, last):
            return chunk, at
        self._line.extend(chunk[:first], at)
        self._add(self._line.take(), reading)
        self._lines += chunk.count(b"\n", first + 1)
        self._scalars.find("")
        return chunk[last + 1 :], at + last + 1

    def _add(self, text: str, reading: Reading) -> None:
        moment = int(time.time() * 1000) if self._live else None
        if self._lines < MOST_LINES:
            reading.lines.append(OutputLine(moment, self._stream, text, self._op))
        elif self._lines == MOST_LINES:
            self._log.tell(f"has more than {MOST_LINES:,} lines; the later ones are only there")
        self._lines += 1
        was_full = self._scalars.full
        for name, step, value in self._scalars.find(text):
            reading.points.setdefault(self._prefix + name, []).append(Point(step, moment, value))
        if self._scalars.full and not was_full:
            self._log.tell(f"names more than {MOST_NAMES} numbers; only the first are followed")


class _Log:
    """The file of one log: new bytes in pieces, and notices of what was done to it.

    `name` is its path relative to the run directory, `offset` the byte after the last one given.
    `cut` is set when the file became shorter. When it still begins with `head` it has lost its end,
    as after a power failure, and `offset` is the new end; else it was emptied and begins again.
    """

    def __init__(self, path: Path, cursor: Cursor) -> None:
        self._path = path
        self.name, self.offset = cursor.path, cursor.offset
        self.head = bytes.fromhex(str(cursor.state.get("head", "")))
        self.cut = False
        self.notices: list[str] = []
        self._file: FileIO | None = None
        self._ending = False
        self._end: int | None = None
        self._told: set[str] = set()

    def next_chunk(self) -> bytes:
        """Return the next bytes, none when there are none now."""
        try:
            if self._file is None and not self._open():
                return b""
            assert self._file is not None
            fd = self._file.fileno()
            size = self._size(fd)
            if size < self.offset:
                self.tell("became shorter; what was read before is kept")
                start = os.pread(fd, HEAD, 0)
                self.offset = size if start and self.head.startswith(start) else 0
                self.cut = True
            if size == self.offset:
                self._check_name()
                return b""
            chunk = os.pread(fd, min(CHUNK, size - self.offset), self.offset)
        except OSError as error:
            self.tell(f"cannot be read: {error.strerror}")
            return b""
        if self.offset < HEAD:
            self.head = (self.head[: self.offset] + chunk)[:HEAD]
        self.offset += len(chunk)
        return chunk

    def end_here(self) -> None:
        """Give no more than is there when next looked at: a daemon may write on for ever."""
        self._ending, self._end = True, None

    def _size(self, fd: int) -> int:
        size = os.fstat(fd).st_size
        if self._ending and self._end is None:
            self._end = size
        return size if self._end is None else min(size, self._end)

    def read_again(self, start: int, size: int) -> bytes:
        """Return the kept part of the `size` bytes from `start` on."""
        try:
            if self._file is None:
                return b""
            return os.pread(self._file.fileno(), min(size, LONGEST_LINE), start)
        except OSError as error:
            self.tell(f"cannot be read: {error.strerror}")
            return b""

    def tell(self, what: str) -> None:
        """Keep a notice about this log, once."""
        if what not in self._told:
            self._told.add(what)
            self.notices.append(f"`{self.name}` {what}")

    def take_notices(self) -> list[str]:
        notices, self.notices = self.notices, []
        return notices

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> bool:
        """Open the log; it stays open, so that a script that deletes it loses no line."""
        try:
            self._file = open_regular(self._path)
        except FileNotFoundError:
            if self.offset:
                self.tell("was deleted")
            return False
        except OSError as error:
            refused = {errno.ELOOP: "it is a link", errno.EINVAL: "it is not a file"}
            if error.errno not in refused:
                raise
            self.tell(f"is not read, because {refused[error.errno]}")
            return False
        return True

    def _check_name(self) -> None:
        assert self._file is not None
        try:
            here = os.stat(self._path, follow_symlinks=False)
            same = os.path.samestat(here, os.fstat(self._file.fileno()))
        except FileNotFoundError:
            same = False
        if not same:
            self.tell("was deleted or replaced; what the script prints is still read")


class _Line:
    """The line being read: its last state so far.

    `start` is where that state begins in the log and `size` its bytes, of which the first
    `LONGEST_LINE` are in `kept`; `returned` says that a `\\r` came after it, so that the next byte
    begins another state.
    """

    __slots__ = ("kept", "returned", "size", "start")

    def __init__(
        self, start: int = 0, size: int = 0, returned: bool = False, kept: bytes = b""
    ) -> None:
        self.start, self.size, self.returned = start, size, returned
        self.kept = bytearray(kept)

    @property
    def state(self) -> list[int]:
        """What the cursor remembers: start, size, returned."""
        return [self.start, self.size, int(self.returned)]

    def extend(self, part: bytes, at: int) -> None:
        """Add bytes of the line that stand at offset `at` of the log."""
        body = part.rstrip(b"\r")
        if body:
            last = body.rfind(b"\r") + 1
            if last or self.returned or not self.size:
                self.start, self.size = at + last, 0
                self.kept.clear()
            self.kept += body[last : last + LONGEST_LINE - len(self.kept)]
            self.size += len(body) - last
            self.returned = False
        if len(body) < len(part):
            self.returned = True

    def take(self) -> str:
        """Return the text of the line and begin the next one."""
        more = self.size - len(self.kept)
        text = self.kept.decode("utf-8", "replace").replace("\0", "\ufffd")
        if more > 0:
            # The cut may have gone through a character.
            text = f"{text.rstrip(chr(0xFFFD))} … ({more:,} more bytes)"
        self.size, self.returned = 0, False
        self.kept.clear()
        return text
