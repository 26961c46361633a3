"""`gl why` of real runs: real signals, a real full disk, a real control group."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.processes import Front, assert_sealed, roles, wait_ended

from guildlite.runs import RunStore

Gl = Callable[..., "subprocess.CompletedProcess[str]"]
ENDS = {
    "raise": "raise ValueError('bad batch')",
    "kill": "os.kill(os.getpid(), 9)",
    "segv": "os.kill(os.getpid(), signal.SIGSEGV)",
    "exit": "sys.exit(3)",
    "memory": "resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29)); bytearray(2**30)",
    "full": "open('/dev/full', 'w').write('x' * 100_000)",
    "shell": "code = os.system('kill -9 $$'); sys.exit(128 + os.WTERMSIG(code))",
}


@pytest.fixture
def ending(tmp_path: Path, gl: Gl) -> Callable[[str], str]:
    """Run a script that ends so, after one that ended well, and return what `gl why` says."""
    text = "import os, resource, signal, sys\nprint('step 1', flush=True)\n"
    (tmp_path / "train.py").write_text(text)
    assert gl("run", "train.py").returncode == 0

    def run(how: str) -> str:
        (tmp_path / "train.py").write_text(f"{text}{ENDS[how]}\n")
        assert gl("run", "train.py").returncode != 0
        said = gl("why")
        assert (said.returncode, said.stderr) == (0, "")
        return said.stdout

    return run


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raise", ["\n  ValueError: bad batch\n    at train.py:3\n  exit status 1\n",
                   "source  train.py +1 -0", "raise ValueError('bad batch')\n"]),
        ("kill", ["died of SIGKILL", "no process of the machine was killed for want of memory"]),
        ("segv", ["died of SIGSEGV: the script, or a library in it, touched memory"]),
        ("exit", ["ended by itself with exit status 3, without a traceback", "sys.exit("]),
        ("memory", ["out of memory: MemoryError\n    at train.py:3", "smaller batch"]),
        ("full", ["the disk was full: OSError: [Errno 28] No space left on device",
                  "another disk than that of the run"]),
        ("shell", ["exit status 137, as of a shell whose command died of SIGKILL"]),
    ],
)  # fmt: skip
def test_an_end_is_explained(ending: Callable[[str], str], how: str, words: list[str]) -> None:
    said = ending(how)
    for text in words:
        assert text in said, said
    assert "step 1\n" in said and "memory of the script" in said and "disk space left" in said
    # No end of these was for want of the machine's memory.
    assert "out-of-memory killer" not in said or "`kill -9`, the out-of-memory" in said
    assert ("likely: " in said) is (how == "shell")


def test_a_full_disk_is_named_at_once(tmp_path: Path, gl: Gl) -> None:
    (tmp_path / "train.py").write_text(f"{ENDS['full']}\n")
    said = gl("run", "train.py").stderr
    assert "         the disk was full: OSError: [Errno 28] No space left on device\nnext" in said
    (tmp_path / "train.py").write_text(f"{ENDS['raise']}\n")
    assert "         exit status 1\nnext" in gl("run", "train.py").stderr


def test_what_is_recorded_at_the_end(ending: Callable[[str], str], tmp_path: Path) -> None:
    ending("raise")
    exited = json.loads(RunStore(tmp_path / "runs").get("latest").paths.exit.read_text())
    disk = os.statvfs(tmp_path)
    assert abs(exited["disk_free"] - disk.f_bavail * disk.f_frsize) < 2**30
    assert 2**22 < exited["max_rss"] < 2**30
    # What Linux counts everywhere, and the tests have not killed anybody for want of memory.
    assert exited["oom_kills"]["host"] >= 0


def test_who_stopped_it_and_what_came_of_it(
    tmp_path: Path, front: Callable[..., Front], gl: Gl
) -> None:
    script = "import signal, time\nsignal.signal(2, signal.SIG_IGN)\nprint('on', flush=True)\n"
    (tmp_path / "train.py").write_text(f"{script}time.sleep(60)\n")
    started = front("run", "train.py")
    run = started.started()
    started.said("on")
    assert gl("stop", "--grace", "0.2").returncode == 0
    wait_ended(run)
    said = gl("why").stdout
    assert "a stop was asked for by" in said and ": gl stop\n" in said
    assert "the script did not end in the 0.2s it had, so SIGKILL followed" in said
    assert "out-of-memory" not in said and "Since the last" not in said


def test_ctrl_c_is_named(tmp_path: Path, front: Callable[..., Front], gl: Gl) -> None:
    (tmp_path / "train.py").write_text("import time\nprint('on', flush=True)\ntime.sleep(60)\n")
    started = front("run", "train.py")
    run = started.started()
    started.said("on")
    started.interrupt()
    wait_ended(run)
    said = gl("why").stdout
    assert ": Ctrl-C\n" in said and "SIGINT was sent; the script ended" in said
    assert "KeyboardInterrupt" in said


def test_a_run_killed_with_all_that_watched_it(
    tmp_path: Path, front: Callable[..., Front], gl: Gl
) -> None:
    (tmp_path / "train.py").write_text("import time\nprint('on', flush=True)\ntime.sleep(60)\n")
    started = front("run", "train.py")
    run = started.started()
    started.said("on")
    found = roles(run)
    for name in ("supervisor", "waiter", "training"):
        os.kill(found[name], signal.SIGKILL)
    wait_ended(run)
    started.end()  # it reads the files to their end too, and of two at once only one seals
    said = gl("why").stdout
    assert "? lost" in said and "they were killed together" in said
    assert "last sign of life" in said and "on\n" in said and "likely" not in said
    assert_sealed(run)


def test_a_later_operation_has_evidence_of_its_own(project: Path, gl: Gl) -> None:
    assert gl("train").returncode == 0
    (project / "evaluate.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    assert gl("evaluate").returncode == 128 + 9
    said = gl("why").stdout
    assert "later operation 2-evaluate failed, died of SIGKILL" in said
    assert "no process of the machine was killed for want of memory meanwhile" in said


# Disk -------------------------------------------------------------------------------------------


def test_a_disk_that_really_fills(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "train.py").write_text(
        "import os\n"
        "print('before', flush=True)\n"
        "with open(os.environ['RUNDIR'] + '/checkpoint', 'wb', buffering=0) as file:\n"
        "    while True:\n"
        "        file.write(bytes(4096))\n"
    )
    gl = f"{sys.executable} -m guildlite"
    command = (
        "mount -t tmpfs -o size=2M none runs || exit 99;"
        f" {gl} run train.py > /dev/null 2>&1; {gl} why"
    )
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", command],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("a tmpfs cannot be mounted here")
    assert "the disk was full" in done.stdout, done
    assert "0 B were free on the disk of the run when it ended" in done.stdout
    assert "gl purge" in done.stdout


# Memory -----------------------------------------------------------------------------------------


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group below our own that may use 96 MiB; skipped where we may make none."""
    folder = _memory_folder()
    if folder is None:
        pytest.skip("no control group for memory here")
    group = folder / f"guildlite-test-{os.getpid()}"
    limit = "memory.limit_in_bytes" if (folder / "memory.limit_in_bytes").exists() else "memory.max"
    try:
        group.mkdir()
        (group / limit).write_text(str(96 * 2**20))
    except OSError:
        if group.is_dir():
            group.rmdir()
        pytest.skip("no control group can be made here")
    yield group
    for pid in (group / "cgroup.procs").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    group.rmdir()


