"""The recipes of docs/how-to/export-model.md: executed as they stand there, and served."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guildlite.serve.command import Source
from guildlite.serve.command import _Candidate as Candidate
from guildlite.serve.engine import Engine
from guildlite.serve.limits import Limits

PAGE = Path(__file__).parents[1] / "docs/how-to/export-model.md"
FIRST_TEN = np.eye(64, 10, dtype=np.float32)
ROW = np.arange(64, dtype=np.float32)


def recipe(heading: str, number: int = 0) -> Callable[..., Any]:
    """Return `export` of a code block below a heading of the page."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(blocks[number], f"{PAGE.name}: {heading}", "exec"), names)
    export: Callable[..., Any] = names["export"]
    return export


def served(run_dir: Path, instances: list[dict[str, Any]]) -> tuple[Engine, list[dict[str, Any]]]:
    """Return the engine for what was exported, and its answers."""
    candidate = Candidate(Source(run_dir, "r", trust=True))
    engine = candidate.load(Limits())
    engine.warm_up()
    answers = json.loads(engine.answer(json.dumps(instances).encode()))
    engine.close()
    return engine, answers


def check_rows(run_dir: Path) -> None:
    """The model gives back the first ten numbers of each row, whatever it is written in."""
    rows = [{"image": ROW.tolist()}, {"image": (ROW + 1).tolist()}]
    engine, answers = served(run_dir, rows)
    assert [spec.name for spec in engine.info.inputs] == ["image"]
    assert [one["prediction"] for one in answers] == [
        list(range(10)),
        list(range(1, 11)),
    ]


def test_every_recipe_is_tried_here() -> None:
    headings = set(re.findall(r"^## (.+)$", PAGE.read_text(), re.MULTILINE))
    assert headings == {"PyTorch", "Keras", "TensorFlow", "scikit-learn"}
    assert PAGE.read_text().count("```python\n") == 5


def test_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class First(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def forward(self, image):  # type: ignore[no-untyped-def]
            return image @ torch.from_numpy(FIRST_TEN)

    recipe("PyTorch")(First(), tmp_path)
    check_rows(tmp_path)
    signature = Candidate(Source(tmp_path, "r")).signature
    assert (signature.classes, signature.logits) == (tuple("0123456789"), True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras about NumPy
def test_keras(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", exc_type=ImportError)
    keras = pytest.importorskip("keras")
    image = keras.Input((64,), name="image")
    dense = keras.layers.Dense(10, use_bias=False, name="prediction")
    model = keras.Model(image, dense(image))
    dense.set_weights([FIRST_TEN])
    recipe("Keras")(model, tmp_path)
    check_rows(tmp_path)


def test_tensorflow(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow", exc_type=ImportError)

    class First(tf.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            self.weights = tf.Variable(FIRST_TEN)

        def __call__(self, image: Any) -> Any:
            return image @ self.weights

    recipe("TensorFlow")(First(), tmp_path)
    check_rows(tmp_path)


@pytest.fixture
def classifier() -> Any:
    pytest.importorskip("sklearn")
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(random_state=0).fit(
        np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), [0, 1, 2]
    )


def test_scikit_learn(tmp_path: Path, classifier: Any) -> None:
    recipe("scikit-learn")(classifier, ["width", "height"], tmp_path)
    _, answers = served(tmp_path, [{"features": [0, 1]}, {"features": [1, 0]}])
    assert [one["prediction"] for one in answers] == [1, 2]
    assert answers[0]["probabilities"] == [0, 1, 0]
    signature = Candidate(Source(tmp_path, "r", trust=True)).signature
    assert signature.preprocess == {"table": {"columns": ["width", "height"]}}


def test_scikit_learn_as_onnx(tmp_path: Path, classifier: Any) -> None:
    pytest.importorskip("skl2onnx")
    recipe("scikit-learn", 1)(classifier, np.zeros((1, 2)), tmp_path)
    _, answers = served(tmp_path, [{"X": [0, 1]}, {"X": [1, 0]}])
    assert [one["label"] for one in answers] == [1, 2]
    assert answers[0]["probabilities"] == [0, 1, 0]
