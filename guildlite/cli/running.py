"""Runs that are under way: attach, stop."""

from __future__ import annotations

import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import click

from guildlite.cli.context import Context
from guildlite.cli.ending import print_end
from guildlite.cli.output import status_text
from guildlite.cli.words import command
from guildlite.errors import GuildliteError, UsageError
from guildlite.execute.stop import GRACE_S, LOOK_S

if TYPE_CHECKING:
    from guildlite.runs.run import OperationRecord, Run


@command("attach")
@click.argument("run", required=False, metavar="[RUN]")
@click.pass_obj
def attach(context: Context, run: str | None) -> int:
    """Follow a run as if it had been started here.

    Shows what it printed so far and what comes. Ctrl-C detaches and leaves the run alone; the
    exit status is the script's own.

    \b
    Examples:
      gl attach
      gl attach 2
    """
    found = context.get_run(run)
    from guildlite.execute.catchup import settle
    from guildlite.execute.frontend import exit_status, watch

    try:
        watch(found, (sys.stdout.buffer, sys.stderr.buffer))
    except KeyboardInterrupt:
        context.say(f"\ndetached; {found.id} goes on")
        return 0
    _wait_for_seal(found)
    settle([found])
    print_end(context, found.fresh())
    return exit_status(found)


def _wait_for_seal(run: Run) -> None:
    """Wait, for a bounded time, while the supervisor still takes the last of a run that ended."""
    from guildlite.execute.frontend import SEAL_TIMEOUT_S
    from guildlite.platform import ProcessIdentity

    supervisor = ProcessIdentity.from_json((run.started_fact() or {}).get("supervisor"))
    deadline = time.monotonic() + SEAL_TIMEOUT_S
    while run.paths.heartbeat.exists() and supervisor is not None and supervisor.alive():
        if time.monotonic() > deadline:
            return
        time.sleep(LOOK_S)


@command("stop")
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--term", "name", flag_value="SIGTERM", help="Begin with SIGTERM")
@click.option("--kill", "name", flag_value="SIGKILL", help="SIGKILL at once")
@click.option("--grace", default=GRACE_S, metavar="SECONDS", show_default=True,
              help="Time to end by itself before SIGKILL")  # fmt: skip
@click.pass_obj
def stop(context: Context, run: str | None, name: str | None, grace: float) -> int:
    """Stop a run.

    Sends SIGINT to the script and all its children, and SIGKILL to whatever is left after the
    grace. Without RUN it is the only one running.

    \b
    Examples:
      gl stop
      gl stop 3 --grace 60
    """
    if not 0 <= grace <= 86400:
        raise UsageError(f"`--grace` is {grace:g}, expected 0 to 86400 seconds")
    found = context.get_run(run) if run is not None else _only_running(context)
    busy = [one for one in (found, *found.later_operations()) if not one.status.ended]
    if not busy:
        raise GuildliteError(f"{found.id} is not running: it is {found.status}")
    from guildlite.execute.stop import NotOurs
    from guildlite.execute.stop import stop as stop_operation

    ours = [one for one in busy if not one.imported]
    if not ours:
        raise NotOurs(found.id)
    for one in ours:
        paths = one.paths
        if not _local(one):
            raise GuildliteError(f"{found.id} runs elsewhere: {one.status_note}")
        context.say(f"stopping {found.id}{f' {paths.name}' if paths.name else ''}")
        number = signal.Signals[name or "SIGINT"]
        gone = stop_operation(
            one,
            found.uid,
            number=number,
            grace_s=grace,
            reason="gl stop",
            ended=partial(_has_ended, one),
        )
        if not gone:
            raise GuildliteError(f"{found.id} has processes that could not be stopped")
    fresh = found.fresh()
    context.say(f"{fresh.id} {status_text(str(fresh.status))}")
    return 0


def _has_ended(record: OperationRecord) -> bool:
    return record.fresh().status.ended


def _local(record: OperationRecord) -> bool:
    from guildlite.platform import ProcessIdentity

    process = ProcessIdentity.from_json((record.started_fact() or {}).get("training"))
    return process is None or process.reachable()


def _only_running(context: Context) -> Run:
    running = [
        found
        for found in context.store().list()
        if found.error is None and found.busy() and not found.imported
    ]
    if not running:
        raise GuildliteError("no run is running", hint="see `gl runs`")
    if len(running) > 1:
        names = ", ".join(found.id for found in running[:5])
        raise UsageError(
            f"{len(running)} runs are running: {names}", hint="name one: `gl stop RUN`"
        )
    return running[0]
