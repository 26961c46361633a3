"""`gl why` and what it is made of: tracebacks, causes with their evidence, what has changed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from support.commands import call
from support.run_dirs import START, make_run

from guildlite.collect.cgroups import ControlGroups
from guildlite.execute.evidence import Kills, end_evidence, keep_kernel_lines
from guildlite.explain import explain
from guildlite.explain.traces import find_trace
from guildlite.platform import ProcessIdentity
from guildlite.runs import Run, RunStore
from guildlite.runs.facts import read_fact, write_fact

TITLE = "Traceback (most recent call last):"
TRACEBACK = [
    "warming up",
    TITLE,
    '  File "train.py", line 3, in <module>',
    "    main()",
    "ValueError: lr is \x1b[31mbad\x1b[0m",
]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """A directory without a project file, in which the test stands, and its runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return RunStore(tmp_path / "runs")


def add_to_exit(run: Run, **more: object) -> Run:
    """Give exit.json more than `make_run` writes."""
    fact = read_fact(run.paths.exit) or {}
    run.paths.exit.unlink(missing_ok=True)
    write_fact(run.paths.exit, {**fact, **more})
    return Run(run.path)


# The page ---------------------------------------------------------------------------------------


def test_the_page_of_a_failed_run(store: RunStore) -> None:
    run = make_run(store, code=1, out=["step 1"], err=TRACEBACK)
    page = call("why").out
    lines = page.splitlines()
    assert lines[:4] == [
        f"{run.id}  ✗ failed after 1m 04s, {time.strftime('%F %T', time.localtime(START + 64))}",
        "  ValueError: lr is bad",
        "    at train.py:3",
        "  exit status 1",
    ]
    assert "\nTraceback\n" + "".join(f"  {line}\n" for line in TRACEBACK[1:-1]) in page
    # The traceback is not shown a second time as output, the lines around it are.
    last = page[page.index("Last lines") :].splitlines()[1:3]
    assert [line.split()[1:] for line in last] == [["step", "1"], ["err", "warming", "up"]]
    assert page.count("ValueError: lr is bad") == 2 and "\x1b" not in page


def test_lines_say_how_many(store: RunStore) -> None:
    make_run(store, code=3, out=[f"line {n}" for n in range(30)])
    assert [f"line {n}" in call("why").out for n in (19, 20, 29)] == [False, True, True]
    assert "line 5" in call("why", "--lines", "25").out
    without = call("why", "-n", "0").out
    assert "Last lines" not in without and "printed nothing" not in without


def test_a_run_that_printed_nothing_is_said_to_once(store: RunStore) -> None:
    run = make_run(store, code=3)
    out = call("why").out
    assert out.count("printed nothing") == 1 and f"gl logs {run.id}" not in out


def test_nothing_of_a_run_moves_the_cursor(store: RunStore) -> None:
    run = make_run(store, code=1, out=["\x1b[2J\u202egnp"], err=[TITLE, "  a", "E\u202e: \x07"])
    run.paths.errors.write_text("\x1b]0;x\x07 notice\n")
    out = call("why").out
    assert not any(char in out for char in "\x1b\x07\u202e") and "\\u202egnp" in out


def test_json_says_the_same(store: RunStore) -> None:
    good = make_run(store, flags={"lr": "0.1"}, started=START - 100)
    run = make_run(store, code=1, err=TRACEBACK, flags={"lr": "9"})
    data = call("why", "--json").json
    assert (data["id"], data["status"], data["exit_code"]) == (run.id, "failed", 1)
    assert data["causes"][0]["kind"] == "exception" and data["causes"][0]["sure"]
    assert data["traceback"]["lines"][-1] == "ValueError: lr is bad"
    assert [line["text"] for line in data["lines"]] == ["warming up"]
    assert data["last_good"]["id"] == good.id
    assert data["last_good"]["changed"]["flags"] == [{"name": "lr", "before": "0.1", "now": "9"}]


def test_a_good_run_and_a_running_one(store: RunStore) -> None:
    make_run(store, out=["done"])
    out = call("why").out
    assert "the script ended by itself, without an error" in out and "Last lines" not in out
    make_run(store, alive=True, ended=False, started=time.time() - 5, out=["step 7"])
    out = call("why").out
    assert "it has not ended" in out and "step 7" in out and "gl logs -f" in out


