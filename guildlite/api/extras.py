"""Optional packages: imported when needed, and named when missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from guildlite.errors import MissingExtra


def require(module: str, purpose: str) -> Any:
    """Return an imported module. Raises MissingExtra, as in `a plot needs matplotlib, ...`."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # it is there, and something that it needs is not
        raise MissingExtra(
            f"{purpose} needs {package}, which is not installed", extra="notebook"
        ) from None
