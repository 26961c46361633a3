"""TensorBoard as a process of the viewer's (`child`), in which `boardprocess` is executed."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from guildlite.web.child import Child, Trouble
from guildlite.web.tensorboard import boardprocess


class Board(Child):
    """One TensorBoard over the log directory `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__("TensorBoard", folder, ready_line=boardprocess.READY)

    def command(self) -> list[str]:
        return [sys.executable, os.fspath(boardprocess.__file__), os.fspath(self._folder)]

    def missing(self) -> Trouble | None:
        if find_spec("tensorboard") is not None:
            return None
        return Trouble(
            "TensorBoard is not installed in this environment", "`pip install tensorboard`"
        )

    def explain(self, status: int, lines: tuple[str, ...]) -> Trouble:
        trouble = super().explain(status, lines)
        if status == boardprocess.UNIMPORTABLE:
            return trouble._replace(
                message="TensorBoard cannot be imported in this environment",
                hint="`pip install --force-reinstall tensorboard` may mend it",
            )
        if status == boardprocess.READER_DIED:
            return trouble._replace(
                message="TensorBoard's data server died",
                hint="a damaged event file may be the cause; it is left out once that is known",
            )
        return trouble
