"""Finishing what others left, several operations on one run, and readers in between."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Gl
from support.processes import (
    Front,
    assert_sealed,
    fresh,
    roles,
    rows,
    script,
    series,
    wait_ended,
    wait_for,
)
from support.run_dirs import make_run

from guildlite.execute import catchup
from guildlite.execute.catchup import needs_settling, settle
from guildlite.execute.waiter import Order, fork_waiter
from guildlite.runs import Run, RunStore
from guildlite.runs.db import RunDb
from guildlite.runs.facts import write_fact

Start = Callable[..., Front]


def crashed(store: RunStore, count: int = 50) -> Run:
    """Return a run that nobody sealed, with points in a file."""
    run = make_run(store)
    text = "".join(f'{{"step": {step}, "loss": {step / 2}}}\n' for step in range(count))
    (run.path / "metrics.jsonl").write_text(text)
    run.paths.heartbeat.touch()
    return run


def assert_caught_up(run: Run, count: int = 50) -> None:
    assert series(run, "loss") == [(step, step / 2) for step in range(count)]
    assert_sealed(run)


# Catching up ----------------------------------------------------------------------------------


def test_a_sealed_run_is_left_alone(store: RunStore) -> None:
    run = make_run(store)
    before = run.paths.db.stat().st_mtime_ns
    assert not needs_settling(run)
    settle([run])
    assert run.paths.db.stat().st_mtime_ns == before


def test_two_at_once_neither_lose_nor_double(store: RunStore) -> None:
    run = crashed(store, 2000)
    threads = [threading.Thread(target=lambda: settle([fresh(run)], budget_s=20)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settle([fresh(run)])
    assert_caught_up(run, 2000)


def test_what_a_daemon_prints_after_the_seal_comes_in_later(store: RunStore) -> None:
    run = make_run(store, out=["before"])
    with open(run.paths.stdout, "a") as log:
        log.write("after\n")
    later = run.paths.db.stat().st_mtime_ns + 3_600_000_000_000
    os.utime(run.paths.stdout, ns=(later, later))
    assert needs_settling(fresh(run))
    settle([fresh(run)])
    assert ("after",) in rows(run, "SELECT text FROM output")
    assert_sealed(run)
    # Though the log is from a future that the clock was set back from.
    assert not needs_settling(fresh(run))


def test_a_reader_holding_the_file_delays_the_seal_only(store: RunStore) -> None:
    run = crashed(store)
    with RunDb(run.paths.db):
        pass  # the file is in WAL mode, as a supervisor leaves it
    with contextlib.closing(sqlite3.connect(f"file:{run.paths.db}?mode=ro", uri=True)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM series").fetchone() == (0,)
        settle([fresh(run)])
        # The reader keeps what it saw; others see what was caught up.
        assert reader.execute("SELECT count(*) FROM series").fetchone() == (0,)
        assert len(series(run, "loss")) == 50
        assert run.paths.heartbeat.exists()
    settle([fresh(run)])
    assert_caught_up(run)


def test_one_broken_run_hides_no_other(store: RunStore) -> None:
    broken, good = crashed(store), crashed(store)
    broken.paths.db.write_bytes(b"no database" * 100)
    settle([fresh(broken), fresh(good)])
    assert_caught_up(good)
    assert broken.paths.db.read_bytes() == b"no database" * 100


def test_a_lock_held_elsewhere_is_respected(store: RunStore) -> None:
    from guildlite.platform import FileLock

    run = crashed(store)
    with FileLock(run.paths.lock) as lock:
        assert lock.try_acquire()
        settle([fresh(run)])
        assert run.paths.heartbeat.exists()
    settle([fresh(run)])
    assert_caught_up(run)


def test_the_budget_bounds_it(store: RunStore) -> None:
    run = crashed(store)
    assert not catchup.catch_up(run, time.monotonic() - 1)
    assert run.paths.heartbeat.exists()
    settle([fresh(run)])
    assert_caught_up(run)


# Readers while it is written -------------------------------------------------------------------

WRITING = """
import os, sys, time
with open(os.environ["RUNDIR"] + "/metrics.jsonl", "a", buffering=1) as table:
    for step in range({steps}):
        print('{{"step": %d, "loss": %s}}' % (step, step / 2), file=table)
        time.sleep(0.002)
