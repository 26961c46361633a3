"""What a supervisor learns, on its way into run.db.

Two places for it: run.db while this process holds the run's lock, else the operation's spool,
which the holder reads. A full disk or a deleted directory stops recording with one line in
errors.log and is tried again; what files hold is not lost by it, since their cursors stand still.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from guildlite.collect.follow import Follower
from guildlite.collect.latefacts import LateFacts
from guildlite.collect.samples import SampleSpool
from guildlite.defaults import INTERVAL_S
from guildlite.execute.sealing import collect_columns, seal, start_record
from guildlite.platform import FileLock, is_network_file_system
from guildlite.runs.db import RunDb
from guildlite.runs.run import OperationRecord, Run
from guildlite.series import Reading

if TYPE_CHECKING:
    from guildlite.collect.collector import Collector
    from guildlite.collect.sampler import Sampler

#: Before this age psutil and NVML are not imported: short scripts never pay for them.
SAMPLING_AFTER_S = 1.0

RETRY_S = 5.0
#: How long an operation that ends last waits for a lock that somebody is about to let go.
LAST_LOCK_S = 5.0
#: Samples that wait for a disk or a lock; they cannot be read twice.
MOST_STAGED = 1000


class Recorder:
    """Collects for one operation, `record`, on a run. Belongs to one thread.

    `lock` is the run's, held or not yet; `since` is the time.monotonic() of the operation's start.
    `tell` takes notices for errors.log.
    """

    def __init__(
        self,
        run: Run,
        record: OperationRecord,
        lock: FileLock,
        *,
        since: float,
        tell: Callable[[str], None],
    ) -> None:
        self._run, self._record, self._lock = run, record, lock
        self._since, self._tell = since, tell
        self._db: RunDb | None = None
        self._follower: Follower | None = None
        self._spool = SampleSpool(self._record.paths.samples)
        self._staged: list[Reading] = []
        self._sampler: Sampler | None = None
        later = bool(record.paths.name)
        self._facts = None if later else LateFacts(run.paths, run.manifest)
        self._retry_at = 0.0
        self._last_fault = ""

    def tick(self) -> None:
        """One look at everything; trouble with disk or database is told and tried again."""
        self._start_sampler()
        if self._sampler is not None:
            self._staged += self._sampler.take()
        if self._facts is not None:
            self._staged += self._facts.take()
        if time.monotonic() < self._retry_at:
            return
        try:
            if self._open():
                self._write()
            elif self._staged and self._record.paths.name:
                self._spool.append(self._staged)
                self._staged = []
        except Exception as error:
            self._fail(error)
        self._staged = self._staged[-MOST_STAGED:]

    def descriptors(self) -> list[int]:
        """Return what becomes readable when a look is worth it before the next tick."""
        return [] if self._follower is None else self._follower.descriptors()

    def finish(self) -> None:
        """Take the last of everything and seal run.db, if it is ours."""
        if self._sampler is not None:
            self._sampler.stop()
        if self._facts is not None:
            self._facts.join()
        self._retry_at = 0.0
        self._wait_for_lock()
        self.tick()
        if self._db is None or self._follower is None:
            return
        try:
            if self._follower.poll(final=True):
                seal(Run(self._run.path), self._db)
        except Exception as error:
            self._fail(error)

    def _wait_for_lock(self) -> None:
        """Wait for a lock held by nobody but an operation that is sealing, or a `gl runs`.

        Had its holder read the files for the last time already, our last lines would wait for the
        next command. While another operation goes on, its supervisor will read them.
        """
        own, run = self._record.paths.name, Run(self._run.path)
        others = [
            one
            for one in (run, *run.later_operations())
            if one.paths.name != own and not one.status.ended
        ]
        if not others and not self._lock.try_acquire() and run.path.exists():
            self._lock.acquire(LAST_LOCK_S)

    def has_children(self) -> bool:
        """Return whether a helper program of ours (git) may be running."""
        return self._facts is not None and not self._facts.done()

    def _open(self) -> bool:
        if self._db is not None:
            return True
        if not self._lock.try_acquire():
            return False
        run = Run(self._run.path)
        self._db = RunDb(run.paths.db, network=is_network_file_system(run.path))
        self._db.write_start(*start_record(run))
        run.paths.heartbeat.touch()
        columns = collect_columns(run)
        self._follower = Follower(run.paths, self._db, columns=columns, live=True, tell=self._tell)
        return True

    def _write(self) -> None:
        assert self._db is not None and self._follower is not None
        if self._staged:
            self._db.write(self._staged)
            for reading in self._staged:
                for notice in reading.notices:
                    self._tell(notice)
            self._staged = []
        self._follower.poll()
        self._last_fault = ""

    def _fail(self, error: Exception) -> None:
        """Say what went wrong, once, and try again later with everything opened anew."""
        fault = f"recording is interrupted: {error}"
        if fault != self._last_fault:
            self._tell(f"{fault}; the script goes on")
        self._last_fault = fault
        self._retry_at = time.monotonic() + RETRY_S
        follower, db = self._follower, self._db
        self._follower = self._db = None
        if follower is not None:
            follower.close()
        if db is not None:
            db.close()

    def _start_sampler(self) -> None:
        age_s = time.monotonic() - self._since
        if self._sampler is not None or age_s < SAMPLING_AFTER_S:
            return
        started = self._record.started_fact()
        if started is None:
            return
        from guildlite.collect.sampler import Sampler

        interval = self._record.manifest.get("interval")
        interval_s = float(interval) if isinstance(interval, (int, float)) else INTERVAL_S
        self._sampler = Sampler(lambda: _live_collectors(self._record, started), interval_s)
        self._sampler.start()


def _live_collectors(record: OperationRecord, started: Mapping[str, object]) -> Sequence[Collector]:
    from guildlite.collect.gpu import GpuCollector
    from guildlite.collect.system import SystemCollector

    training = started.get("training")
    pid = training.get("pid") if isinstance(training, dict) else None
    moment = started.get("time")
    started_ms = int((moment if isinstance(moment, (int, float)) else time.time()) * 1000)
    prefix = record.operation if record.paths.name else ""
    return (
        SystemCollector(lambda: pid, started_ms, prefix),
        GpuCollector(lambda: pid, started_ms, prefix),
    )
