"""Log directories seen through the viewer: imported into the cache, and followed there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from support.commands import call
from support.event_files import records, scalar, scalars, version
from support.logdirs import append, snapshot, write
from support.processes import series, wait_for

from guildlite.execute.stop import NotOurs, stop
from guildlite.platform import ProcessIdentity
from guildlite.runs import Run, RunStore, Status
from guildlite.transfer.following import Following
from guildlite.transfer.imports import QUIET_S, Importer

ROOT = Path(__file__).parent.parent


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """An empty log directory."""
    path = tmp_path / "logs"
    path.mkdir()
    return path


def refuse(notice: str) -> None:
    raise AssertionError(notice)


def values(store: RunStore) -> list[int]:
    """Return how many points of `loss` each run has, as another process reads it."""
    return [len(series(run, "loss")) for run in store.list()]


def test_what_is_written_while_one_looks_is_followed(logs: Path) -> None:
    file = write(logs / "a", *scalars(3))
    following = Following([logs], refuse)
    store = RunStore(following.directory / "runs")
    with following:
        wait_for("the run", lambda: values(store) == [3])
        assert store.list()[0].status is Status.RUNNING
        append(file, scalar("loss", 3, 1.5))
        wait_for("its new point", lambda: values(store) == [4])
        write(logs / "b", *scalars(2))
        wait_for("a new run", lambda: sorted(values(store)) == [2, 4])
        before = snapshot(logs)
    assert {run.status for run in store.list()} == {Status.COMPLETED}
    assert snapshot(logs) == before


def test_the_next_viewer_goes_on(logs: Path) -> None:
    file = write(logs / "a", *scalars(3))
    following = Following([logs], refuse)
    store = RunStore(following.directory / "runs")
    with following:
        wait_for("the run", lambda: values(store) == [3])
    append(file, scalar("loss", 3, 1.5))
    with Following([logs], refuse):
        wait_for("its new point", lambda: values(store) == [4])
        wait_for("its status", lambda: store.list()[0].status is Status.RUNNING)


def test_a_quiet_run_has_ended_until_it_grows(logs: Path, store: RunStore) -> None:
    file = write(logs / "a", *scalars(3))
    os.utime(file, (0, 0))
    importer = Importer(store.root, follower=ProcessIdentity.of(os.getpid()))
    importer.look([logs])
    assert store.list()[0].status is Status.COMPLETED
    append(file, scalar("loss", 3, 1.5))
    importer.look([logs])
    assert store.list()[0].status is Status.RUNNING
    old = file.stat().st_mtime - QUIET_S - 1
    os.utime(file, (old, old))
    importer.look([logs])
    importer.look([logs])
    assert store.list()[0].status is Status.COMPLETED


def test_a_run_whose_follower_died_is_put_right_by_the_next(logs: Path, store: RunStore) -> None:
    file = write(logs / "a", *scalars(3))
    gone = ProcessIdentity.of(os.getpid())._replace(start="another")
    Importer(store.root, follower=gone).look([logs])
    assert store.list()[0].status is Status.LOST
    os.utime(file, (0, 0))
    Importer(store.root, follower=ProcessIdentity.of(os.getpid())).look([logs])
    assert store.list()[0].status is Status.COMPLETED


def test_what_a_viewer_follows_is_neither_stopped_nor_moved(
    logs: Path, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The viewer stands in started.json; here it is a process that would die of any signal."""
    write(logs / "a", *scalars(3))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as viewer:
        Importer(store.root, follower=ProcessIdentity.of(viewer.pid)).look([logs])
        (run,) = store.list()
        assert run.status is Status.RUNNING
        monkeypatch.chdir(store.root.parent)
        for words in (["stop", run.id], ["stop", run.id, "--kill"]):
            answer = call(*words)
            assert answer.status == 1
            assert answer.err.splitlines()[0] == (
                f"error: {run.id} was imported and is only followed here,"
                " so there is nothing to stop"
            )
        assert "no run is running" in call("stop").err
        moved = call("rm", run.id)
        assert (moved.status, "is followed by a viewer" in moved.err) == (1, True)
        with pytest.raises(NotOurs):
            stop(run, run.uid, ended=lambda: False)
        assert not run.paths.stop.exists() and run.path.exists()
        assert viewer.poll() is None
        viewer.communicate(b"\n")
    assert viewer.returncode == 0


