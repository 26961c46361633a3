"""Files of a run for the browser: opened without leaving the run, sent so that nothing runs.

A path from a URL is opened part by part below the run directory; a link is never followed, and
only regular files are sent. Text goes out as plain text, a few image formats as images, everything
else as a download, all under a policy that lets the browser execute nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from guildlite.http import RequestError

#: Nothing of a run's file may load or run anything, not even its own frames.
FILE_CSP = "sandbox; default-src 'none'"
#: Entries of one folder that are listed.
MOST_ENTRIES = 1000
_CHUNK_BYTES = 256 * 1024

_IMAGES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
}
# HTML, SVG and scripts are on this list on purpose: as plain text they can be read and do nothing.
_TEXT = frozenset(
    re.findall(
        r"\S+",
        ".bash .c .cc .cfg .cpp .css .csv .diff .h .htm .html .ini .ipynb .js .json .jsonl .log "
        ".md .patch .pbtxt .py .r .rst .sh .sql .svg .tex .toml .ts .tsv .txt .xml .yaml .yml",
    )
)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a folder. `kind` is `folder`, `file`, `link` or `other`; `modified_at` epoch s.

    Links and others are shown and never opened.
    """

    name: str
    path: str
    kind: str
    size_bytes: int
    modified_at: float


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of a run: folders first, then by name; `more` entries are not listed."""

    path: str
    entries: list[Entry]
    more: int


def open_inside(root: Path, relative: str) -> IO[bytes]:
    """Open a regular file below `root` for reading.

    `relative` has `/` between its parts. Raises RequestError 404 for whatever is not a regular
    file inside: parts that climb, links anywhere below `root`, folders, pipes, devices.
    """
    *folders, name = _parts(relative)
    parent = _open_folder(root, folders)
    try:
        # Without O_NONBLOCK opening a pipe waits for its writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=parent)
    except (OSError, ValueError) as error:
        raise _nothing() from error
    finally:
        os.close(parent)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _nothing()
    return os.fdopen(fd, "rb", buffering=0)


def list_folder(root: Path, relative: str) -> Folder:
    """List one folder below `root`, "" for `root` itself; raises RequestError 404 like opening."""
    parts = _parts(relative) if relative else []
    fd = _open_folder(root, parts)
    prefix = "".join(f"{part}/" for part in parts)
    entries = []
    try:
        with os.scandir(fd) as found:
            for entry in found:
                try:
                    entries.append(_entry(entry, prefix))
                except OSError:
                    continue  # gone between being listed and being looked at
    finally:
        os.close(fd)
    entries.sort(key=lambda entry: (entry.kind != "folder", entry.name))
    return Folder("/".join(parts), entries[:MOST_ENTRIES], max(0, len(entries) - MOST_ENTRIES))


def read_text(root: Path, relative: str, most_bytes: int) -> tuple[str, bool]:
    """Return the beginning of a file as text, and whether that is all of it."""
    with open_inside(root, relative) as file:
        data = file.read(most_bytes + 1)
    return data[:most_bytes].decode("utf-8", "replace"), len(data) <= most_bytes


def is_image(name: str) -> bool:
    """Say whether a file of this name is sent as an image."""
    return os.path.splitext(name)[1].lower() in _IMAGES


def _parts(relative: str) -> list[str]:
    parts = relative.split("/")
    for part in parts:
        if part in ("", ".", "..") or "\0" in part or "\\" in part:
            raise _nothing()
    return parts


def _open_folder(root: Path, parts: list[str]) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        # The run directory itself may well lie behind a link: the user put it there.
        fd = os.open(root, flags)
        for part in parts:
            try:
                inner = os.open(part, flags | os.O_NOFOLLOW, dir_fd=fd)
            finally:
                os.close(fd)
            fd = inner
    except (OSError, ValueError) as error:
        raise _nothing() from error
    return fd


def _entry(entry: os.DirEntry[str], prefix: str) -> Entry:
    facts = entry.stat(follow_symlinks=False)
    kinds = ((stat.S_ISDIR, "folder"), (stat.S_ISREG, "file"), (stat.S_ISLNK, "link"))
    kind = next((word for test, word in kinds if test(facts.st_mode)), "other")
    return Entry(entry.name, prefix + entry.name, kind, facts.st_size, facts.st_mtime)


def _nothing() -> RequestError:
    return RequestError("this run has no such file", status=404)


# Sending


class FileResponse(Response):
    """A run's file, whole or one byte range of it, sent inert. Closes `file` in every case."""

    def __init__(self, file: IO[bytes], name: str, request_headers: Mapping[str, str]) -> None:
        self._file = file
        size = os.fstat(file.fileno()).st_size
        span = None
        # If-Range would need validators; a whole file is always a right answer to it.
        if "if-range" not in request_headers:
            span = parse_range(request_headers.get("range", ""), size)
        if span is not None and span[0] > span[1]:
            file.close()
            raise RequestError(
                "the range is outside of the file",
                status=416,
                headers={"content-range": f"bytes */{size}"},
            )
        self._begin, end = span or (0, size - 1)
        self._length = end - self._begin + 1
        super().__init__(status_code=206 if span else 200, headers=_headers(file, name))
        self.headers["content-length"] = str(self._length)
        if span:
            self.headers["content-range"] = f"bytes {self._begin}-{end}/{size}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        try:
            await send({**start, "headers": self.raw_headers})
            left = 0 if scope["method"] == "HEAD" else self._length
            self._file.seek(self._begin)
            while left > 0:
                chunk = await run_in_threadpool(self._file.read, min(_CHUNK_BYTES, left))
                if not chunk:
                    # Cut off meanwhile. A body shorter than announced tells the client so.
                    raise ConnectionAbortedError("the file became shorter while it was sent")
                left -= len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._file.close()


def _headers(file: IO[bytes], name: str) -> dict[str, str]:
    extension = os.path.splitext(name)[1].lower()
    media_type = _IMAGES.get(extension)
    if media_type is None and extension in _TEXT:
        media_type = "text/plain; charset=utf-8"
    headers = {
        "content-type": media_type or "application/octet-stream",
        "content-security-policy": FILE_CSP,
        "x-content-type-options": "nosniff",
        "accept-ranges": "bytes",
        "cache-control": "no-cache",
        "last-modified": formatdate(os.fstat(file.fileno()).st_mtime, usegmt=True),
    }
    if media_type is None:
        encoded = quote(os.fsencode(name), safe="")
        headers["content-disposition"] = f"attachment; filename*=UTF-8''{encoded}"
    return headers


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return first and last byte asked for, first > last when there are none such.

    None for no range, several, or nonsense: the whole file answers these.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if not match[1]:
        length = int(match[2])
        return (max(0, size - length), size - 1) if length and size else (1, 0)
    begin = int(match[1])
    end = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < begin:
        return None
    return (begin, end) if begin < size else (1, 0)
