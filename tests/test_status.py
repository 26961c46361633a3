"""Status from evidence: recycled pids, reboots, other hosts, copies, missing and damaged facts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Gl
from support.processes import Front, fresh, roles, script, wait_ended
from support.run_dirs import make_run

from guildlite.execute.catchup import needs_settling, settle
from guildlite.platform import ProcessIdentity
from guildlite.runs import Run, RunStore
from guildlite.runs.facts import read_fact, write_fact

Start = Callable[..., Front]


@pytest.fixture
def unfinished(store: RunStore) -> Run:
    """A run whose processes were this one, and that left no exit.json."""
    return make_run(store, ended=False, alive=True)


def change(run: Run, **values: Any) -> Run:
    """Rewrite the identities of all processes in started.json."""
    started = read_fact(run.paths.started) or {}
    for name in ("training", "waiter", "supervisor"):
        identity = started.get(name)
        if isinstance(identity, dict):
            started[name] = {**identity, **values}
    run.paths.started.unlink()
    write_fact(run.paths.started, started)
    return fresh(run)


def files(run: Run) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(run.path.rglob("*"))
    }


def test_a_living_process_is_running(unfinished: Run) -> None:
    assert unfinished.status == "running"


def test_a_strangers_process_with_our_pid_is_not_alive(unfinished: Run) -> None:
    # The pid lives, and is this very process; only the start token tells.
    assert change(unfinished, start="1").status == "lost"


def test_a_process_of_an_earlier_boot_is_dead(unfinished: Run) -> None:
    namespace = ProcessIdentity.of(os.getpid()).boot.partition("/")[2]
    assert change(unfinished, boot=f"another-boot/{namespace}").status == "lost"


def test_another_host_cannot_be_asked_and_is_never_written_to(unfinished: Run) -> None:
    run = change(unfinished, host="elsewhere", boot="another-boot/ns")
    run.paths.heartbeat.touch()
    before = files(run)
    assert (fresh(run).status, fresh(run).status_note) == ("running", "on elsewhere")
    os.utime(run.paths.heartbeat, (0, 1_795_196_701))
    assert fresh(run).status == "running"
    assert "unseen since 2026-11-20" in (fresh(run).status_note or "")
    os.utime(run.paths.heartbeat)
    assert fresh(run).status_note == "on elsewhere"
    settle([fresh(run)])
    after = files(run)
    assert {**after, str(run.paths.heartbeat): 0} == {**before, str(run.paths.heartbeat): 0}


def test_another_hosts_ended_run_is_left_to_it(store: RunStore) -> None:
    run = make_run(store)
    change(run, host="elsewhere", boot="another-boot/ns")
    run.paths.heartbeat.touch()
    before = files(run)
    assert fresh(run).status == "completed"
    assert not needs_settling(fresh(run))
    settle([fresh(run)])
    assert files(run) == before


def test_another_pid_namespace_of_this_boot_cannot_be_asked(unfinished: Run) -> None:
    boot = ProcessIdentity.of(os.getpid()).boot.partition("/")[0]
    run = change(unfinished, boot=f"{boot}/pid:[1]")
    assert run.status == "running"
    assert "never seen" in (run.status_note or "")


def test_exit_decides_over_a_living_process(unfinished: Run) -> None:
    write_fact(unfinished.paths.exit, {"code": 0, "signal": None, "stopped": False})
    assert fresh(unfinished).status == "completed"


def test_stop_without_exit_is_stopped(unfinished: Run) -> None:
    write_fact(unfinished.paths.stop, {"signal": 2})
    assert change(unfinished, start="1").status == "stopped"


def test_stop_after_the_end_changes_nothing(store: RunStore) -> None:
    run = make_run(store)
    write_fact(run.paths.stop, {"signal": 2})
    assert fresh(run).status == "completed"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00\xff", '{"training": 7}'])
def test_damaged_started_is_not_running(unfinished: Run, text: str) -> None:
    unfinished.paths.started.write_text(text)
    assert fresh(unfinished).status in ("lost", "pending")
    assert not needs_settling(fresh(unfinished)) or fresh(unfinished).status == "lost"


def test_never_started_is_lost_once_its_launcher_is_gone(unfinished: Run) -> None:
    unfinished.paths.started.unlink()
    manifest = dict(unfinished.manifest)
    unfinished.paths.manifest.unlink()
    launcher = ProcessIdentity.of(os.getpid())
    write_fact(unfinished.paths.manifest, {**manifest, "launcher": launcher.to_json()})
    assert fresh(unfinished).status == "pending"
    unfinished.paths.manifest.unlink()
    gone = launcher._replace(start="1")
    write_fact(unfinished.paths.manifest, {**manifest, "launcher": gone.to_json()})
    # Its supervisor may have outlived it, and be about to start the script.
    assert fresh(unfinished).status == "pending"
    unfinished.paths.stop.write_text("{}")
    assert fresh(unfinished).status == "stopped"
    unfinished.paths.stop.unlink()
    written = time.time() - 6
    os.utime(unfinished.paths.manifest, (written, written))
    assert fresh(unfinished).status == "lost"


def test_a_run_in_the_making_is_pending(store: RunStore) -> None:
    made = store.create("digits")
    made.paths.sources.mkdir()
    (listed,) = store.list()
    assert (listed.error, listed.status, listed.busy()) == (None, "pending", True)
    assert not needs_settling(fresh(made))
    # Its making ended without a manifest: killed, say.
    old = time.time() - 61
    os.utime(made.paths.root, (old, old))
    assert fresh(made).status == "lost"
    assert fresh(made).error == "gl.d/meta/manifest.json is missing"


def test_a_manifest_that_appears_is_seen(store: RunStore) -> None:
    made = store.create("digits")
    assert made.error is None and made.model == ""
    write_fact(made.paths.manifest, {"model": "digits"})
    assert made.error is None and made.model == "digits"


@pytest.mark.parametrize("name", ["stdout.log", "run.db", "lock"])
def test_a_started_run_that_lost_its_manifest_is_not_in_the_making(
    store: RunStore, name: str
) -> None:
    made = store.create("digits")
    (made.paths.root / name).touch()
    assert fresh(made).error == "gl.d/meta/manifest.json is missing"


def test_a_copy_of_a_running_run_does_not_run(project: Path, front: Start) -> None:
    script(project, "import time\nprint('loss: 0.5')\ntime.sleep(60)\n")
    gl = front("train")
    run = gl.started()
    gl.said("loss")
    copy = Run(Path(shutil.copytree(run.path, run.path.with_name("copy"))))
    assert copy.status == "lost"
    settle([copy])
    assert not copy.paths.heartbeat.exists()
    assert fresh(run).status == "running"
    gl.interrupt()
    assert gl.end()[0] == 130
    assert fresh(run).status == "stopped"
    assert Run(copy.path).status == "lost"


def test_a_renamed_run_runs_on(project: Path, front: Start) -> None:
    script(project, "import time\nprint('ready')\ntime.sleep(60)\n")
    gl = front("train", "-d")
    assert gl.end()[0] == 0
    run = gl.run
    moved = Run(run.path.rename(run.path.with_name("moved")))
    assert moved.status == "running"
    os.kill(roles(moved)["training"], signal.SIGKILL)


def test_signals_never_hit_a_stranger(unfinished: Run) -> None:
    from guildlite.execute.stop import Processes, kill_all, send

    run = change(unfinished, start="1")
    processes = Processes(run, run.uid)
    # This process has the recorded pid, and survives.
    send(processes, signal.SIGTERM)
    assert kill_all(processes) == []


# -d, attach, --tty ------------------------------------------------------------------------------


def test_detached_prints_only_the_directory(project: Path, gl: Gl, front: Start) -> None:
    script(project, "import time; time.sleep(0.3)")
    answer = gl("train", "-d")
    (run,) = RunStore(project / "runs").list()
    assert (answer.returncode, answer.stdout) == (0, f"{run.path}\n")
    assert wait_ended(run).status == "completed"


def test_attach_shows_everything_and_ends_with_the_scripts_status(
    project: Path, gl: Gl, front: Start
) -> None:
    script(
        project,
        "import sys, time\nprint('one')\ntime.sleep(0.4)\nprint('two')\n"
        "print('three', file=sys.stderr)\nsys.exit(5)\n",
    )
    gl("train", "-d")
    answer = gl("attach")
    assert (answer.returncode, answer.stdout) == (5, "one\ntwo\n")
    assert answer.stderr.startswith("three\n")


def test_ctrl_c_in_attach_only_detaches(project: Path, gl: Gl, front: Start) -> None:
    script(project, "import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    gl("train", "-d")
    attached = front("attach")
    assert attached.process.stdout is not None
    assert attached.process.stdout.readline() == "ready\n"
    attached.interrupt()
    status, _, err = attached.end()
    (run,) = RunStore(project / "runs").list()
    assert (status, "goes on" in err) == (0, True)
    assert run.status == "running"
    assert gl("stop").returncode == 0


def test_reading_input_without_a_terminal_gets_the_hint(project: Path, gl: Gl) -> None:
    script(project, "input('name? ')")
    answer = gl("train")
    assert answer.returncode == 1
    assert "`--tty` gives it the terminal" in answer.stderr


@pytest.mark.skipif(not hasattr(os, "forkpty"), reason="needs pseudo-terminals")
def test_tty_lets_the_script_ask(project: Path, front: Start) -> None:
    script(project, "print('hello', input('name? '))\nprint('loss: 0.125')\n")
    pid, terminal = os.forkpty()
    if not pid:
        os.chdir(project)
        os.execv(sys.executable, [sys.executable, "-m", "guildlite", "train", "--tty"])
    seen = b""
    deadline = time.monotonic() + 30
    asked = False
    while time.monotonic() < deadline:
        try:
            data = os.read(terminal, 1024)
        except OSError:
            break
        if not data:
            break
        seen += data
        if b"name?" in seen and not asked:
            asked = True
            os.write(terminal, b"world\r")
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert (os.waitstatus_to_exitcode(status), b"hello world" in seen) == (0, True), seen
    (run,) = RunStore(project / "runs").list()
    # What the front end relayed last is in run.db, too.
    with run.read() as reader:
        assert [line.text for line in reader.output()][-2:] == ["hello world", "loss: 0.125"]


def test_json_of_exit_is_whole(project: Path, gl: Gl) -> None:
    gl("train")
    (run,) = RunStore(project / "runs").list()
    fact = json.loads(run.paths.exit.read_text())
    end = {"attempt", "time", "duration_s", "code", "signal", "stopped", "by"}
    # What a system does not count is left out.
    evidence = {"oom_kills", "max_rss", "disk_free", "inodes_free"}
    assert end <= set(fact) <= end | evidence
    assert {"max_rss", "disk_free"} <= set(fact)
