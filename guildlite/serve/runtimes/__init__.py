"""One file per framework, each imported only when a model of its kind is served."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from guildlite.errors import GuildliteError, MissingExtra
from guildlite.serve import kinds
from guildlite.serve.find import ModelFile
from guildlite.serve.model import ModelRuntime, printable, reason
from guildlite.serve.signature import Signature, read_signature

#: Kind of file to the module here and the class in it; a new framework is a file and a line.
_RUNTIMES = {
    kinds.ONNX: ("onnx", "OnnxRuntime"),
    kinds.PT2: ("torch", "ExportedRuntime"),
    kinds.TORCHSCRIPT: ("torch", "ScriptRuntime"),
    kinds.KERAS: ("keras", "KerasRuntime"),
    kinds.SAVED_MODEL: ("tensorflow", "SavedModelRuntime"),
    kinds.TF1_EXPORT: ("tensorflow", "GraphRuntime"),
    kinds.PICKLE: ("sklearn", "SklearnRuntime"),
}


#: How many threads the libraries of numbers below every framework take.
_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
)  # fmt: skip


def limit_threads(threads: int | None) -> None:
    """Have frameworks that are imported from now on use as many threads for one call."""
    if threads is not None:
        os.environ.update(dict.fromkeys(_THREADS, str(threads)))


def load_model(
    model: ModelFile,
    *,
    run_dir: Path,
    name: str,
    signature: Signature | None = None,
    threads: int | None = None,
) -> ModelRuntime:
    """Load `model` with the runtime of its kind; whether to trust it was decided before.

    signature: what its signature file says, where that was read already. threads: for one call of
    the model; as many as its framework thinks best when None.

    Raises MissingExtra when the framework is not installed and GuildliteError when the file cannot
    be loaded or its signature cannot be served.
    """
    if model.kind not in _RUNTIMES:
        kind = kinds.KINDS.get(model.kind)
        raise GuildliteError(
            f"`{printable(model.relative)}` cannot be served", hint=kind.instead if kind else None
        )
    kind = kinds.KINDS[model.kind]
    if signature is None:
        signature = read_signature(model.path, run_dir)
    module, attribute = _RUNTIMES[model.kind]
    runtime: Callable[..., ModelRuntime] = getattr(
        import_module(f"guildlite.serve.runtimes.{module}"), attribute
    )
    limit_threads(threads)
    # onnxruntime looks at no variable.
    own = {"threads": threads} if model.kind == kinds.ONNX else {}
    try:
        return runtime(model.path, run_dir=run_dir, name=name, signature=signature, **own)
    except ImportError as error:
        raise MissingExtra(
            f"`{kind.packages[0]}` is needed to serve {kind.words}", extra=kind.extra
        ) from error
    except GuildliteError:
        raise
    except Exception as error:
        raise GuildliteError(
            f"`{printable(model.path.name)}` could not be loaded: {reason(error)}"
        ) from error
