"""Exit statuses and signals, with real process groups."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from conftest import Gl
from support.processes import (
    Front,
    assert_sealed,
    fresh,
    left_over,
    roles,
    script,
    wait_ended,
    wait_for,
)
from support.run_dirs import make_run

from guildlite.execute import stop as stopping
from guildlite.execute.executor import LocalExecutor
from guildlite.execute.frontend import FrontEnd
from guildlite.execute.inline import EndedJob
from guildlite.execute.supervisor import Supervisor
from guildlite.execute.waiter import Order, fork_waiter
from guildlite.runs import Run, RunStore

Start = Callable[..., Front]

READY = "import os, signal, sys, time\n"
#: Saves on Ctrl-C and ends with 0, as a script that minds does.
SAVING = READY + (
    "try:\n    print('ready'); time.sleep(60)\n"
    "except KeyboardInterrupt:\n    print('saved'); sys.exit(0)\n"
)


def ignoring(*names: str) -> str:
    lines = [f"signal.signal(signal.{name}, signal.SIG_IGN)" for name in names]
    return READY + "\n".join(lines) + "\nprint('ready')\ntime.sleep(60)\n"


def begin(start: Start, project: Path, text: str, *words: str) -> tuple[Front, Run]:
    script(project, text)
    gl = start("train", *words)
    run = gl.started()
    gl.said("ready")
    return gl, run


# Exit statuses --------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_own_status(project: Path, front: Start, code: int) -> None:
    script(project, f"raise SystemExit({code})")
    assert front("train").end()[0] == code


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV", "SIGHUP"])
def test_death_by_signal(project: Path, front: Start, name: str) -> None:
    script(project, f"import os, signal\nos.kill(os.getpid(), signal.{name})")
    gl = front("train")
    status, _, err = gl.end()
    assert status == 128 + getattr(signal, name)
    assert f"died of {name}" in err


def test_not_found_and_not_executable(project: Path, front: Start) -> None:
    (project / "tool").write_text("no program\n")
    models = "models:\n  tiny: {train: ./tool}\n"
    (project / "project.yml").write_text(models)
    assert front("train").end()[0] == 126
    (project / "tool").write_text("#!/no/such/interpreter\n")
    (project / "tool").chmod(0o755)
    assert front("train").end()[0] == 127


def test_125_when_gl_fails_before_the_start(project: Path, gl: Gl) -> None:
    (project / "runs").write_text("a file where the directory should be")
    assert gl("train").returncode == 125


def test_working_directory_gone_is_not_the_script_missing(
    store: RunStore,
) -> None:
    run = store.create("tiny")
    order = Order([sys.executable], {}, "/no/such/place", run.path, run.paths, "wal", -1, -1)
    # Forked from a process of one thread, as the contract of fork_waiter says.
    pid = os.fork()
    if not pid:
        os.waitpid(fork_waiter(order), 0)
        os._exit(0)
    os.waitpid(pid, 0)
    fact = run.exit_fact() or {}
    assert fact["code"] == 125
    assert fact["error"] == "/no/such/place: No such file or directory"


# Ctrl-C ---------------------------------------------------------------------------------------


def test_ctrl_c_once_gives_the_script_time(project: Path, front: Start) -> None:
    gl, run = begin(front, project, SAVING)
    gl.interrupt()
    status, out, _ = gl.end()
    assert (status, out) == (130, "ready\nsaved\n")
    assert (fresh(run).status, fresh(run).exit_code) == ("stopped", 0)
    assert_sealed(run)


def test_ctrl_c_twice_terminates(project: Path, front: Start) -> None:
    gl, run = begin(front, project, ignoring("SIGINT"))
    gl.interrupt()
    wait_for("stop.json", run.paths.stop.exists)
    gl.interrupt()
    assert gl.end()[0] == 130
    assert (fresh(run).status, fresh(run).exit_signal) == ("stopped", signal.SIGTERM)


def test_ctrl_c_thrice_kills(project: Path, front: Start) -> None:
    gl, run = begin(front, project, ignoring("SIGINT", "SIGTERM"))
    for text in ("Ctrl-C again sends SIGTERM", "Ctrl-C again kills", "killed"):
        gl.interrupt()
        assert gl.process.stderr is not None
        while text not in gl.process.stderr.readline():
            pass
    assert gl.process.wait(timeout=20) == 130
    assert (fresh(run).status, fresh(run).exit_signal) == ("stopped", signal.SIGKILL)


def another_front_end(run: Run) -> contextlib.closing[FrontEnd]:
    """Return a front end in this process, which shows nothing."""
    nowhere = (io.BytesIO(), io.BytesIO())
    return contextlib.closing(FrontEnd(run, run, EndedJob(), nowhere, lambda _: None))


def test_ctrl_c_before_the_script_is_there_reaches_it(project: Path, front: Start) -> None:
    _, run = begin(front, project, SAVING, "-d")
    started = run.paths.started.read_bytes()
    run.paths.started.unlink()
    with another_front_end(run) as end:
        end._on_signal(signal.SIGINT)
        assert run.paths.stop.exists()
        run.paths.started.write_bytes(started)
        end._look()
    assert wait_ended(run).exit_code == 0


def test_front_end_ends_the_grace_when_the_supervisor_is_gone(project: Path, front: Start) -> None:
    _, run = begin(front, project, ignoring("SIGINT", "SIGTERM"), "-d")
    supervisor = psutil.Process(roles(run)["supervisor"])
    supervisor.kill()
    # SIGKILL is delivered when the kernel comes to it; until then the supervisor would still do it,
    # and the front end looks again a second later.
    wait_for("the supervisor's death", lambda: not is_alive(supervisor))
    with another_front_end(run) as end:
        end._on_signal(signal.SIGTERM)
        end._look()
        assert fresh(run).status == "running"
        end._kill_at = 0.0
        end._look()
    assert wait_ended(run).exit_signal == signal.SIGKILL
    assert fresh(run).status == "stopped"


def test_ctrl_c_with_both_our_processes_dead(project: Path, front: Start) -> None:
    gl, run = begin(front, project, SAVING)
    for name in ("waiter", "supervisor"):
        os.kill(roles(run)[name], signal.SIGKILL)
    gl.interrupt()
    assert gl.end()[0] == 130
    assert fresh(run).status == "stopped"


# Signals handed on ----------------------------------------------------------------------------


def test_sigterm_to_the_front_end(project: Path, front: Start) -> None:
    gl, run = begin(front, project, READY + "print('ready')\ntime.sleep(60)\n")
    gl.process.send_signal(signal.SIGTERM)
    assert gl.end()[0] == 143
    assert fresh(run).status == "stopped"


def test_user_signals_are_handed_on(project: Path, front: Start) -> None:
    gl, run = begin(
        front,
        project,
        READY
        + "for name in ('SIGUSR1', 'SIGUSR2'):\n"
        + "    signal.signal(getattr(signal, name), lambda n, _: print('got', n, flush=True))\n"
        + "print('ready')\nsignal.pause()\nsignal.pause()\n",
    )
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        gl.process.send_signal(number)
        gl.said(f"got {number.value}")
    assert gl.end()[0] == 0
    assert fresh(run).status == "completed"


def test_sigterm_to_the_supervisor_stops_the_run(project: Path, front: Start) -> None:
    gl, run = begin(front, project, READY + "print('ready')\ntime.sleep(60)\n")
    os.kill(roles(run)["supervisor"], signal.SIGTERM)
    assert gl.end()[0] == 143
    stop = json.loads(run.paths.stop.read_text())
    assert stop["grace_s"] == 8
    assert fresh(run).status == "stopped"


def test_sigterm_to_the_supervisor_shortens_a_long_grace(project: Path, store: RunStore) -> None:
    run = make_run(store, ended=False)
    words = {"run_dir": str(run.path), "operation": "", "poke": -1, "terminal": -1}
    supervisor = Supervisor(words)
    for grace_s in (3600, 8, 600):
        supervisor._kill_within(grace_s)
    assert (supervisor._kill_at or 0) - time.monotonic() < 60


def test_suspended_training_is_stopped(project: Path, front: Start, gl: Gl) -> None:
    attached, run = begin(front, project, SAVING)
    os.kill(roles(run)["training"], signal.SIGSTOP)
    assert gl("stop").returncode == 0
    assert attached.end()[0] == 0
    assert (fresh(run).status, fresh(run).exit_code) == ("stopped", 0)


def test_stop_kills_after_its_grace(project: Path, front: Start, gl: Gl) -> None:
    attached, run = begin(front, project, ignoring("SIGINT", "SIGTERM"))
    assert gl("stop", "--grace", "0.2").returncode == 0
    assert attached.end()[0] == 128 + 9
    assert fresh(run).status == "stopped"


@pytest.mark.parametrize("dead", [["supervisor"], ["waiter"], ["waiter", "supervisor"]])
def test_stop_without_our_processes(project: Path, front: Start, gl: Gl, dead: list[str]) -> None:
    attached, run = begin(front, project, ignoring("SIGINT"))
    for name in dead:
        os.kill(roles(run)[name], signal.SIGKILL)
    assert gl("stop", "--grace", "0.2").returncode == 0
    attached.end()
    assert fresh(run).status == "stopped"
    assert not left_over(project)


# Daemons --------------------------------------------------------------------------------------

#: Double fork and a session of its own, holding standard output; `clean` without any environment.
DAEMON = (
    READY
    + """