def test_an_imported_run_is_not_said_to_have_ended_well(store: RunStore) -> None:
    run = make_run(store)
    fact = read_fact(run.paths.started) or {}
    run.paths.started.unlink()
    write_fact(run.paths.started, {**fact, "imported": True})
    out = call("why").out
    assert "it was imported, so how the script ended is not known" in out
    assert "likely" not in out and "by itself" not in out


def test_an_unreadable_run(store: RunStore) -> None:
    make_run(store).paths.manifest.unlink()
    out = call("why").out
    assert "! unreadable" in out and "manifest.json is missing" in out


def test_a_later_operation_that_failed(store: RunStore) -> None:
    run = make_run(store)
    later = run.paths.operation("2-evaluate")
    later.meta.mkdir(parents=True)
    write_fact(later.manifest, {"operation": "evaluate", "created": START + 300})
    write_fact(later.exit, {"time": START + 310, "duration_s": 9.0, "code": 3})
    later.stderr.write_text("no model to evaluate\n")
    out = call("why").out
    assert "\nlater operation 2-evaluate failed, exit status 3\n" in out
    assert "no model to evaluate" in out


# Tracebacks -------------------------------------------------------------------------------------


def test_chained_errors_come_in_short() -> None:
    first = [TITLE, '  File "data.py", line 9, in load', "    x", "KeyError: 1", ""]
    link = ["During handling of the above exception, another exception occurred:", ""]
    last = [TITLE, '  File "train.py", line 2, in <module>', "    y", "ValueError: 2"]
    trace = find_trace(["before", *first, *link, *last])
    assert trace is not None
    assert (trace.error, trace.where, trace.kind) == ("ValueError: 2", "train.py:2", "ValueError")
    assert trace.chain == ("KeyError: 1  (data.py:9 in load)",)
    assert trace.lines == tuple(last)
    assert trace.printed[0] == TITLE and len(trace.printed) == 9


def test_an_error_that_was_survived_is_no_cause_of_a_later_one() -> None:
    survived = [TITLE, '  File "a.py", line 1, in f', "    x", "OSError: 1", "retrying", "again"]
    trace = find_trace([*survived, *["epoch"] * 9, TITLE, "  b", "ValueError: 2"])
    assert trace is not None and (trace.error, trace.chain) == ("ValueError: 2", ())


def test_messages_of_several_lines_stay_whole() -> None:
    torch = ["RuntimeError: Error(s) in loading:", "\tMissing key(s)", "\tsize mismatch"]
    trace = find_trace([TITLE, "  a", *torch, *(f"later {n}" for n in range(20))])
    assert trace is not None and trace.lines[2:] == tuple(torch)
    pydantic = ["ValidationError: 1 validation error", "field", "  Field required"]
    trace = find_trace([TITLE, "  a", *pydantic, ""])
    assert trace is not None and trace.lines[2:] == tuple(pydantic)


def test_ranks_and_groups_and_errors_without_a_title() -> None:
    ranks = [f"[rank3]: {line}" for line in (TITLE, '  File "t.py", line 1, in f', "    x")]
    trace = find_trace([*ranks, "[rank3]: torch.cuda.OutOfMemoryError: CUDA out of memory."])
    assert trace is not None and trace.kind == "OutOfMemoryError" and trace.where == "t.py:1 in f"
    group = ["  + Exception Group " + TITLE, '  |   File "t.py", line 4, in <module>',
             "  | ExceptionGroup: many (1 sub-exception)", "  +-+---------------- 1 --------",
             "    | " + TITLE, "    | ValueError: 1", "    +----------------------"]  # fmt: skip
    trace = find_trace(["x", *group])
    assert trace is not None and trace.lines == tuple(group)
    assert trace.error == "ExceptionGroup: many (1 sub-exception)"
    syntax = ['  File "/p/t.py", line 3', "    def f(", "         ^", "SyntaxError: never closed"]
    trace = find_trace(syntax)
    assert trace is not None and (trace.error, trace.where) == (syntax[3], "/p/t.py:3")
    assert find_trace(["nothing", "TypeError: not a traceback"]) is None
    assert find_trace([]) is None


