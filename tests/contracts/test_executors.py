"""What every executor promises: a prepared operation becomes a run that says how it went."""

from __future__ import annotations

import io
import os
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from support.processes import assert_sealed, fresh

from guildlite.execute.executor import Executor, Job, LocalExecutor
from guildlite.execute.frontend import FrontEnd
from guildlite.execute.inline import InlineExecutor
from guildlite.execute.prepare import (
    Words,
    create_operation,
    create_run,
    launch_environment,
    plan_script,
)
from guildlite.runs import Run, RunStore
from guildlite.runs.run import OperationRecord

#: A new executor joins the contract here.
EXECUTORS: dict[str, Callable[[], Executor]] = {"local": LocalExecutor, "inline": InlineExecutor}


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Executor:
    return EXECUTORS[request.param]()


class Started:
    """A script that was submitted: its run, the record of the operation, the job."""

    def __init__(self, executor: Executor, directory: Path, text: str, *, on: Run | None) -> None:
        (directory / "script.py").write_text(textwrap.dedent(text))
        plan = plan_script(["script.py"], directory, Words(), os.environ)
        self.run = on or create_run(plan, RunStore(directory / "runs"))
        self.record: OperationRecord = create_operation(plan, self.run) if on else self.run
        environ = launch_environment(plan, self.run, self.record.paths.name)
        argv = plan.argv(str(self.run.path))
        self.job: Job = executor.submit(self.run, self.record, argv, environ)

    def end(self) -> Run:
        """Wait as a front end would, and return the run as it is then."""
        self.job.wait_started()
        while self.job.wait(1.0):
            pass
        self.job.reap()
        return fresh(self.run)


class TestExecutor:
    def start(
        self, executor: Executor, directory: Path, text: str, on: Run | None = None
    ) -> Started:
        return Started(executor, directory, text, on=on)

    def test_a_script_runs_and_the_run_is_sealed(self, executor: Executor, tmp_path: Path) -> None:
        text = "import sys; print('loss: 0.5'); print('odd', file=sys.stderr)"
        run = self.start(executor, tmp_path, text).end()
        assert (run.status, run.exit_code, run.error) == ("completed", 0, None)
        assert (run.paths.stdout.read_text(), run.paths.stderr.read_text()) == (
            "loss: 0.5\n",
            "odd\n",
        )
        assert run.started_at is not None and run.stopped_at is not None
        with run.read() as reader:
            assert [point.value for point in reader.series("output/loss")] == [0.5]
            assert reader.attrs()["exit_code"] == "0"
        assert_sealed(run)

    def test_its_exit_status_is_recorded(self, executor: Executor, tmp_path: Path) -> None:
        run = self.start(executor, tmp_path, "raise SystemExit(3)").end()
        assert (run.status, run.exit_code, run.exit_signal) == ("failed", 3, None)

    def test_the_signal_it_died_of_is_recorded(self, executor: Executor, tmp_path: Path) -> None:
        text = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        run = self.start(executor, tmp_path, text).end()
        assert (run.status, run.exit_code, run.exit_signal) == ("failed", None, signal.SIGKILL)

    def test_where_and_with_what_it_runs(self, executor: Executor, tmp_path: Path) -> None:
        text = """
            import os, sys
            alone = os.getpgrp() == os.getpid()
            print(os.getcwd(), os.environ["RUNDIR"], repr(sys.stdin.read()), alone)
        """
        run = self.start(executor, tmp_path, text).end()
        assert run.paths.stdout.read_text() == f"{tmp_path} {run.path} '' True\n"

    def test_what_cannot_be_executed(self, executor: Executor, tmp_path: Path) -> None:
        (tmp_path / "script.py").write_text("")
        plan = plan_script(["script.py"], tmp_path, Words(), os.environ)
        for words, code in ((["no-such-program"], 127), ([str(tmp_path / "script.py")], 126)):
            run = create_run(plan, RunStore(tmp_path / "runs"))
            job = executor.submit(run, run, words, launch_environment(plan, run, ""))
            job.wait_started()
            job.check_started()
            while job.wait(1.0):
                pass
            job.reap()
            run = fresh(run)
            assert (run.status, run.exit_code) == ("failed", code)
            assert words[0] in str((run.exit_fact() or {})["error"])

    def test_a_directory_that_is_gone(self, executor: Executor, tmp_path: Path) -> None:
        project, runs = tmp_path / "project", tmp_path / "runs"
        project.mkdir()
        (project / "script.py").write_text("")
        plan = plan_script(["script.py"], project, Words(), os.environ)
        run = create_run(plan, RunStore(runs))
        environ, argv = launch_environment(plan, run, ""), plan.argv(str(run.path))
        (project / "script.py").unlink()
        project.rmdir()
        job = executor.submit(run, run, argv, environ)
        while job.wait(1.0):
            pass
        job.reap()
        run = fresh(run)
        assert (run.status, run.exit_code) == ("failed", 125)
        assert str(project) in str((run.exit_fact() or {})["error"])

    def test_a_later_operation(self, executor: Executor, tmp_path: Path) -> None:
        first = self.start(executor, tmp_path, "print('trained')").end()
        later = self.start(executor, tmp_path, "print('accuracy: 0.9')", on=first)
        run = later.end()
        (operation,) = run.later_operations()
        assert (operation.status, run.status) == ("completed", "completed")
        with run.read() as reader:
            lines = [(line.op, line.text) for line in reader.output()]
        assert lines == [("", "trained"), (operation.name, "accuracy: 0.9")]

    def test_a_front_end_shows_it(self, executor: Executor, tmp_path: Path) -> None:
        started = self.start(executor, tmp_path, "print('said')")
        out, err = io.BytesIO(), io.BytesIO()
        FrontEnd(started.run, started.record, started.job, (out, err), lambda _: None).follow()
        assert (out.getvalue(), err.getvalue()) == (b"said\n", b"")
        assert fresh(started.run).status == "completed"


@pytest.mark.parametrize("free", range(97, 102))
def test_a_caller_with_many_open_files_starts_a_run(tmp_path: Path, free: int) -> None:
    # What the supervisor is given by number must not depend on the numbers of the caller's files.
    opened = [os.open(os.devnull, os.O_RDONLY)]
    while opened[-1] < free - 1:
        opened.append(os.open(os.devnull, os.O_RDONLY))
    try:
        run = Started(LocalExecutor(), tmp_path, "print('loss: 0.5')", on=None).end()
    finally:
        for descriptor in opened:
            os.close(descriptor)
    assert (run.status, run.exit_code) == ("completed", 0)
