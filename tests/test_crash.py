"""Kill -9 of whoever takes part in a run: nothing hangs, nothing flushed is lost or doubled."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import Gl
from support.event_files import records, scalar, version
from support.processes import (
    Front,
    assert_sealed,
    fresh,
    left_over,
    roles,
    rows,
    script,
    series,
    wait_ended,
    wait_for,
)

from guildlite.execute.catchup import needs_settling, settle
from guildlite.runs import Run, RunStore
from guildlite.runs.facts import write_fact

STEPS = 150
#: Appends ready-made event records, JSON lines and output, and says outside the run how many of
#: them it has handed to the kernel. Ends with 7.
SCRIPT = """
import json, os, sys, time
run = os.environ["RUNDIR"]
count = os.open(os.path.join(os.path.dirname(run), os.path.basename(run) + ".flushed"),
                os.O_WRONLY | os.O_CREAT)
with open("records.hex") as lines, \\
     open(run + "/events.out.tfevents.1.host", "ab", buffering=0) as events, \\
     open(run + "/metrics.jsonl", "ab", buffering=0) as table:
    events.write(bytes.fromhex(next(lines)))
    for step, line in enumerate(lines):
        events.write(bytes.fromhex(line))
        table.write(json.dumps({"step": step, "accuracy": step / 4}).encode() + b"\\n")
        os.write(1, b"step %d\\n" % step)
        os.pwrite(count, b"%08d" % (step + 1), 0)
        time.sleep(0.003)
sys.exit(7)
"""


@pytest.fixture
def counting(project: Path) -> Path:
    """A project whose script counts what it flushed."""
    payloads = [version(), *(scalar("loss", step, step / 2, 100 + step) for step in range(STEPS))]
    (project / "records.hex").write_text("".join(f"{records(one).hex()}\n" for one in payloads))
    script(project, SCRIPT)
    return project


def flushed(run: Run) -> int:
    path = run.path.with_name(f"{run.id}.flushed")
    return int(path.read_bytes() or b"0") if path.exists() else 0


def assert_complete(run: Run) -> None:
    """Compare run.db with what the script handed to the kernel, and with the files themselves."""
    assert not fresh(run).busy()
    wait_for("the seal", lambda: _sealed(run))
    assert_sealed(run)
    lines = _whole_lines(run.path / "metrics.jsonl")
    printed = _whole_lines(run.paths.stdout)
    assert flushed(run) <= len(lines) <= flushed(run) + 1
    assert len(printed) >= flushed(run)
    assert series(run, "accuracy") == [(step, step / 4) for step in range(len(lines))]
    loss = series(run, "loss")
    assert flushed(run) <= len(loss) <= flushed(run) + 1
    assert loss == [(step, step / 2) for step in range(len(loss))]
    stored = [text for (text,) in rows(run, "SELECT text FROM output WHERE stream = 1 ORDER BY id")]
    assert stored == printed
    summary = rows(run, "SELECT key, count FROM series_key WHERE key IN ('loss', 'accuracy')")
    assert dict(summary) == ({"loss": len(loss), "accuracy": len(lines)} if loss else {})


def _sealed(run: Run) -> bool:
    """Settle as each command does; a supervisor may still be at it, or one look too short."""
    settle([fresh(run)])
    return not needs_settling(fresh(run))


def _whole_lines(path: Path) -> list[str]:
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1].decode().splitlines()


Start = Callable[..., Front]


def kill(*pids: int) -> None:
    """Kill together: all are stopped first, so that none sees another end."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def middle(start: Start) -> tuple[Front, Run, dict[str, int]]:
    """Return a run in the middle of its work."""
    gl = start("train")
    run = gl.started()
    wait_for("some points", lambda: flushed(run) > 20)
    return gl, run, roles(run)


def test_supervisor_killed_leaves_the_training_its_own_status(counting: Path, front: Start) -> None:
    gl, run, pids = middle(front)
    kill(pids["supervisor"])
    assert gl.end()[0] == 7
    assert (fresh(run).status, fresh(run).exit_code) == ("failed", 7)
    assert (fresh(run).exit_fact() or {})["by"] == "waiter"
    assert flushed(run) == STEPS
    assert_complete(run)


