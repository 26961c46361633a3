"""Running a command in the user's own terminal, without a run: `gl prepare`."""

from __future__ import annotations

import os
import signal

from guildlite.errors import LaunchError
from guildlite.execute.prepare import Plan


def run_here(plan: Plan) -> int:
    """Run the plan's command and return its exit status, 128+N when it died of signal N.

    The terminal's Ctrl-C reaches the command by itself, being in the same process group.
    Raises LaunchError when it cannot be started.
    """
    import subprocess

    inherited = {name: value for name, value in os.environ.items() if name != "RUNDIR"}
    environ = {**inherited, **plan.environment(None)}
    try:
        process = subprocess.Popen(plan.argv(None), cwd=plan.directory, env=environ)
    except OSError as error:
        raise LaunchError(
            f"`{plan.command.argv[0]}` cannot be started: {error.strerror}"
        ) from error
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        status = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status
