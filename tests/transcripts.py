"""Console sessions in the documentation: what a page shows is run, in order, and compared.

    python tests/transcripts.py docs/tutorial.md ...

writes what the commands print now into a page that shows something else. A page takes part by a
comment; the blocks mean:

    <!-- session: empty -->     commands of this page run in an empty directory (or: digits)
    <!-- file: train.py -->     the next block is written to that file
    <!-- server: 6444 -->       the command of the next block serves that port in the background
    ```console                  lines after `$ ` are commands, the others are what they print

Output agrees when only what changes from machine to machine differs: numbers, moments, paths, names
of hosts, and the width of columns. A line of `...` stands for any lines. Commands of a program
that is not installed here (curl, sqlite3) are left out.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: The directory and the interpreter that the pages speak of.
HOME = "/home/you"

_SESSION = re.compile(r"<!-- session: (\w+) -->")
_BLOCK = re.compile(
    r"(?:<!-- (?P<mark>file|server): (?P<value>\S+) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_STARTED_WITHIN_S = 30


@dataclass
class Block:
    """A fenced block. `mark` is `file`, `server` or empty, `value` what stands behind it."""

    language: str
    body: str
    mark: str = ""
    value: str = ""
    start: int = 0


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page; `start` is where the body begins."""
    for match in _BLOCK.finditer(text):
        mark, value = match["mark"] or "", match["value"] or ""
        yield Block(match["language"], match["body"], mark, value, match.start("body"))


def session_of(text: str) -> str | None:
    """Return where the page's commands run: `empty`, `digits`, or None when they are not run."""
    match = _SESSION.search(text)
    return match[1] if match else None


# Comparing ----------------------------------------------------------------------------------------