"""


def test_readers_never_see_an_error_nor_half_a_commit(project: Path, front: Start) -> None:
    script(project, WRITING.format(steps=400))
    gl = front("train")
    run = gl.started()
    wait_for("tables", lambda: run.paths.db.exists() and _has_tables(run))
    looks = 0
    while gl.process.poll() is None:
        # From the first look to after the seal, each with a connection of its own.
        for key, count in rows(run, "SELECT key, count FROM series_key WHERE key = 'loss'"):
            assert len(series(run, key)) >= count
        looks += 1
    assert gl.end()[0] == 0
    assert looks > 5
    # A reader without a pause may have been in the way of every seal; the next command makes it.
    settle([fresh(run)])
    assert_caught_up(run, 400)


def _has_tables(run: Run) -> bool:
    with contextlib.suppress(sqlite3.OperationalError):
        return bool(rows(run, "SELECT 1 FROM sqlite_master WHERE name = 'series'"))
    return False


# Evaluations -----------------------------------------------------------------------------------

#: A looping evaluation as the contract describes it.
LOOPING = """
import os, time
print("once", os.environ["EVAL_RUN_ONCE"])
while os.environ["EVAL_RUN_ONCE"] == "0":
    print("looked", flush=True)
    time.sleep(0.2)
"""


def test_looping_evaluation_ends_with_the_training(project: Path, front: Start) -> None:
    script(project, "import time\nprint('ready', flush=True)\ntime.sleep(1.8)\n")
    script(project, LOOPING, "evaluate")
    training = front("train")
    run = training.started()
    evaluation = front("evaluate")
    status, out, err = evaluation.end()
    assert (status, out.splitlines()[:2]) == (0, ["once 0", "looked"]), err
    assert training.end()[0] == 0
    assert fresh(run).status == "completed"
    (operation,) = fresh(run).later_operations()
    assert operation.status == "stopped"
    settle([fresh(run)])
    assert_sealed(run)
    lines = rows(run, "SELECT text FROM output WHERE op = '2-evaluate' ORDER BY id")
    assert [text for (text,) in lines] == operation.paths.stdout.read_text().split("\n")[:-1]
    keys = {key for (key,) in rows(run, "SELECT key FROM series_key")}
    assert {"evaluate/op/mem/rss", "op/mem/rss"} <= keys


def test_two_evaluations_at_once(project: Path, front: Start, gl: Gl) -> None:
    script(project, "print('trained')")
    script(
        project,
        "import os, time\nfor n in range(20):\n    print('line', n); time.sleep(0.02)\n",
        "evaluate",
    )
    assert gl("train").returncode == 0
    (run,) = RunStore(project / "runs").list()
    both = [front("evaluate") for _ in range(2)]
    for one in both:
        status, out, err = one.end()
        assert (status, len(out.splitlines())) == (0, 20), err
    settle([fresh(run)])
    assert_sealed(run)
    names = {one.name for one in fresh(run).later_operations()}
    assert names == {"2-evaluate", "3-evaluate"}
    for name in names:
        texts = rows(run, "SELECT text FROM output WHERE op = ? ORDER BY id", name)
        assert texts == [(f"line {n}",) for n in range(20)]


def test_evaluation_after_the_end_reopens_and_seals_again(project: Path, gl: Gl) -> None:
    script(project, "print('loss: 0.5')")
    script(project, "print('test: 0.75')", "evaluate")
    assert gl("train").returncode == 0
    (run,) = RunStore(project / "runs").list()
    assert_sealed(run)
    assert gl("evaluate").returncode == 0
    assert_sealed(run)
    texts = rows(run, "SELECT text, op FROM output ORDER BY id")
    assert texts == [("loss: 0.5", None), ("test: 0.75", "2-evaluate")]


def test_evaluation_killed_with_all_of_ours_is_caught_up(
    project: Path, gl: Gl, front: Start
) -> None:
    script(project, "print('trained')")
    script(project, "import time\nprint('said'); time.sleep(60)", "evaluate")
    assert gl("train").returncode == 0
    (run,) = RunStore(project / "runs").list()
    evaluation = front("evaluate")
    wait_for("its start", lambda: [
        one for one in fresh(run).later_operations() if one.started_fact()
    ])  # fmt: skip
    (operation,) = fresh(run).later_operations()
    log = operation.paths.stdout
    wait_for("a line", lambda: log.exists() and log.read_text())
    started = operation.started_fact() or {}
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for name in ("supervisor", "waiter", "training"):
            os.kill(started[name]["pid"], number)  # type: ignore[index]
    evaluation.end()
    assert fresh(run).later_operations()[0].status == "lost"
    assert fresh(run).status == "completed"
    settle([fresh(run)])
    assert_sealed(run)
    assert ("said", "2-evaluate") in rows(run, "SELECT text, op FROM output")


# Faults at the n-th call -----------------------------------------------------------------------


class Faults:
    """Makes the n-th of the named system calls fail, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nth: int, *names: str) -> None:
        self.left = nth
        for name in names:
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name)))

    def _wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.EIO, "made to fail")
            return real(*arguments, **named)

        return call


