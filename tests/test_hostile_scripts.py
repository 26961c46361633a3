"""Scripts, directories and disks that mean harm, through the real `gl`."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Gl

from guildlite.runs import Run, RunStore, Status

Latest = Callable[[], Run]


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], None]:
    """Write the script of the test, `train.py`."""

    def write(text: str) -> None:
        (tmp_path / "train.py").write_text(textwrap.dedent(text), encoding="utf-8")

    return write


def lines(run: Run, stream: int = 1) -> list[str]:
    with run.read() as reader:
        return [line.text for line in reader.output() if line.stream == stream]


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def sealed(run: Run) -> bool:
    """Return whether run.db is one plain file in DELETE mode."""
    return (
        run.paths.db.exists()
        and run.paths.db.read_bytes()[18:20] == b"\1\1"
        and not run.paths.heartbeat.exists()
    )


# --- Output ------------------------------------------------------------------------------------


def test_closes_its_output(gl: Gl, script: Callable[[str], None], latest: Latest) -> None:
    script("""
        import os, sys
        print("before", flush=True)
        os.close(1); os.close(2)
        open(os.environ["RUNDIR"] + "/after", "w").close()
        os._exit(3)
    """)
    done = gl("run", "train.py")
    assert done.returncode == 3 and done.stdout == "before\n"
    run = latest()
    assert (run.status, run.exit_code, sealed(run)) == (Status.FAILED, 3, True)
    assert (run.path / "after").exists() and lines(run) == ["before"]


def test_prints_what_is_not_text(tmp_path: Path, latest: Latest) -> None:
    data = bytes(range(256)) * 20 + b"\n\xff\xfe\0\n"
    (tmp_path / "data").write_bytes(data)
    (tmp_path / "train.py").write_text(
        "import sys; sys.stdout.buffer.write(open('data', 'rb').read())"
    )
    done = subprocess.run(
        [sys.executable, "-m", "guildlite", "run", "train.py"],
        cwd=tmp_path, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    # Byte for byte, on the terminal and in the log.
    assert done.stdout == data == latest().paths.stdout.read_bytes()
    assert lines(latest())[-1] == "\ufffd\ufffd\ufffd"


def test_a_progress_bar_is_one_line(gl: Gl, script: Callable[[str], None], latest: Latest) -> None:
    script("""
        import sys
        for n in range(10_000):
            sys.stderr.write(f"\\r{n + 1}/10000 [====]")
        sys.stderr.write("\\n")
    """)
    assert gl("run", "train.py").returncode == 0
    assert lines(latest(), 2) == ["10000/10000 [====]"]


def test_a_line_of_50_mb_is_cut_and_100_000_short_ones_are_all_there(
    gl: Gl, script: Callable[[str], None], latest: Latest
) -> None:
    script("""
        import sys
        sys.stdout.write("x" * 50_000_000 + "\\n")
        sys.stdout.write("".join(f"line {n}\\n" for n in range(100_000)))
    """)
    assert gl("run", "train.py", "-d").returncode == 0
    wait_for(lambda: latest().paths.exit.exists() and sealed(latest()))
    run = latest()
    assert run.paths.stdout.stat().st_size > 50_000_000
    found = lines(run)
    assert found[0].endswith("more bytes)") and len(found[0]) < 70_000
    assert found[1:] == [f"line {n}" for n in range(100_000)]


@pytest.mark.slow
def test_200_mb_of_output_in_little_memory(
    gl: Gl, script: Callable[[str], None], latest: Latest
) -> None:
    script("""
        import os, sys
        block = (b"x" * 99 + b"\\n") * 1000
        for n in range(2000):
            os.write(1, block)
        supervisor = os.getppid()
        for line in open(f"/proc/{supervisor}/status"):
            if line.startswith("PPid"):
                supervisor = int(line.split()[1])
        peak = next(line for line in open(f"/proc/{supervisor}/status") if "VmHWM" in line)
        open(os.environ["RUNDIR"] + "/peak", "w").write(peak.split()[1])
    """)
    assert gl("run", "train.py", "-d").returncode == 0
    wait_for(lambda: latest().paths.exit.exists() and sealed(latest()))
    run = latest()
    assert run.status == Status.COMPLETED
    assert run.paths.stdout.stat().st_size == 200_000_000
    assert int((run.path / "peak").read_text()) < 120_000  # KiB


def test_writes_into_its_own_log(gl: Gl, script: Callable[[str], None], latest: Latest) -> None:
    script("""
        import os
        print("one", flush=True)
        with open(os.environ["RUNDIR"] + "/gl.d/stdout.log", "a") as log:
            log.write("two\\n")
        print("three", flush=True)
    """)
    assert gl("run", "train.py").stdout == "one\ntwo\nthree\n"
    assert lines(latest()) == ["one", "two", "three"]


def test_a_daemon_that_prints_for_ever_does_not_hold_the_end_up(
    gl: Gl, script: Callable[[str], None], latest: Latest, tmp_path: Path
) -> None:
    script("""
        import os, time
        print("mine", flush=True)
        if os.fork() == 0:
            os.setsid()
            open("pid", "w").write(str(os.getpid()))
            while True:
                print("daemon\\n" * 20, flush=True)
                time.sleep(0.001)
        while not os.path.exists("pid") or not open("pid").read():
            pass
        os._exit(0)
    """)
    try:
        assert gl("run", "train.py", "-d").returncode == 0
        wait_for(lambda: latest().paths.exit.exists() and sealed(latest()))
        assert latest().status == Status.COMPLETED
        assert lines(latest())[0] == "mine"
    finally:
        wait_for((tmp_path / "pid").exists)
        os.kill(int((tmp_path / "pid").read_text()), 9)


# --- The run directory -------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["", "/gl.d"])
def test_deletes_its_run_directory(
    gl: Gl, script: Callable[[str], None], latest: Latest, what: str
) -> None:
    script(f"""
        import os, shutil, sys, time
        print("before", flush=True)
        time.sleep(0.5)
        shutil.rmtree(os.environ["RUNDIR"] + "{what}")
        print("after", flush=True)
        sys.exit(7)
    """)
    done = gl("run", "train.py")
    assert done.stdout == "before\nafter\n"
    # Nobody could write down how it ended.
    assert done.returncode == 1 and "lost" in done.stderr
    gone = "gl.d" if what else "[^/]+"
    assert re.search(rf"^ +runs/([^/]+/)?{gone} was deleted while it ran$", done.stderr, re.M)
    assert done.stderr.endswith(f"next     gl {'why' if what else 'runs'}\n")
    listed = gl("runs", "--json")
    assert listed.returncode == 0
    assert len(json.loads(listed.stdout)) == (1 if what else 0)
    if what:
        assert latest().error == "gl.d is missing"


def test_changes_directory_title_and_children(
    gl: Gl, script: Callable[[str], None], latest: Latest
) -> None:
    script("""
        import ctypes, os
        os.chdir("/")
        ctypes.CDLL(None).prctl(15, b") R 1 (odd", 0, 0, 0)
        children = []
        for n in range(50):
            pid = os.fork()
            if pid == 0:
                os.fork()
                os._exit(0)
            children.append(pid)
        for pid in children:
            os.waitpid(pid, 0)
        print("done")
    """)
    assert gl("run", "train.py").returncode == 0
    assert latest().status == Status.COMPLETED and lines(latest()) == ["done"]


def test_stop_finds_a_script_with_an_odd_title(
    gl: Gl, script: Callable[[str], None], latest: Latest
) -> None:
    script("""
        import ctypes, time
        ctypes.CDLL(None).prctl(15, b") Z 1 (odd\\n", 0, 0, 0)
        print("on", flush=True)
        time.sleep(60)
    """)
    assert gl("run", "train.py", "-d").returncode == 0
    assert latest().status == Status.RUNNING
    assert gl("stop").returncode == 0
    assert latest().status == Status.STOPPED


@pytest.mark.parametrize(
    "root", ["with spaces", "größe/漢字", "new\nline", "$HOME 'x\" %41?#", "-dash"]
)
def test_odd_run_roots(gl: Gl, script: Callable[[str], None], tmp_path: Path, root: str) -> None:
    project = tmp_path / "my project"
    project.mkdir()
    file = {
        "name": "odd",
        "runs": root,
        "models": {"m": {"train": "t", "flags": {"out": "$RUNDIR"}}},
    }
    (project / "project.yml").write_text(json.dumps(file))
    (project / "t.py").write_text(
        "import os, sys\n"
        "assert sys.argv[2] == os.environ['RUNDIR'] and os.path.isdir(sys.argv[2]), sys.argv\n"
        "assert os.environ['PROJECT'] == os.getcwd()\n"
        "open(sys.argv[2] + '/m.csv', 'w').write('step,loss\\n1,0.5\\n')\n"
    )
    done = gl("train", cwd=project)
    assert done.returncode == 0, done.stderr
    run = RunStore(project / root).get("latest")
    with run.read() as reader:
        assert [point.value for point in reader.series("loss")] == [0.5]
    assert sealed(run)
    assert gl("show", cwd=project).returncode == 0
    assert gl("rm", "1", cwd=project).returncode == 0
    assert gl("restore", "1", cwd=project).returncode == 0


@pytest.mark.parametrize(
    "value",
    ["two words", "it's \"quoted\"", "new\nline", "größe 漢", "-1", "--flag=x",
     "$HOME `id` ${PATH}",
     "a\\b", "x" * 100_000],
    ids=["spaces", "quotes", "newline", "unicode", "dash", "dashes", "dollar", "backslash",
         "long"],
)  # fmt: skip
def test_odd_values_reach_the_script_unchanged(
    gl: Gl, tmp_path: Path, latest: Latest, value: str
) -> None:
    (tmp_path / "train.py").write_text(
        "import argparse, json, os\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--name', default='d')\n"
        "got = parser.parse_args().name\n"
        "json.dump(got, open(os.environ['RUNDIR'] + '/got.json', 'w'))\n"
    )
    done = gl("run", "train.py", f"name={value}")
    assert done.returncode == 0, done.stderr
    got = json.loads((latest().path / "got.json").read_text())
    assert got == value
    with latest().read() as reader:
        assert reader.flags().get("name", "") == value


def test_a_value_that_is_no_utf8(tmp_path: Path, latest: Latest) -> None:
    (tmp_path / "train.py").write_text(
        "import argparse, os\nparser = argparse.ArgumentParser()\nparser.add_argument('--name')\n"
        "os.write(1, os.fsencode(parser.parse_args().name))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "guildlite", "run", "train.py", b"name=a\xffb"],
        cwd=tmp_path, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"a\xffb"), done.stderr
    with latest().read() as reader:
        assert reader.flags() == {"name": "a\\udcffb"}
    assert sealed(latest())


# --- Disks -------------------------------------------------------------------------------------


def in_namespace(words: str, command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell command in namespaces of its own; skips where that is not permitted."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    prefix = ["unshare", *words.split(), "sh", "-c"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces are not permitted here")
    return subprocess.run(
        [*prefix, command], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_disk_that_fills_keeps_what_was_before(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "train.py").write_text(
        "import os, sys, time\n"
        "out = os.environ['RUNDIR']\n"
        "with open(out + '/m.csv', 'w') as file:\n"
        "    file.write('step,loss\\n' + ''.join(f'{n},{n / 8}\\n' for n in range(100)))\n"
        "print('before', flush=True)\n"
        "time.sleep(1)\n"
        "try:\n"
        "    with open(out + '/checkpoint', 'wb', buffering=0) as file:\n"
        "        while True:\n"
        "            file.write(bytes(4096))\n"
        "except OSError:\n"
        "    pass\n"
        "time.sleep(1)\n"
        "sys.exit(5)\n"
    )
    gl = f"{sys.executable} -m guildlite"
    done = in_namespace(
        "-Urm",
        "mount -t tmpfs -o size=2M none runs || exit 99;"
        f" {gl} run train.py; echo status $?; {gl} runs --json; cp -a runs kept",
        tmp_path,
    )
    if done.returncode == 99:
        pytest.skip("a tmpfs cannot be mounted here")
    assert "before" in done.stdout
    run = RunStore(tmp_path / "kept").get("latest")
    connection = sqlite3.connect(run.paths.db)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    kept = (
        "SELECT count(*), max(value) FROM series JOIN series_key ON id = key_id WHERE key = 'loss'"
    )
    assert connection.execute(kept).fetchone() == (100, 99 / 8)
    connection.close()
    if run.exit_fact() is None:
        assert run.status == Status.LOST and "status 1" in done.stdout
    else:
        assert run.exit_code == 5 and "status 5" in done.stdout


def test_a_disk_that_is_full_from_the_start_is_a_launch_error(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "train.py").write_text("print('never')\n")
    gl = f"{sys.executable} -m guildlite"
    done = in_namespace(
        "-Urm",
        "mount -t tmpfs -o size=64k none runs || exit 99; cat /dev/zero > runs/full 2>&-;"
        f" {gl} run train.py; echo status $?; ls runs",
        tmp_path,
    )
    if done.returncode == 99:
        pytest.skip("a tmpfs cannot be mounted here")
    assert "never" not in done.stdout and "status 125" in done.stdout
    assert "No space left" in done.stderr and "Traceback" not in done.stderr
    # What could not be filled is not left behind as a run.
    assert done.stdout.endswith("full\n") and "Z-train" not in done.stdout


def test_a_read_only_directory(tmp_path: Path) -> None:
    gl = f"{sys.executable} -m guildlite"
    (tmp_path / "train.py").write_text("print('loss: 0.5')\n")
    subprocess.run([sys.executable, "-m", "guildlite", "run", "train.py"], cwd=tmp_path, check=True)
    done = in_namespace(
        "-Urm",
        "mount --bind . . && mount -o remount,ro,bind . || exit 99; cd \"$PWD\";"
        f" {gl} run train.py; echo status $?; {gl} runs --json && {gl} show && {gl} logs;"
        f" {gl} rm 1; echo status $?",
        tmp_path,
    )  # fmt: skip
    if done.returncode == 99:
        pytest.skip("a read-only mount cannot be made here")
    assert "status 125" in done.stdout and "Read-only file system" in done.stderr
    assert '"status":"completed"' in done.stdout and "loss: 0.5" in done.stdout
    assert done.stdout.endswith("status 1\n") and "Traceback" not in done.stderr


# --- Other hosts and namespaces ----------------------------------------------------------------


def test_a_run_in_a_pid_namespace_is_not_called_dead_from_outside(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import time\nprint('on', flush=True)\ntime.sleep(60)\n")
    gl = f"{sys.executable} -m guildlite"
    done = in_namespace(
        "-Urpf --mount-proc",
        f"{gl} run train.py -d >&2; {gl} runs --json; cp -a runs seen; {gl} stop >&2",
        tmp_path,
    )
    assert json.loads(done.stdout)[0]["status"] == "running", done.stderr
    # As it was while it ran: from here its processes cannot be asked.
    seen = RunStore(tmp_path / "seen").get("latest")
    assert seen.status == Status.RUNNING and seen.status_note
    old = seen.paths.heartbeat.stat().st_mtime - 3600
    os.utime(seen.paths.heartbeat, (old, old))
    seen = RunStore(tmp_path / "seen").get("latest")
    assert seen.status == Status.RUNNING and "unseen since" in str(seen.status_note)
    assert RunStore(tmp_path / "runs").get("latest").status == Status.STOPPED


def test_a_copy_goes_on_where_the_original_stood(
    gl: Gl, script: Callable[[str], None], tmp_path: Path, latest: Latest
) -> None:
    script("""
        import os, time
        with open(os.environ["RUNDIR"] + "/m.csv", "w") as file:
            file.write("step,loss\\n1,0.5\\n")
        print("on", flush=True)
        time.sleep(60)
    """)
    assert gl("run", "train.py", "-d").returncode == 0
    run = latest()
    wait_for(lambda: (run.path / "m.csv").exists() and run.paths.stdout.read_text() == "on\n")
    subprocess.run(["cp", "-a", run.path, tmp_path / "runs" / "copied"], check=True)
    listed = json.loads(gl("runs", "--json").stdout)
    assert {each["id"]: each["status"] for each in listed} == {run.id: "running", "copied": "lost"}
    with Run(tmp_path / "runs" / "copied").read() as reader:
        assert [point.value for point in reader.series("loss")] == [0.5]
    # Stopping the original is not stopping the copy, and the other way round.
    assert gl("stop", "copied").returncode == 1
    assert Run(run.path).status == Status.RUNNING
    assert gl("stop", run.id).returncode == 0


@pytest.mark.slow
def test_20_launches_at_once(gl: Gl, script: Callable[[str], None], tmp_path: Path) -> None:
    script("print('loss: 0.5')")
    words = [sys.executable, "-m", "guildlite", "run", "train.py", "-d"]
    started = [subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE) for _ in range(20)]
    paths = {process.communicate(timeout=100)[0].decode().strip() for process in started}
    assert len(paths) == 20 and all(process.returncode == 0 for process in started)
    for path in paths:
        assert gl("attach", path).returncode == 0
        assert lines(Run(Path(path))) == ["loss: 0.5"]