def test_long_tracebacks_lose_the_frames_of_libraries_first() -> None:
    def frame(file: str, number: int) -> list[str]:
        return [f'  File "{file}", line {number}, in f{number}', "    call()"]

    library = "/venv/lib/python3.11/site-packages/torch/nn/module.py"
    frames = [*frame("train.py", 1), *(line for n in range(30) for line in frame(library, n))]
    frames += [*frame("model.py", 7), *frame(library, 99)]
    trace = find_trace([TITLE, *frames, "RuntimeError: shapes"])
    assert trace is not None and trace.left_out == 30
    assert trace.lines == (
        TITLE, *frame("train.py", 1), "  ... 30 frames in torch", *frame("model.py", 7),
        *frame(library, 99), "RuntimeError: shapes",
    )  # fmt: skip
    assert trace.where == "model.py:7 in f7"
    deep = [line for n in range(500) for line in frame("own.py", n)]
    trace = find_trace([TITLE, *deep, "RecursionError: too deep"])
    assert trace is not None and len(trace.lines) < 30 and trace.left_out == 492


# Memory -----------------------------------------------------------------------------------------


def killed(store: RunStore, started: float = START, **more: object) -> Run:
    return make_run(store, code=None, signal=signal.SIGKILL, started=started, **more)  # type: ignore[arg-type]


def test_sigkill_alone_is_no_sign_of_want_of_memory(store: RunStore) -> None:
    add_to_exit(killed(store), oom_kills={"group": 0, "host": 0}, max_rss=2**30)
    out = call("why").out
    assert "died of SIGKILL: sent by `kill -9`" in out
    assert "no process of the machine was killed for want of memory meanwhile" in out
    assert "likely" not in out and "out of memory" not in out
    assert "memory of the script  at most 1.0 GiB" in out


def test_a_full_memory_makes_it_likely(store: RunStore) -> None:
    series = {"sys/mem/util": [0.5, 0.98], "op/mem/rss": [1e9, 8.2e9]}
    killed(store, series=series)
    out = call("why").out
    assert "died of SIGKILL, so likely the out-of-memory killer" in out
    assert "98% of the machine's memory was in use at the last look" in out
    (cause,) = explain(store.get("latest")).causes
    assert not cause.sure


def test_a_full_control_group_makes_it_likely(store: RunStore) -> None:
    run = killed(store, attrs={"memory.limit": str(4 * 2**30), "memory.total": str(64 * 2**30)})
    add_to_exit(run, max_rss=int(3.9 * 2**30))
    assert "the script used up to 3.9 GiB of the 4.0 GiB it may use" in call("why").out


def test_counted_kills_are_evidence(store: RunStore) -> None:
    add_to_exit(killed(store), oom_kills={"group": 1, "host": 1})
    out = call("why").out
    assert "killed by the kernel: out of memory (SIGKILL)" in out
    assert "1 process was killed for want of memory in its control group while it ran" in out
    # Elsewhere on the machine is a sign, not more.
    add_to_exit(killed(store, START + 1), oom_kills={"group": 0, "host": 2})
    out = call("why").out
    assert "likely the out-of-memory killer" in out
    assert "2 processes were killed for want of memory on this machine while it ran" in out


def test_the_kernels_word_is_proof_where_it_counts_as_we_do(store: RunStore) -> None:
    text = "Out of memory: Killed process {} (python) total-vm:9kB"
    for number, (space, other, sure) in enumerate(
        [("pid:[4026531836]", 0, True), ("pid:[4026531836]", 1, False), ("pid:[1]", 0, False)]
    ):
        run = killed(store, START + number)
        pid = 4242
        identity = ProcessIdentity(pid, "never", f"boot/{space}", "tower").to_json()
        run.paths.started.unlink()
        write_fact(run.paths.started, {"time": START, "training": identity})
        write_fact(run.paths.kernel, {"lines": [text.format(pid + other)]})
        cause = explain(Run(run.path)).causes[0]
        assert (cause.kind == "memory" and cause.sure) is sure
        assert f"kernel: {text.format(pid + other)}" in cause.evidence