_FAULTY = ("open", "fsync", "link", "write", "pwrite", "ftruncate", "replace", "waitpid")


def _train_under_faults(store: RunStore, nth: int) -> Run:
    """Start a script by a waiter whose n-th call fails, and wait for the waiter's end."""
    run = store.create("faulty")
    run.paths.manifest.write_text(json.dumps({"uid": "u", "model": "faulty", "operation": "train"}))
    program = [sys.executable, "-c", "import os; os.mkdir('ran'); raise SystemExit(3)"]
    order = Order(program, os.environ, str(run.path), run.path, run.paths, "wal", -1, -1)
    pid = os.fork()
    if not pid:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "sleep", lambda _: None)
            Faults(patch, nth, *_FAULTY)
            with contextlib.suppress(OSError):
                os.waitpid(fork_waiter(order), 0)
            os._exit(0)
    os.waitpid(pid, 0)
    return run


@pytest.mark.parametrize("nth", range(1, 24))
def test_waiter_with_its_nth_call_failing(store: RunStore, nth: int) -> None:
    run = _train_under_faults(store, nth)
    wait_ended(run)
    ran = (run.path / "ran").exists()
    fact = fresh(run).exit_fact()
    # Whatever failed: either the script ran and its own status is there, or nobody claims so.
    assert fresh(run).status in ("failed", "lost")
    if fact is not None and ran:
        assert fact["code"] == 3
    if fact is not None and not ran:
        assert fact["code"] == 125
    if run.paths.started.exists() and fact is None:
        assert fresh(run).status == "lost"


def test_the_end_is_written_though_the_script_filled_the_disk(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, fact: object) -> bool:
        if path.name == "exit.json":
            raise OSError(errno.ENOSPC, "no space left on device")
        return write_fact(path, fact)  # type: ignore[arg-type]

    monkeypatch.setattr("guildlite.execute.waiter.write_fact", full)
    run = _train_under_faults(store, 0)
    assert (fresh(run).exit_fact() or {})["code"] == 3
    # The room that was held for it is given back under its own name.
    assert {path.name for path in run.paths.meta.iterdir()} == {
        "manifest.json",
        "started.json",
        "exit.json",
    }


@pytest.mark.parametrize("nth", range(1, 12))
def test_recorder_with_its_nth_commit_failing(
    store: RunStore, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = crashed(store)
    left = nth
    real = RunDb.write

    def write(self: RunDb, readings: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise sqlite3.OperationalError("database or disk is full")
        real(self, readings)

    monkeypatch.setattr(RunDb, "write", write)
    settle([fresh(run)])
    settle([fresh(run)])
    assert_caught_up(run)


def test_a_recorder_that_fails_costs_the_run_nothing(project: Path, front: Start) -> None:
    script(project, "import time\nprint('ready', flush=True)\ntime.sleep(1)\nraise SystemExit(4)\n")
    gl = front("train")
    run = gl.started()
    wait_for("run.db", run.paths.db.exists)
    run.paths.db.unlink()
    run.paths.db.mkdir()
    assert gl.end()[0] == 4
    assert fresh(run).status == "failed"
    assert roles(run)