def daemon(environ):
    if os.fork():
        os.wait()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    words = [sys.executable, '-c', 'import time; time.sleep(60)', os.environ['PROJECT']]
    os.execve(sys.executable, words, environ)
"""
)


def daemons(project: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[2:] == ["import time; time.sleep(60)", str(project)]:
                found.append(process)
    return found


@pytest.fixture
def no_daemons(project: Path) -> Iterator[None]:
    yield
    for process in daemons(project):
        process.kill()


def test_the_end_is_seen_though_a_daemon_holds_the_output(
    project: Path, front: Start, no_daemons: None
) -> None:
    script(project, DAEMON + "daemon(os.environ)\nprint('done')\n")
    gl = front("train")
    status, out, _ = gl.end()
    assert (status, out) == (0, "done\n")
    # A normal end leaves the script's own daemons alone.
    assert len(daemons(project)) == 1
    assert fresh(gl.run).status == "completed"
    assert_sealed(gl.run)


@pytest.mark.parametrize("environ", ["os.environ", "{}"])
@pytest.mark.parametrize("how", ["stop", "Ctrl-C"])
def test_stopping_takes_the_daemons_too(
    project: Path, front: Start, gl: Gl, no_daemons: None, environ: str, how: str
) -> None:
    text = DAEMON + f"daemon({environ})\nprint('ready')\ntime.sleep(60)\n"
    attached, _ = begin(front, project, text)
    wait_for("the daemon", lambda: daemons(project))
    if how == "stop":
        assert gl("stop").returncode == 0
    else:
        attached.interrupt()
    attached.end()
    assert not daemons(project)


# What the script inherits ---------------------------------------------------------------------

REPORT = """
import json, os, resource, signal
print(json.dumps({
    'fds': sorted(int(name) for name in os.listdir('/proc/self/fd')
                  if os.path.exists('/proc/self/fd/' + name)),
    'umask': os.umask(0), 'nice': os.nice(0),
    'files': resource.getrlimit(resource.RLIMIT_NOFILE),
    'status': [line.split() for line in open('/proc/self/status')
               if line.startswith(('SigIgn', 'SigBlk'))],
    'environ': dict(os.environ), 'cwd': os.getcwd(),
    'group': os.getpgrp() == os.getpid()}))
