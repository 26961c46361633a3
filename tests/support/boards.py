"""Runs with event files, recorded as the supervisor does, and the processes of TensorBoard."""

from __future__ import annotations

import contextlib
import time

import httpx
import psutil

from guildlite.collect.events import EventFiles
from guildlite.runs import Run, RunStore
from guildlite.runs.db import RunDb
from support.event_files import records, scalars, version
from support.run_dirs import START, make_run

EVENTS = "events.out.tfevents.1.host"


def make_board_run(store: RunStore, *, started: float = START, count: int = 20) -> Run:
    """Make a run with one event file of `count` losses, each half its step."""
    run = make_run(store, started=started)
    (run.path / EVENTS).write_bytes(records(version(), *scalars(count)))
    record(run)
    return run


def record(run: Run) -> None:
    """Read the event files of a run into its run.db."""
    with RunDb(run.paths.db) as db:
        for reading in EventFiles(run.path).sample(final=True):
            db.write([reading])
        db.seal({})


def wait_for_board(client: httpx.Client, path: str = "/tensorboard/") -> httpx.Response:
    """Load TensorBoard's page as a browser does, again and again until it is there."""
    deadline = time.monotonic() + 60
    while True:
        answer = client.get(path)
        if answer.status_code == 200:
            return answer
        assert answer.status_code == 503, answer.text
        assert "refresh" in answer.headers
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)


def board_processes(parent: int) -> list[psutil.Process]:
    """Return the TensorBoards that a process started and that live."""
    found = []
    for process in psutil.Process(parent).children():
        # One that has just died is a zombie, without a command line.
        with contextlib.suppress(psutil.Error):
            if any("boardprocess" in word for word in process.cmdline()):
                found.append(process)
    return found
