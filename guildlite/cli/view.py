"""`gl view`: the viewer."""

from __future__ import annotations

import click

from guildlite.cli.context import Context
from guildlite.cli.words import command


@command("view")
@click.option("--port", type=int, default=6333, show_default=True, help="Port; 0 takes a free one")
@click.option("--host", default="127.0.0.1", metavar="H", show_default=True, help="Address")
@click.option("--no-browser", is_flag=True, help="Print the address and open nothing")
@click.option("--read-only", is_flag=True, help="Show runs but start, stop and change none")
@click.pass_obj
def view(context: Context, port: int, host: str, no_browser: bool, read_only: bool) -> int:
    """Open the viewer in the browser.

    It shows the runs of the project live and ends with Ctrl-C.

    \b
    Examples:
      gl view
      gl view --port 8080 --no-browser
    """
    from guildlite.web import serve_viewer

    # A bad project file is told here, where it can be read, rather than on every page.
    project = context.find_project()
    return serve_viewer(
        project.dir if project else context.directory,
        host=host,
        port=port,
        read_only=read_only,
        open_browser=not no_browser,
        out=context.say,
    )