def _memory_folder() -> Path | None:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = {"memory": "memory", "": ""}.get(controllers)
        folder = None if root is None else Path("/sys/fs/cgroup", root, path.strip("/"))
        if folder is not None and any(
            (folder / name).exists() for name in ("memory.limit_in_bytes", "memory.max")
        ):
            return folder
    return None


def test_a_control_group_without_memory_left(tmp_path: Path, small_group: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import time\nprint('loading', flush=True)\nheld = []\n"
        "while True:\n    held.append(b'x' * 2**20)\n    time.sleep(0.002)\n"
    )
    gl = f"{sys.executable} -m guildlite"
    command = f"echo $$ > {small_group}/cgroup.procs && exec {gl} run train.py"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    run = wait_ended(RunStore(tmp_path / "runs").get("latest"))
    if run.exit_signal != signal.SIGKILL or "Cannot" in done.stderr:
        pytest.skip(f"the group did not kill: {done.stderr}")
    assert "         killed by the kernel: out of memory (SIGKILL)\n" in done.stderr
    assert run.exit_fact()["oom_kills"]["group"] == 1  # type: ignore[index]
    said = subprocess.run(
        [sys.executable, "-m", "guildlite", "why"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "NO_COLOR": "1"},
    ).stdout  # fmt: skip
    assert "killed by the kernel: out of memory (SIGKILL)" in said
    assert "1 process was killed for want of memory in its control group while it ran" in said
    assert "of the 96.0 MiB it may use" in said and "loading" in said
