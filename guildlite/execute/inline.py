"""An operation run to its end where it is submitted: no process but the script's.

For tests, and for debugging what gl makes of a script. There is neither waiter nor supervisor, so
nothing is sampled, and nothing is recorded before the end; then it is as if somebody caught up.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from guildlite.execute.catchup import catch_up
from guildlite.execute.evidence import Kills, end_evidence
from guildlite.execute.stop import Processes, request_stop
from guildlite.execute.waiter import exit_record, not_entered, not_executed, started_record
from guildlite.platform import is_network_file_system
from guildlite.runs.facts import write_fact
from guildlite.runs.run import OperationRecord, Run

if TYPE_CHECKING:
    from subprocess import Popen

#: How long reading what the script wrote may take: some ten million points.
_CATCH_UP_S = 60.0


class EndedJob:
    """The job of an operation that has ended: there is nothing to wait for or to let go of."""

    def wait_started(self) -> None:
        """Return at once."""

    def check_started(self) -> None:
        """Return at once: how the start failed, if it did, is in exit.json."""

    def wait(self, timeout_s: float) -> bool:
        """Return False: nobody will bring any news."""
        return False

    def close(self) -> None:
        """Do nothing."""

    def reap(self) -> None:
        """Do nothing."""


class InlineExecutor:
    """Runs each operation inside `submit`. Ctrl-C there asks the script to stop."""

    def submit(
        self, run: Run, record: OperationRecord, argv: Sequence[str], environ: Mapping[str, str]
    ) -> EndedJob:
        """Run the script to its end, read what it wrote and seal the run."""
        paths = record.paths
        directory = str(record.manifest.get("directory", "."))
        started = time.monotonic()
        kills = Kills.now()
        try:
            process = _start(record, argv, environ, directory)
        except OSError as error:
            number = error.errno or 0
            failure = (
                not_entered(directory, number)
                if error.filename == directory
                else not_executed(argv[0], number)
            )
            write_fact(paths.exit, {**exit_record(paths, 0, started, "inline"), **failure})
        else:
            journal = "delete" if is_network_file_system(run.path) else "wal"
            write_fact(paths.started, started_record(run.path, process.pid, journal))
            status = _wait(process, run, record)
            ended = exit_record(paths, status, started, "inline")
            write_fact(paths.exit, {**ended, **end_evidence(run.path, kills)})
        catch_up(Run(run.path), time.monotonic() + _CATCH_UP_S)
        return EndedJob()


def _start(
    record: OperationRecord, argv: Sequence[str], environ: Mapping[str, str], directory: str
) -> Popen[bytes]:
    import subprocess

    paths = record.paths
    with open(paths.stdout, "ab") as stdout, open(paths.stderr, "ab") as stderr:
        return subprocess.Popen(
            argv,
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            # Leader of its own group, by which a stop reaches it.
            start_new_session=True,
        )


def _wait(process: Popen[bytes], run: Run, record: OperationRecord) -> int:
    """Wait for the script; return how it ended as `waitpid` would say it."""
    while True:
        try:
            code = process.wait()
            return -code if code < 0 else code << 8
        except KeyboardInterrupt:
            request_stop(record, Processes(record, run.uid), signal.SIGINT)