def test_waiter_killed_supervisor_writes_the_end(counting: Path, front: Start) -> None:
    gl, run, pids = middle(front)
    kill(pids["waiter"])
    assert gl.end()[0] == 7
    assert (fresh(run).exit_fact() or {})["by"] == "supervisor"
    assert (fresh(run).exit_fact() or {})["code"] == 7
    assert 0 < (fresh(run).duration_s or 0) < 30
    assert flushed(run) == STEPS
    assert_complete(run)


#: A supervisor in a process of its own, whose waiter is killed between learning of the end and
#: writing it. The launch comes over standard input.
DYING_WAITER = """
import json, os, signal, sys
from guildlite.execute import supervisor, waiter
waiter.end_evidence = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
supervisor.main(json.load(sys.stdin))
"""


@pytest.mark.parametrize(("ending", "code", "died_of"), [
    ("sys.exit(7)", 7, None), ("os.abort()", None, 6), ("sys.exit(0)", 0, None),
])  # fmt: skip
def test_waiter_killed_after_it_saw_the_end(
    store: RunStore, ending: str, code: int | None, died_of: int | None
) -> None:
    # The system tells only once how a process ended: what the waiter heard must outlive it.
    run = store.create("expert")
    write_fact(run.paths.manifest, {"uid": "u", "model": "expert", "operation": "train"})
    launch = {
        "run_dir": str(run.path), "operation": "", "poke": -1, "terminal": -1,
        "argv": [sys.executable, "-c", f"import os, sys\n{ending}"], "directory": str(run.path),
    }  # fmt: skip
    subprocess.run(
        [sys.executable, "-c", DYING_WAITER], input=json.dumps(launch).encode(), check=True
    )
    assert (fresh(run).exit_code, fresh(run).exit_signal) == (code, died_of)
    assert (fresh(run).exit_fact() or {})["by"] == "waiter"
    assert {path.name for path in run.paths.exit.parent.glob("*exit.json*")} == {"exit.json"}
    assert_sealed(run)


#: The training has ended and come to a supervisor that still takes its waiter for alive.
INHERITING = """
import os, sys, time
from types import SimpleNamespace
from guildlite.execute.supervisor import Supervisor
ours = Supervisor({"run_dir": sys.argv[1], "operation": "", "poke": -1, "terminal": -1})
training, daemon = (os.posix_spawn(sys.executable, [sys.executable, "-c", f"exit({code})"], {})
                    for code in (7, 0))
for pid in (training, daemon):
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
ours.waiter, ours.recorder = os.getpid(), SimpleNamespace(has_children=lambda: False)
ours.record._started = {"training": {"pid": training}}
ours._reap_orphans()
print(os.waitstatus_to_exitcode(os.waitpid(training, 0)[1]))
"""


def test_training_that_came_to_the_supervisor_is_no_orphan(store: RunStore) -> None:
    run = store.create("expert")
    words = [sys.executable, "-c", INHERITING, str(run.path)]
    assert subprocess.run(words, capture_output=True, text=True).stdout == "7\n"


def test_training_killed_is_a_failure_by_signal(counting: Path, front: Start) -> None:
    gl, run, pids = middle(front)
    kill(pids["training"])
    assert gl.end()[0] == 128 + 9
    assert (fresh(run).status, fresh(run).exit_signal) == ("failed", 9)
    assert_complete(run)


def test_waiter_and_supervisor_killed_the_run_goes_on_and_is_lost(
    counting: Path, front: Start
) -> None:
    gl, run, pids = middle(front)
    kill(pids["waiter"], pids["supervisor"])
    assert fresh(run).status == "running"
    assert gl.end()[0] == 1
    assert fresh(run).status == "lost"
    assert flushed(run) == STEPS
    assert_complete(run)