def test_a_killed_child_is_told_of_beside_the_error(store: RunStore) -> None:
    error = "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed."
    add_to_exit(make_run(store, code=1, err=[TITLE, "  a", error]), oom_kills={"group": 1})
    first, second = explain(store.get("latest")).causes
    assert (first.kind, first.text) == ("exception", error)
    assert (second.kind, second.sure) == ("memory", False)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ("MemoryError", "memory", "out of memory: MemoryError"),
        ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8 GiB", "memory", "8 GiB"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to", "gpu memory", "GPU's memory"),
        ("torch.OutOfMemoryError: HIP out of memory.", "gpu memory", "smaller batch"),
        ("OSError: [Errno 28] No space left on device: '/x'", "disk", "the disk was full"),
        ("OSError: [Errno 122] Disk quota exceeded", "disk", "the disk was full"),
        ("sqlite3.OperationalError: database or disk is full", "disk", "the disk was full"),
        ("EOFError: EOF when reading a line", "exception", "gl train --tty"),
        ("ModuleNotFoundError: No module named 'x'", "exception", "gl check"),
        ("PermissionError: [Errno 13] Permission denied: 'x'", "exception", "this user"),
        ("ValueError: MemoryError is a word here", "exception", "ValueError"),
    ],
)
def test_errors_that_name_their_cause(store: RunStore, error: str, kind: str, words: str) -> None:
    make_run(store, code=1, err=[TITLE, "  x", error])
    assert explain(store.get("latest")).causes[0].kind == kind
    assert words in call("why").out


def test_the_gpu_is_measured_until_the_end(store: RunStore) -> None:
    series = {"gpu0/mem/util": [0.5, 0.99, 0.4], "gpu0/util": [0.9, 1.0], "sys/mem/util": [0.25]}
    attrs = {"gpu0.memory": str(8 * 2**30), "memory.total": str(16 * 2**30)}
    make_run(store, code=1, series=series, attrs=attrs)
    out = call("why").out
    assert "memory of GPU 0        40 %, at most 99 % of 8.0 GiB" in out
    assert "memory of the machine  25 % of 16.0 GiB" in out


# Disk -------------------------------------------------------------------------------------------


def test_a_disk_that_was_full_at_the_end(store: RunStore) -> None:
    run = add_to_exit(make_run(store, code=5), disk_free=0, inodes_free=9)
    out = call("why").out
    assert "likely: the disk was full" in out and "0 B were free on the disk of the run" in out
    run.paths.errors.write_text("2026 recording is interrupted: database or disk is full\n")
    (cause,) = explain(run).causes
    assert cause.sure and any("gl itself could not write" in line for line in cause.evidence)
    add_to_exit(make_run(store, code=5, started=START + 1), disk_free=2**40, inodes_free=0)
    assert "no inodes left" in call("why").out
    add_to_exit(make_run(store, code=5, started=START + 2), disk_free=2**40, inodes_free=9)
    assert "the disk was full" not in call("why").out


# Stopped, lost, not started ---------------------------------------------------------------------


def test_who_stopped_it(store: RunStore) -> None:
    run = make_run(store, code=None, signal=signal.SIGKILL, stopped=True)
    stop = {"time": START + 54, "signal": 2, "grace_s": 10.0, "reason": "gl stop", "user": "ada"}
    write_fact(run.paths.stop, stop)
    out = call("why").out
    assert "a stop was asked for by ada: gl stop" in out
    assert "SIGINT was sent; the script did not end in the 10s it had, so SIGKILL followed" in out
    assert "memory" not in out.partition("Until")[0]


def test_a_lost_run(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(store, ended=False, out=["step 1"])
    for log, moment in ((run.paths.stdout, START + 5), (run.paths.stderr, START)):
        os.utime(log, (moment, moment))
    out = call("why").out
    assert "? lost" in out and "they were killed together" in out and "step 1" in out
    identity = {
        "pid": 2**22,
        "start": "1",
        "boot": "an earlier boot/x",
        "host": os.uname().nodename,
    }
    run.paths.started.unlink()
    write_fact(run.paths.started, {"time": START, "training": identity})
    assert "the machine went down" in call("why").out


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (127, "tarin: No such file or directory", "no such command"),
        (126, "train: Permission denied", "the command could not be executed"),
    ],
)
def test_a_command_that_was_never_there(
    store: RunStore, code: int, error: str, words: str
) -> None:  # fmt: skip
    add_to_exit(make_run(store, code=code), error=error)
    out = call("why").out
    assert f"exit status {code}: {words}\n    {error}\n" in out


def test_the_status_of_a_shell_is_read(store: RunStore) -> None:
    make_run(store, code=139)
    assert "as of a shell whose command died of SIGSEGV" in call("why").out


# Since the last good run ------------------------------------------------------------------------