"""


def settings() -> None:
    os.umask(0o027)
    os.nice(3)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_the_script_gets_what_the_user_has(project: Path, front: Start) -> None:
    script(project, REPORT)
    with open(os.devnull) as stray:
        gl = front("train", preexec_fn=settings, pass_fds=[stray.fileno()])
        status, out, err = gl.end()
    assert status == 0, err
    said = json.loads(out)
    assert said["fds"] == [0, 1, 2]
    assert (said["umask"], said["nice"] - os.nice(0), said["files"]) == (0o027, 3, [200, 300])
    ignored = {name: int(mask, 16) for name, mask in said["status"]}
    # SIGHUP stays ignored as under nohup. SIGINT comes back: a stop has to reach the script.
    # Python itself ignores SIGPIPE and SIGXFSZ; those above 31 belong to the C library.
    by_python = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    assert ignored["SigIgn:"] & 0x7FFFFFFF & ~by_python == 1 << (signal.SIGHUP - 1)
    assert ignored["SigBlk:"] == 0
    assert said["cwd"] == str(project)
    assert said["group"]
    added = {name: value for name, value in said["environ"].items() if name not in os.environ}
    run = gl.run
    documented = {
        "RUNDIR": str(run.path), "PROJECT": str(project), "GPU_COUNT": added["GPU_COUNT"],
        "PYTHONUNBUFFERED": "1", "GL_OPERATION": f"{run.uid}/", "NO_COLOR": "1",
    }  # fmt: skip
    assert {**documented, **added} == documented
    changed = {n for n, value in os.environ.items() if said["environ"].get(n) != value}
    assert changed <= set(documented)


def test_a_project_module_does_not_get_into_the_supervisor(project: Path, front: Start) -> None:
    (project / "queue.py").write_text("raise RuntimeError('the project, not the library')\n")
    gl = front("train")
    assert gl.end()[0] == 0
    assert_sealed(gl.run)
    assert not gl.run.paths.errors.read_text()


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_zombie(pid: int) -> bool:
    return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_long_lived_launcher_keeps_no_zombies(project: Path, front: Start) -> None:
    from guildlite.execute.prepare import Words, create_run, launch_environment, plan_script
    from guildlite.runs import RunStore

    supervisors = []
    for _ in range(3):
        plan = plan_script(["train.py"], project, Words(), os.environ)
        run = create_run(plan, RunStore(project / "runs"))
        argv = plan.argv(str(run.path))
        job = LocalExecutor().submit(run, run, argv, launch_environment(plan, run, ""))
        job.wait_started()
        job.close()
        supervisors.append(roles(run)["supervisor"])
        wait_for("its end", functools.partial(is_zombie, supervisors[-1]))
    assert [pid for pid in supervisors if psutil.pid_exists(pid)] == supervisors[-1:]
    os.waitpid(supervisors[-1], 0)


def test_graces_are_as_documented() -> None:
    assert (stopping.GRACE_S, stopping.SHORT_GRACE_S) == (10, 8)
