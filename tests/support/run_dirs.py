"""Run directories as the supervisor leaves them, made without starting a process."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from guildlite.platform import ProcessIdentity
from guildlite.runs import Run, RunStore
from guildlite.runs.db import RunDb
from guildlite.runs.facts import write_fact
from guildlite.series import OutputLine, Point, Reading

#: 2026-11-20 17:45:01 UTC
START = 1_795_196_701.0


def make_run(
    store: RunStore,
    model: str = "expert",
    *,
    operation: str = "train",
    flags: Mapping[str, str] | None = None,
    started: float = START,
    duration_s: float = 64.0,
    code: int | None = 0,
    signal: int | None = None,
    stopped: bool = False,
    ended: bool = True,
    alive: bool = False,
    series: Mapping[str, Sequence[float]] | None = None,
    out: Sequence[str] = (),
    err: Sequence[str] = (),
    attrs: Mapping[str, str] | None = None,
    label: str = "",
) -> Run:
    """Make a run that ended with `code` or `signal`; with `ended` False one that left no exit.

    `alive` says that its process is this one.
    """
    run = store.create(model, now=started)
    flags = dict(flags or {})
    write_fact(
        run.paths.manifest,
        {
            "uid": f"uid-{run.id}",
            "model": model,
            "operation": operation,
            "project": "digits",
            "command": ["python", "-u", f"{model}.py", "--title", "two words"],
            "flags": flags,
            "created": started - 0.5,
        },
    )
    stat = os.stat(run.path)
    identity = ProcessIdentity.of(os.getpid()).to_json()
    if not alive:
        identity = {**identity, "start": "never", "pid": 2**22 + 1}
    write_fact(
        run.paths.started,
        {"time": started, "training": identity, "directory": [stat.st_dev, stat.st_ino]},
    )
    _write_db(run, dict(attrs or {}), flags, series or {}, out, err)
    if ended:
        fact = {"time": started + duration_s, "duration_s": duration_s, "code": code}
        fact["signal"] = signal
        fact["stopped"] = stopped
        write_fact(run.paths.exit, fact)
    if label:
        run.set_label(label)
    return Run(run.path)


def _write_db(
    run: Run,
    attrs: Mapping[str, str],
    flags: Mapping[str, str],
    series: Mapping[str, Sequence[float]],
    out: Sequence[str],
    err: Sequence[str],
) -> None:
    now = int(time.time() * 1000)
    points = {
        key: [Point(step, now, value) for step, value in enumerate(values)]
        for key, values in series.items()
    }
    lines = [OutputLine(now, 1, text) for text in out] + [OutputLine(now, 2, t) for t in err]
    run.paths.stdout.write_text("".join(f"{text}\n" for text in out))
    run.paths.stderr.write_text("".join(f"{text}\n" for text in err))
    with RunDb(run.paths.db) as db:
        db.write_start({"id": run.id, "host": "tower", **attrs}, flags)
        db.write([Reading(None, points, lines)])
        db.seal({})
