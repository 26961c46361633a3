"""What every model runtime promises; each framework brings a fixture and runs the same tests.

The fixture's model takes `image`, any number of rows of four floats, and answers `prediction`,
the first three of them doubled.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from guildlite.errors import GuildliteError
from guildlite.serve.find import ModelFile
from guildlite.serve.model import DATATYPES, ModelInfo, ModelRefused, ModelRuntime, TensorSpec
from guildlite.serve.runtimes import load_model


class RuntimeContract:
    """Subclasses define `runtime`, and `broken`: a path whose content is no model."""

    kind: str

    @pytest.fixture
    def runtime(self, tmp_path: Path) -> Iterator[ModelRuntime]:
        raise NotImplementedError

    @pytest.fixture
    def broken(self, tmp_path: Path) -> Path:
        raise NotImplementedError

    def test_it_knows_its_signature(self, runtime: ModelRuntime) -> None:
        assert runtime.info == ModelInfo(
            "doubler",
            (TensorSpec("image", "FP32", (-1, 4)),),
            (TensorSpec("prediction", "FP32", (-1, 3)),),
        )
        assert runtime.info.inputs[0].datatype in DATATYPES

    @pytest.mark.parametrize("rows", [1, 2, 65])
    def test_it_answers_every_row(self, runtime: ModelRuntime, rows: int) -> None:
        image = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
        outputs = runtime.predict({"image": image})
        assert list(outputs) == ["prediction"]
        assert outputs["prediction"].dtype == np.float32
        np.testing.assert_allclose(outputs["prediction"], 2 * image[:, :3], rtol=1e-6)

    def test_it_leaves_its_inputs_alone(self, runtime: ModelRuntime) -> None:
        image = np.ones((2, 4), dtype=np.float32)
        runtime.predict({"image": image})
        assert image.tolist() == np.ones((2, 4)).tolist()

    def test_an_answer_outlives_the_next_call(self, runtime: ModelRuntime) -> None:
        first = runtime.predict({"image": np.ones((1, 4), dtype=np.float32)})
        runtime.predict({"image": np.zeros((1, 4), dtype=np.float32)})
        assert first["prediction"].tolist() == [[2, 2, 2]]

    def test_it_may_be_called_from_several_threads(self, runtime: ModelRuntime) -> None:
        def predict(number: int) -> list[float]:
            image = np.full((1, 4), number, dtype=np.float32)
            row: list[float] = runtime.predict({"image": image})["prediction"][0].tolist()
            return row

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(predict, range(200)))
        assert answers == [[2.0 * number] * 3 for number in range(200)]

    def test_inputs_at_fault_are_refused(self, runtime: ModelRuntime) -> None:
        with pytest.raises(ModelRefused) as caught:
            runtime.predict({"image": np.zeros((1, 5), dtype=np.float32)})
        assert caught.value.http_status == 400
        assert "\n" not in caught.value.message
        assert len(caught.value.message) < 400

    def test_what_is_no_model_is_said_in_a_sentence(self, broken: Path) -> None:
        with pytest.raises(GuildliteError, match=f"`{broken.name}`"):
            load(broken, self.kind)


def load(path: Path, kind: str) -> ModelRuntime:
    return load_model(ModelFile(path, path.name, kind), run_dir=path.parent, name="doubler")


class TestOnnx(RuntimeContract):
    kind = "onnx"

    @pytest.fixture
    def runtime(self, tmp_path: Path) -> Iterator[ModelRuntime]:
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["image", "weights"], ["prediction"])],
            "doubler",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 4])],
            [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["n", 3])],
            [numpy_helper.from_array(2 * np.eye(4, 3, dtype=np.float32), "weights")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        path = tmp_path / "doubler.onnx"
        onnx.save(model, str(path))
        runtime = load(path, self.kind)
        yield runtime
        runtime.close()

    @pytest.fixture(params=[b"", b"not a model", b"\x08\x08", bytes(range(256)) * 10])
    def broken(self, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
        path = tmp_path / "broken.onnx"
        path.write_bytes(request.param)
        return path
