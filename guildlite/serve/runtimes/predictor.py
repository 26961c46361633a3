"""The user's own code as a model: `MODULE:NAME`, a function or a class.

    def predict(image):                      # an array for each declared input
        return {"prediction": ...}           # or one array

    predict.inputs = [("image", "FP32", [-1, 64])]

    class Predictor:
        inputs = [("image", "FP32", [-1, 64])]
        outputs = [("prediction", "FP32", [-1, 10])]
        batchable = True                     # rows may be answered together; False otherwise
        def __init__(self, run_dir): ...
        def predict(self, image): ...

Without `inputs` each object of a request is passed as it is, field by field. `ModelRefused` answers
400 with its text, every other exception 500. No framework is named here: what it returns need only
be something that NumPy reads.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guildlite.errors import GuildliteError, UsageError, did_you_mean
from guildlite.serve.model import ModelInfo, TensorSpec, printable, reason
from guildlite.serve.runtimes.probing import check_shapes, named, probe_outputs
from guildlite.serve.signature import parse_spec

if TYPE_CHECKING:
    from guildlite.serve.model import Array, Arrays


class PredictorRuntime:
    """A `ModelRuntime` over a user's function or object.

    word: `module:name`. folder: where modules are looked for first, the project's.
    """

    def __init__(self, word: str, *, folder: Path, run_dir: Path, name: str) -> None:
        self._predict, source = _resolve(word, folder, run_dir)
        self._close = getattr(source, "close", None)
        inputs = _declared(source, "inputs", word)
        outputs = _declared(source, "outputs", word)
        if inputs and not outputs:
            outputs = probe_outputs(self._call, inputs)
        self._names = [spec.name for spec in outputs]
        self.info = ModelInfo(
            name,
            inputs,
            outputs,
            max_batch=None if getattr(source, "batchable", False) else 1,
            free=not inputs,
            platform="predictor",
        )
        warm_up = getattr(source, "warmup", None)
        if callable(warm_up):
            warm_up()

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        if self.info.free:
            return named(self._predict(**inputs))
        check_shapes(self.info, inputs)
        given = self._call(inputs)
        if given.keys() == set(self._names):
            return given
        if len(given) != len(self._names):
            raise ValueError(f"the predictor gave {sorted(given)}, not {self._names}")
        return dict(zip(self._names, given.values(), strict=True))

    def close(self) -> None:
        if callable(self._close):
            self._close()

    def _call(self, inputs: Arrays) -> dict[str, Array]:
        import numpy as np

        result = named(self._predict(**inputs))
        return {name: _servable(np.asarray(value)) for name, value in result.items()}


def _servable(array: Array) -> Array:
    """Return text of NumPy's fixed width as objects, which is how strings travel."""
    return array.astype(object) if array.dtype.kind in "US" else array


def _resolve(word: str, folder: Path, run_dir: Path) -> tuple[Callable[..., Any], Any]:
    """Return what to call, and what carries its declarations."""
    module, _, attribute = word.partition(":")
    if not module or not attribute:
        raise UsageError(
            f"`{printable(word)}` is not a predictor",
            hint="write `MODULE:NAME`, as in `expert:predictor`",
        )
    source: Any = _attribute(_import(module, folder), attribute, word)
    try:
        if inspect.isclass(source):
            make: Callable[..., Any] = source
            source = make(Path(run_dir))
    except (Exception, SystemExit) as error:
        raise GuildliteError(
            f"`{printable(word)}` could not be made: {type(error).__name__}: {reason(error)}"
        ) from error
    method = getattr(source, "predict", source)
    if not callable(method):
        raise UsageError(
            f"`{printable(word)}` cannot be called",
            hint="a predictor is a function, or a class with `predict`",
        )
    return method, source


def _import(module: str, folder: Path) -> Any:
    place = os.fspath(folder)
    if place not in sys.path:
        sys.path.insert(0, place)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise UsageError(
                f"there is no module `{printable(module)}` in `{printable(place)}`",
                hint="`MODULE` is a file there without `.py`, or an installed module",
            ) from error
        raise GuildliteError(
            f"`{printable(module)}` needs the module `{error.name}`, which is not installed"
        ) from error
    except (Exception, SystemExit) as error:
        raise GuildliteError(
            f"`{printable(module)}` could not be imported: {type(error).__name__}: {reason(error)}"
        ) from error


def _attribute(module: Any, path: str, word: str) -> Any:
    value = module
    for part in path.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            known = [name for name in vars(module) if not name.startswith("_")]
            raise UsageError(f"there is no `{printable(word)}`", hint=did_you_mean(part, known))
    return value


def _declared(source: Any, key: str, word: str) -> tuple[TensorSpec, ...]:
    entries: Sequence[Any] = getattr(source, key, None) or ()
    try:
        specs = tuple(parse_spec(entry, f"`{key}[{at}]`") for at, entry in enumerate(entries))
    except (TypeError, ValueError) as error:
        raise GuildliteError(f"the predictor `{printable(word)}` {reason(error)}") from error
    return specs
