"""One file per framework, each imported only when a model of its kind is served."""

from __future__ import annotations

from pathlib import Path

from guildlite.errors import GuildliteError
from guildlite.serve.find import ModelFile
from guildlite.serve.model import ModelRuntime


def load_model(model: ModelFile, *, run_dir: Path, name: str) -> ModelRuntime:
    """Load `model` with the runtime of its kind.

    Raises MissingExtra when the framework is not installed and GuildliteError when the file cannot
    be loaded or its signature cannot be served.
    """
    if model.kind == "onnx":
        from guildlite.serve.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(model.path, run_dir=run_dir, name=name)
    raise GuildliteError(f"`{model.relative}` cannot be served")
