"""What every model runtime promises; each framework brings a fixture and runs the same tests.

The fixture's model takes `image`, any number of rows of four floats, and answers `prediction`,
the first three of them doubled.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support import models

from guildlite.errors import GuildliteError, MissingExtra, UsageError
from guildlite.serve.find import ModelFile
from guildlite.serve.kinds import KINDS, kind_of
from guildlite.serve.model import DATATYPES, ModelRefused, ModelRuntime, TensorSpec
from guildlite.serve.runtimes import load_model
from guildlite.serve.runtimes.predictor import PredictorRuntime


@pytest.fixture(scope="class")
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in request.cls.packages:
        pytest.importorskip(package, exc_type=ImportError)
    path: Path = request.cls.save(tmp_path_factory.mktemp(request.cls.kind))
    return path


@pytest.fixture(scope="class")
def runtime(request: pytest.FixtureRequest, saved: Path) -> Iterator[ModelRuntime]:
    runtime: ModelRuntime = request.cls.open(saved)
    yield runtime
    runtime.close()


class RuntimeContract:
    """Subclasses define `kind`, `packages`, `save`, and `broken_name` with what is no model."""

    kind: str
    #: What has to be installed, or the class is skipped.
    packages: tuple[str, ...] = ()
    #: The name of a file of this kind, and contents of such a file that are no model.
    broken_name: str
    broken_contents: tuple[bytes, ...] = (b"", b"not a model", bytes(range(256)) * 10)

    @classmethod
    def save(cls, folder: Path) -> Path:
        """Write the doubler into `folder`, and return its path."""
        raise NotImplementedError

    @classmethod
    def open(cls, saved: Path) -> ModelRuntime:
        return load(saved, cls.kind)

    def test_its_files_are_known_by_their_content(self, saved: Path) -> None:
        assert kind_of(saved) == self.kind

    def test_it_knows_its_signature(self, runtime: ModelRuntime) -> None:
        info = runtime.info
        assert (info.name, info.free) == ("doubler", False)
        assert info.inputs == (TensorSpec("image", "FP32", (-1, 4)),)
        assert info.outputs == (TensorSpec("prediction", "FP32", (-1, 3)),)
        assert info.platform
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

    def test_what_is_no_model_is_said_in_a_sentence(self, saved: Path, tmp_path: Path) -> None:
        for content in self.broken_contents:
            broken = tmp_path / self.broken_name
            broken.write_bytes(content)
            with pytest.raises(GuildliteError, match=re.escape(f"`{broken.name}`")) as caught:
                load(broken, self.kind)
            assert "\n" not in caught.value.message

    def test_a_missing_package_is_named_with_the_line_that_installs_it(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, KINDS[self.kind].packages[0], None)
        with pytest.raises(MissingExtra) as caught:
            load(saved, self.kind)
        assert KINDS[self.kind].words in caught.value.message
        assert caught.value.hint == f'pip install "guildlite[{KINDS[self.kind].extra}]"'


def load(path: Path, kind: str) -> ModelRuntime:
    return load_model(ModelFile(path, path.name, kind), run_dir=path.parent, name="doubler")


class TestOnnx(RuntimeContract):
    kind = "onnx"
    broken_name = "broken.onnx"
    broken_contents = (b"", b"not a model", b"\x08\x08", bytes(range(256)) * 10)

    @classmethod
    def save(cls, folder: Path) -> Path:
        return models.save_doubler(folder / "doubler.onnx")


class TestExported(RuntimeContract):
    kind = "pt2"
    packages = ("torch",)
    broken_name = "broken.pt2"

    @classmethod
    def save(cls, folder: Path) -> Path:
        return models.save_pt2(folder / "doubler.pt2")


class TestTorchScript(RuntimeContract):
    kind = "torchscript"
    packages = ("torch",)
    broken_name = "broken.pt"

    @classmethod
    def save(cls, folder: Path) -> Path:
        return models.save_torchscript(folder / "doubler.pt")


class TestKeras(RuntimeContract):
    kind = "keras"
    packages = ("keras", "tensorflow")
    broken_name = "broken.keras"

    @classmethod
    def save(cls, folder: Path) -> Path:
        return models.save_keras(folder / "doubler.keras")


class TestKerasHdf5(RuntimeContract):
    kind = "keras"
    packages = ("keras", "tensorflow", "h5py")
    broken_name = "broken.h5"

    @classmethod
    def save(cls, folder: Path) -> Path:
        return models.save_keras(folder / "doubler.h5")


class TestSavedModel(RuntimeContract):
    kind = "savedmodel"
    packages = ("tensorflow",)
    broken_name = "saved_model.pb"

    @classmethod
    def save(cls, folder: Path) -> Path:
        return models.save_savedmodel(folder / "doubler")


class TestTf1Export(RuntimeContract):
    kind = "tf1-export"
    packages = ("tensorflow",)
    broken_name = "export.meta"

    @classmethod
    def save(cls, folder: Path) -> Path:
        return models.save_tf1_export(folder / "model")


class TestSklearn(RuntimeContract):
    kind = "pickle"
    packages = ("sklearn", "joblib")
    broken_name = "broken.joblib"

    @classmethod
    def save(cls, folder: Path) -> Path:
        return models.save_joblib(folder / "doubler.joblib")


class PredictorContract(RuntimeContract):
    """Weights with the code that loads them."""

    suffix: str
    broken_name = "unused"

    @classmethod
    def save(cls, folder: Path) -> Path:
        module = f"predictor_{cls.suffix[1:]}"
        (folder / f"{module}.py").write_text(models.PREDICTORS[cls.suffix])
        return models.save_weights(folder / f"weights{cls.suffix}")

    @classmethod
    def open(cls, saved: Path) -> ModelRuntime:
        word = f"predictor_{cls.suffix[1:]}:Predictor"
        return PredictorRuntime(word, folder=saved.parent, run_dir=saved.parent, name="doubler")

    def test_what_is_no_model_is_said_in_a_sentence(self, saved: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="there is no module `none`"):
            PredictorRuntime("none:x", folder=tmp_path, run_dir=tmp_path, name="doubler")

    def test_a_missing_package_is_named_with_the_line_that_installs_it(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Weights alone are not served, and the message says what is missing."""
        with pytest.raises(GuildliteError) as caught:
            load(saved, self.kind)
        assert "--predictor MODULE:NAME" in (caught.value.hint or "")


class TestSafetensors(PredictorContract):
    kind = "safetensors"
    suffix = ".safetensors"
    packages = ("safetensors",)


class TestStateDict(PredictorContract):
    kind = "state-dict"
    suffix = ".pt"
    packages = ("torch",)