def test_what_has_changed_since_it_last_worked(store: RunStore) -> None:
    attrs = {"packages": '["numpy==1.0"]', "environment": '{"LANG": "C"}', "git.commit": "a" * 8}
    make_run(store, started=START - 300, flags={"lr": "0.5"})
    good = make_run(store, started=START - 200, flags={"lr": "0.1", "n": "1"}, attrs=attrs)
    make_run(store, "intro", started=START - 100)
    make_run(store, operation="evaluate", started=START - 50)
    make_run(store, started=START - 20, code=1)
    attrs = {"packages": '["numpy==2.0"]', "environment": '{"LANG": "C"}', "git.commit": "b" * 8}
    run = make_run(store, code=1, flags={"lr": "0.2", "n": "1"}, attrs=attrs)
    make_run(store, started=START + 100, flags={"lr": "0.3"})
    for one, text in ((good, "a\nb\n"), (run, "a\nc\nd\n")):
        one.paths.sources.mkdir()
        (one.paths.sources / "train.py").write_text(text)
    out = call("why", run.id).out
    assert out[out.index("Since") : out.index("Next")] == (
        f"Since the last good run, {good.id}\n"
        "  flags     lr 0.1 -> 0.2\n"
        "  source    train.py +2 -1\n"
        "  packages  numpy 1.0 -> 2.0\n"
        "  git       commit aaaaaaaa -> bbbbbbbb\n"
        "\n"
    )
    assert f"`gl diff {good.id} {run.id}`" in out


def test_nothing_changed_is_news_too(store: RunStore) -> None:
    make_run(store, started=START - 100, flags={"lr": "1"})
    make_run(store, code=1, flags={"lr": "1"})
    out = call("why").out
    assert "nothing has changed that gl records" in out and "source was not kept" in out
    assert "gl diff" not in out


# Evidence ---------------------------------------------------------------------------------------


def cgroup_root(root: Path, group: str, files: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/cgroup").write_text(group)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_kills_are_counted_in_either_version(tmp_path: Path) -> None:
    events = "low 0\nhigh 4\nmax 9\noom 2\noom_kill 3\noom_group_kill 1\n"
    two = cgroup_root(tmp_path / "2", "0::/user/me\n", {
        "sys/fs/cgroup/user/me/memory.events": events,
        "sys/fs/cgroup/user/memory.events": events.replace("kill 3", "kill 8"),
        "proc/vmstat": "pgpgin 5\noom_kill 12\n",
    })  # fmt: skip
    assert Kills.now(two) == (3, 12)
    control = "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"
    one = cgroup_root(tmp_path / "1", "4:memory:/docker/abc\n0::/\n", {
        "sys/fs/cgroup/memory/memory.oom_control": control,
    })  # fmt: skip
    # The group itself lies outside of what a container sees.
    assert ControlGroups(one).oom_kills() == 7
    assert Kills.now(cgroup_root(tmp_path / "0", "", {})) == (None, None)


def test_an_end_is_recorded_with_what_changed(tmp_path: Path) -> None:
    root = cgroup_root(tmp_path, "0::/\n", {
        "sys/fs/cgroup/memory.events": "oom_kill 5\n", "proc/vmstat": "oom_kill 5\n",
    })  # fmt: skip
    found = end_evidence(tmp_path, Kills(4, None), 1000, root)
    assert found["oom_kills"] == {"group": 1}
    assert found["max_rss"] == 1024_000
    disk = os.statvfs(tmp_path)
    assert abs(int(str(found["disk_free"])) - disk.f_bavail * disk.f_frsize) < 2**30


def test_only_telling_lines_of_the_kernel_since_the_start_are_kept(store: RunStore) -> None:
    run = make_run(store)
    log = store.root / "kmsg"
    os.mkfifo(log)
    reader = os.open(log, os.O_RDWR | os.O_NONBLOCK)
    try:
        # A real log gives a record a read; a pipe gives what is there, so one is written.
        record = "6,1,200000000,-;Out of memory: Killed process 9 (x)\n SUBSYSTEM=x\n"
        os.write(reader, record.encode())
        keep_kernel_lines(run.paths, 199.5, log)
        assert read_fact(run.paths.kernel) == {"lines": ["Out of memory: Killed process 9 (x)"]}
        run.paths.kernel.unlink()
        for line in ("6,1,100000000,-;Killed process 9 (x)", "6,1,200000000,-;usb 1: new device"):
            os.write(reader, line.encode())
            keep_kernel_lines(run.paths, 199.5, log)
            assert not run.paths.kernel.exists()
    finally:
        os.close(reader)
    keep_kernel_lines(run.paths, 0, store.root / "none")
