"""scikit-learn models, from a pickle or joblib file; loading one runs whatever it holds.

So this is imported for trusted files only (`trust.check_trust`).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guildlite.errors import GuildliteError
from guildlite.serve.model import ModelInfo, ModelRefused, TensorSpec, printable, reason
from guildlite.serve.runtimes.probing import PREDICTION, check_shapes, needs_inputs, probe_outputs
from guildlite.serve.signature import Signature, merge_signature

if TYPE_CHECKING:
    from guildlite.serve.model import Array, Arrays

#: The one input of an estimator, a row of numbers.
FEATURES = "features"
PROBABILITIES = "probabilities"


class SklearnRuntime:
    """A `ModelRuntime` over one estimator: `predict`, and `predict_proba` where it has that."""

    def __init__(self, path: Path, *, run_dir: Path, name: str, signature: Signature) -> None:
        import joblib
        import sklearn  # noqa: F401  (missing, it would be the unpickler's error)

        self._model: Any = joblib.load(path)
        if not callable(getattr(self._model, "predict", None)):
            raise GuildliteError(
                f"`{printable(path.name)}` holds a `{type(self._model).__name__}`, "
                "which has no `predict`"
            )
        inputs = signature.inputs or _inputs(self._model)
        if not inputs:
            raise needs_inputs(path, f"the model `{printable(path.name)}`")
        self._inputs = inputs
        own = ModelInfo(name, inputs, probe_outputs(self._call, inputs), platform="sklearn")
        self._outputs = [spec.name for spec in own.outputs]
        self.info = merge_signature(own, signature, file=path.name)

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        check_shapes(self.info, inputs)
        try:
            arrays = self._call(inputs)
        except ValueError as error:
            # Its word for inputs it does not take: an unknown category, an infinite number.
            raise ModelRefused(f"the model refused the input: {reason(error)}") from error
        return {
            spec.name: arrays[output]
            for spec, output in zip(self.info.outputs, self._outputs, strict=True)
        }

    def close(self) -> None:
        self._model = None

    def _call(self, inputs: Arrays) -> dict[str, Array]:
        import numpy as np

        rows = self._rows(inputs)
        with warnings.catch_warnings():
            # Trained on a table with names, asked with rows without: the order is the same.
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            arrays = {PREDICTION: np.asarray(self._model.predict(rows))}
            # Not `hasattr` alone: a pipeline has it only where its last step does.
            if callable(getattr(self._model, "predict_proba", None)):
                probabilities = self._model.predict_proba(rows)
                if not isinstance(probabilities, list):
                    arrays[PROBABILITIES] = np.asarray(probabilities)
        return arrays

    def _rows(self, inputs: Arrays) -> Any:
        if len(self._inputs) == 1:
            return inputs[self._inputs[0].name]
        import pandas

        return pandas.DataFrame({spec.name: inputs[spec.name] for spec in self._inputs})


def _inputs(model: Any) -> tuple[TensorSpec, ...]:
    count = getattr(model, "n_features_in_", None)
    return (TensorSpec(FEATURES, "FP64", (-1, int(count))),) if count is not None else ()