#: What differs between two right answers → what stands for it. In this order.
_CHANGES = [
    # Two runs of one second have a number behind the name.
    (re.compile(r"\d{8}T\d{6}Z(-[A-Za-z_]+)(?:-\d+)?"), r"MOMENT\1"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d"), "MOMENT"),
    (re.compile(r"\S*/python[\d.]*(?= )"), "python"),
    (re.compile(r"tfevents\.\S+"), "tfevents"),
    (re.compile(r"token=\S+"), "token"),
    # Measured by the second: how much of it there is depends on the machine's haste.
    (re.compile(r"^  (?:memory|use|swap) of .*\n", re.MULTILINE), ""),
    # Which part of a line in a traceback failed; each Python points at more of them.
    (re.compile(r"^[ ]*[~^]+\n", re.MULTILINE), ""),
    (re.compile(r"^(\s*host\s+)\S+$", re.MULTILINE), r"\1HOST"),
    (re.compile(r"\bnow\b|\b\d+[smhd] ago\b"), "AGO"),
    (re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[-+]?\d+)?"), "0"),
    (re.compile(r"\b0 (?:[KMGTP]i)?B\b"), "SIZE"),
    (re.compile(r"[ \t]+"), " "),
]


def normalised(text: str) -> list[str]:
    """Return the lines of `text` with what changes from machine to machine made equal."""
    for pattern, replacement in _CHANGES:
        text = pattern.sub(replacement, text)
    return [line.strip() for line in text.strip().splitlines()]


def agree(shown: str, printed: str) -> bool:
    """Return whether a page shows what was printed; `...` in `shown` stands for any lines."""
    parts = [r".*" if line == "..." else re.escape(line) for line in normalised(shown)]
    return re.fullmatch("\n".join(parts), "\n".join(normalised(printed)), re.DOTALL) is not None


# Running ------------------------------------------------------------------------------------------


@dataclass
class Shell:
    """Runs a page's commands in `directory` with a `gl` of this checkout on PATH."""

    directory: Path
    bin_dir: Path
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bin_dir.mkdir()
        for name, words in {"gl": "-m guildlite", "python": ""}.items():
            script = self.bin_dir / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            script.chmod(0o755)
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GL_")},
            "PATH": f"{self.bin_dir}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
        }
        for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
            self.env.pop(name, None)

    def run(self, command: str) -> str:
        """Run a command and return what it printed, stdout and stderr as they came."""
        done = subprocess.run(
            self._with_ports(command),
            shell=True,
            cwd=self.directory,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return self._as_shown(done.stdout)

    def serve(self, command: str, port: str) -> str:
        """Start a server on a free port instead of `port`; return what it printed by then."""
        self.ports[port] = _free_port()
        log = self.bin_dir / f"server-{port}.log"
        with log.open("wb") as file:
            server = subprocess.Popen(
                f"exec {command} --port {self.ports[port]}",
                shell=True,
                cwd=self.directory,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.servers.append(server)
        deadline = time.monotonic() + _STARTED_WITHIN_S
        # A server prints its last line when it listens.
        while "Ctrl-C stops" not in log.read_text() and server.poll() is None:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return self._as_shown(log.read_text())

    def close(self) -> None:
        """Stop the servers."""
        for server in self.servers:
            server.terminate()
            server.wait(timeout=20)

    def _with_ports(self, text: str) -> str:
        for shown, real in self.ports.items():
            text = text.replace(f"localhost:{shown}", f"localhost:{real}")
        return text

    def _as_shown(self, text: str) -> str:
        for shown, real in self.ports.items():
            text = text.replace(f":{real}", f":{shown}")
        text = text.replace(str(self.directory), f"{HOME}/{self.directory.name}")
        text = re.sub(r"\S*/python[\d.]*(?= )", f"{HOME}/.venv/bin/python3", text)
        host = socket.gethostname()
        shown_host = "vm".ljust(len(host))
        text = re.sub(rf"(tfevents\.\d+\.|host +){re.escape(host)}\b", rf"\1{shown_host}", text)
        return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def exchanges(body: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output shown below it."""
    found: list[tuple[str, str]] = []
    for line in body.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:].rstrip("\n"), ""))
        elif found and line.startswith("> "):
            found[-1] = (f"{found[-1][0]}\n{line[2:]}".rstrip("\n"), "")
        elif found:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def prepare_directory(kind: str, parent: Path) -> Path:
    """Return a new directory for a session, named as the pages call it."""
    if kind == "empty":
        directory = parent / "project"
        directory.mkdir()
        return directory
    ignored = shutil.ignore_patterns("runs", "data", "out", "__pycache__")
    return Path(shutil.copytree(ROOT / "examples" / kind, parent / kind, ignore=ignored))


def play(text: str, parent: Path) -> Iterator[tuple[Block, str, str, str]]:
    """Run a page; yield for each command its block, the command, the output shown and printed."""
    kind = session_of(text)
    assert kind is not None
    shell = Shell(prepare_directory(kind, parent), parent / "bin")
    try:
        for block in blocks(text):
            if block.mark == "file":
                (shell.directory / block.value).write_text(block.body)
            if block.language != "console":
                continue
            for command, shown in exchanges(block.body):
                if shutil.which(command.split()[0], path=shell.env["PATH"]) is None:
                    continue
                if block.mark == "server":
                    yield block, command, shown, shell.serve(command, block.value)
                else:
                    yield block, command, shown, shell.run(command)
    finally:
        shell.close()


def refresh(page: Path, parent: Path) -> None:
    """Write into the page what its commands print, unless all of it agrees already.

    Where a page leaves lines out by `...` and the rest agrees, it stays as it is.
    """
    text = page.read_text(encoding="utf-8")
    played = list(play(text, parent))
    if all(agree(shown, printed) for _, _, shown, printed in played):
        return
    bodies: dict[int, str] = {}
    for block, command, shown, printed in played:
        is_cut = "..." in shown.splitlines()
        kept = shown if is_cut and agree(shown, printed) else printed
        lines = "$ " + command.replace("\n", "\n> ")
        kept = kept if kept.endswith("\n") or not kept else kept + "\n"
        bodies[block.start] = bodies.get(block.start, "") + f"{lines}\n{kept}"
    for block in reversed(list(blocks(text))):
        if block.start in bodies:
            end = block.start + len(block.body)
            text = text[: block.start] + bodies[block.start] + text[end:]
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    import tempfile

    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as scratch:
            refresh(Path(name), Path(scratch))
