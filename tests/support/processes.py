"""Runs with real processes: starting gl in a session of its own, finding who is who, waiting."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from guildlite.runs import Run, RunStore


def wait_for(what: str, look: Callable[[], object], timeout_s: float = 30) -> None:
    """Wait until `look` says yes; fail naming `what` when it does not."""
    deadline = time.monotonic() + timeout_s
    while not look():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.01)


def _heed_interrupts() -> None:
    # A shell that runs the tests in the background ignores SIGINT, and children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Front:
    """`gl` as a process with a session of its own, as a terminal gives it."""

    def __init__(
        self, directory: Path, *words: str, env: dict[str, str] | None = None, **settings: object
    ) -> None:
        self.store = RunStore(directory / "runs")
        self._before = {run.id for run in self.store.list()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "guildlite", *words],
            cwd=directory,
            env={**os.environ, "NO_COLOR": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
            **{"preexec_fn": _heed_interrupts, **settings},  # type: ignore[call-overload]
        )

    @property
    def run(self) -> Run:
        """The run it made, read anew."""
        (made,) = [run for run in self.store.list() if run.id not in self._before]
        return made

    def started(self) -> Run:
        """Wait until the script runs and return its run."""
        wait_for("a run directory", lambda: self.store.root.is_dir() and self._made())
        wait_for("started.json", lambda: self.run.paths.started.exists())
        return self.run

    def _made(self) -> bool:
        return any(run.id not in self._before for run in self.store.list())

    def said(self, text: str) -> None:
        """Wait until the script printed `text`."""
        log = self.run.paths.stdout
        # started.json may be there before the script's end has opened its log.
        wait_for(text, lambda: log.exists() and text in log.read_text())

    def interrupt(self) -> None:
        """Press Ctrl-C: SIGINT to the foreground process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit status, stdout, stderr."""
        out, err = self.process.communicate(timeout=40)
        return self.process.returncode, out, err


def left_over(directory: Path) -> list[psutil.Process]:
    """Return the processes that runs below `directory` started and that still live."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("RUNDIR", "").startswith(f"{directory}/"):
                found.append(process)
    return found


def script(directory: Path, text: str, name: str = "train") -> None:
    """Write a script of the test project."""
    (directory / f"{name}.py").write_text(text)


def roles(run: Run) -> dict[str, int]:
    """Return the pids of training, waiter and supervisor from started.json."""
    started = json.loads(run.paths.started.read_text())
    return {name: started[name]["pid"] for name in ("training", "waiter", "supervisor")}


def fresh(run: Run) -> Run:
    """Return the run as its files are now; a `Run` keeps what it derived."""
    return Run(run.path)


def wait_ended(run: Run, timeout_s: float = 30) -> Run:
    """Wait until nothing of the run goes on."""
    wait_for("the end of the run", lambda: not fresh(run).busy(), timeout_s)
    return fresh(run)


def assert_sealed(run: Run) -> None:
    """Check that run.db is one plain, sound file and that nobody claims to keep it current."""
    left = {path.name for path in run.paths.root.iterdir()}
    open_ = left & {"run.db-wal", "run.db-shm", "run.db-journal", "heartbeat"}
    assert not open_, open_
    # Immutable: not even a missing side file would be made or asked for.
    with contextlib.closing(sqlite3.connect(f"file:{run.paths.db}?immutable=1", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA journal_mode").fetchone() in (("delete",), ("off",))


def rows(run: Run, sql: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
    """Ask a run.db through a connection of our own."""
    with contextlib.closing(sqlite3.connect(f"file:{run.paths.db}?mode=ro", uri=True)) as db:
        return db.execute(sql, values).fetchall()


def series(run: Run, key: str) -> list[tuple[int, float]]:
    """Return (step, value) of every point of a series, in the order written."""
    return rows(
        run,
        "SELECT step, value FROM series JOIN series_key ON id = key_id WHERE key = ? ORDER BY seq",
        key,
    )