def test_all_killed_is_lost(counting: Path, front: Start) -> None:
    gl, run, pids = middle(front)
    kill(*pids.values())
    assert gl.end()[0] == 1
    assert fresh(run).status == "lost"
    assert fresh(run).stopped_at is None
    assert_complete(run)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_front_end_killed_detaches(counting: Path, front: Start, number: int) -> None:
    gl, run, _ = middle(front)
    gl.process.send_signal(number)
    assert gl.end()[0] == -number
    assert wait_ended(run).exit_code == 7
    wait_for("the seal", lambda: not run.paths.heartbeat.exists())
    assert flushed(run) == STEPS
    assert_complete(run)


def test_listing_seals_what_a_crash_left(counting: Path, front: Start, gl: Gl) -> None:
    attached, run, pids = middle(front)
    attached.process.kill()
    kill(*pids.values())
    wait_ended(run)
    assert run.paths.heartbeat.exists()
    answer = gl("runs")
    assert (answer.returncode, "lost" in answer.stdout) == (0, True), answer.stderr
    assert_sealed(run)
    assert_complete(run)


def test_script_that_deletes_its_run_directory_hangs_nobody(project: Path, front: Start) -> None:
    script(project, "import os, shutil\nprint('x')\nshutil.rmtree(os.environ['RUNDIR'])\n")
    status, _, err = front("train").end()
    assert status == 1
    assert "Traceback" not in err
    wait_for("everybody's end", lambda: not left_over(project))


def test_supervisor_killed_before_the_start_says_so(project: Path, front: Start) -> None:
    # A bootstrap that never gets its words: its process is killed while it waits for them.
    gl = front("train")
    family = psutil.Process(gl.process.pid)
    wait_for("a supervisor", lambda: family.children())
    for child in family.children():
        child.kill()
    status, _, err = gl.end()
    if fresh(gl.run).started_fact() is None:
        assert (status, fresh(gl.run).status) == (125, "failed"), err
    else:
        assert status in (0, 1)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fifty_kills_at_random_moments(counting: Path, front: Start) -> None:
    chance = random.Random(20261120)
    victims = (
        ["supervisor"], ["waiter"], ["training"], ["waiter", "supervisor"],
        ["supervisor", "waiter", "training"], ["front"],
    )  # fmt: skip
    for turn in range(50):
        _one_turn(front, victims[turn % len(victims)], chance)


def _one_turn(start: Start, victims: list[str], chance: random.Random) -> None:
    gl = start("train")
    time.sleep(chance.uniform(0.1, 0.9))
    family = _family(gl.process.pid)
    together = chance.random() < 0.5
    chance.shuffle(victims)
    pids = [family[name] for name in victims if name in family]
    if together:
        kill(*pids)
    else:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    status, _, err = gl.end()
    if not gl._made() or not gl.run.manifest:  # killed while the run was being made
        return
    run = wait_ended(gl.run)
    told = f"killed {victims}, {family}: {status} {err} {run.exit_fact()}"
    code, died_of = run.exit_code, run.exit_signal
    if run.exit_fact() is None:
        assert run.status == "lost", told
        assert {"waiter", "supervisor"} <= set(victims) or "front" in victims, told
    elif code != 7:
        killed = "training" in victims and died_of == 9
        assert killed or (code == 125 and run.started_fact() is None) or code == 125, told
    if "front" not in victims:
        own = code if died_of is None else 128 + died_of
        assert status == (1 if run.exit_fact() is None else own), told
    else:
        wait_for("the supervisor's end", lambda: not _lives(family.get("supervisor")))
    assert_complete(run)


def _lives(pid: int | None) -> bool:
    return (
        pid is not None
        and psutil.pid_exists(pid)
        and (psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    )


def _family(front: int) -> dict[str, int]:
    """Return who is there by now, by descent alone."""
    family = {"front": front}
    with contextlib.suppress(psutil.Error, ValueError):  # not there yet
        for name, parent in (("supervisor", "front"), ("waiter", "supervisor"),
                             ("training", "waiter")):  # fmt: skip
            children = psutil.Process(family[parent]).children()
            # The supervisor may be running git beside its waiter.
            family[name] = min(children, key=lambda one: one.create_time()).pid
    return family
