"""`gl view`: the viewer."""

from __future__ import annotations

import click

from guildlite.cli.context import Context
from guildlite.cli.words import command


@command("view")
@click.argument("logdirs", nargs=-1, metavar="[LOGDIR]...")
@click.option("--port", type=int, default=6333, show_default=True, help="Port; 0 takes a free one")
@click.option("--host", default="127.0.0.1", metavar="H", show_default=True, help="Address")
@click.option("--no-browser", is_flag=True, help="Print the address and open nothing")
@click.option("--read-only", is_flag=True, help="Show runs but start, stop and change none")
@click.pass_obj
def view(
    context: Context,
    logdirs: tuple[str, ...],
    port: int,
    host: str,
    no_browser: bool,
    read_only: bool,
) -> int:
    """Open the viewer in the browser.

    It shows the runs of the project live and ends with Ctrl-C. Given TensorBoard log directories,
    it shows what is in them, and what is written while it runs; nothing is written there.

    \b
    Examples:
      gl view
      gl view --port 8080 --no-browser
      gl view logs ~/old/lightning_logs
    """
    from guildlite.web import serve_viewer

    models = None
    if not read_only and not logdirs:
        from guildlite.serve import behind_command, model_files
        from guildlite.web.predict import ModelServers

        models = ModelServers(model_files, behind_command())
    source = None
    if logdirs:
        from guildlite.cli.imports import log_directories
        from guildlite.transfer.following import Following

        source = Following(log_directories(logdirs), context.say)
        directory = source.directory
    else:
        # A bad project file is told here, where it can be read, rather than on every page.
        project = context.find_project()
        directory = project.dir if project else context.directory
    return serve_viewer(
        directory,
        host=host,
        port=port,
        read_only=read_only,
        open_browser=not no_browser,
        source=source,
        models=models,
        out=context.say,
    )
