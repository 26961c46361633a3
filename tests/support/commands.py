"""Runs a command of gl in this process and keeps what it printed."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any, NamedTuple

from guildlite.cli.main import run


class Answer(NamedTuple):
    """What a command left: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout; NaN and Infinity, which are no JSON, are refused."""

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is not JSON")

        return json.loads(self.out, parse_constant=refuse)


def call(*words: str) -> Answer:
    """Run `gl WORDS` in the current directory."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(words)
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return Answer(status, *texts)