def test_a_run_moved_to_the_trash_stays_there(logs: Path, store: RunStore) -> None:
    file = write(logs / "a", *scalars(3))
    importer = Importer(store.root)
    importer.look([logs])
    store.trash(store.list()[0])
    append(file, scalar("loss", 3, 1.5))
    for _ in range(2):
        importer.look([logs])
        assert store.list() == []


def test_troubles_are_told_once(logs: Path) -> None:
    file = write(logs / "a", *scalars(3))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    (logs / "noise.tfevents").write_bytes(b"these are not the records you look for")
    told: list[str] = []
    following = Following([logs], told.append)
    with following:
        store = RunStore(following.directory / "runs")
        wait_for("the run", lambda: values(store) == [2])
        append(file, scalar("loss", 3, 1.5))
        wait_for("its new point", lambda: values(store) == [3])
    assert len(told) == len(set(told)) == 2


def test_each_set_of_log_directories_has_its_own_place(logs: Path, cache: Path) -> None:
    (logs / "a").mkdir()
    (logs.parent / "link").symlink_to(logs)
    both = [Following(paths, refuse) for paths in ([logs, logs / "a"], [logs / "a", logs])]
    assert both[0].directory == both[1].directory and both[0].name == "logs and 1 more"
    alone = Following([logs], refuse)
    assert alone.directory not in (both[0].directory, both[0].directory.parent)
    assert Following([logs.parent / "link"], refuse).directory == alone.directory
    assert cache in alone.directory.parents and alone.name == "logs"


# The command ------------------------------------------------------------------------------------


@contextmanager
def viewing(logs: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "guildlite", "view", str(logs), "--no-browser", *words],
        cwd=ROOT, env={**os.environ, "GL_TOKEN": "0123456789abcdef"}, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


def test_gl_view_of_a_log_directory(logs: Path) -> None:
    file = write(logs / "a", *scalars(3))
    before = snapshot(logs)
    with viewing(logs, "--port", "0") as process:
        line = first_line(process)
        found = re.fullmatch(r"viewing logs at (http://\S+)/\?token=\S+\n", line)
        assert found is not None, line
        headers = {"authorization": "Bearer 0123456789abcdef"}

        def shown() -> list[dict[str, object]]:
            answer = httpx.get(f"{found[1]}/api/v1/runs", headers=headers)
            runs: list[dict[str, object]] = answer.json()["rows"]
            return runs

        wait_for("the run", shown)
        (run,) = shown()
        assert (run["id"], run["status"]) == ("20231114T221320Z-a", "running")
        with viewing(logs) as second:
            assert first_line(second).startswith(f"logs is being viewed at {found[1]}/?token=")
            assert second.wait(30) == 0
        assert snapshot(logs) == before
        append(file, scalar("loss", 3, 1.5))
        page = f"{found[1]}/runs/{run['id']}"
        wait_for("the point", lambda: "1.5" in httpx.get(page, headers=headers).text)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    (done,) = RunStore(Following([logs], refuse).directory / "runs").list()
    assert Run(done.path).status is Status.COMPLETED


@pytest.mark.parametrize("word", ["missing", "logs/events.tfevents"])
def test_gl_view_of_what_is_no_log_directory(logs: Path, word: str) -> None:
    (logs / "events.tfevents").write_bytes(records(version()))
    with viewing(logs.parent / word) as process:
        assert first_line(process).startswith("error: ")
        assert process.wait(30) == 2
