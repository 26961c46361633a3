"""examples/digits, run as its README runs it without gl: as plain scripts."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"
SCRIPTS = sorted(EXAMPLE.glob("*.py"))
EPOCHS = yaml.safe_load((EXAMPLE / "project.yml").read_text())["profiles"]["quick"]["epochs"]
STEPS = [38, 76, 114]  # three epochs of 1,200 examples in batches of 32


def copy_example(to: Path) -> Path:
    """Copy the example as a clone would have it, without what working with it leaves there."""
    left_behind = shutil.ignore_patterns("data", "runs", "out", "__pycache__")
    return Path(shutil.copytree(EXAMPLE, to / "digits", ignore=left_behind))


def run(project: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=project,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def run_well(project: Path, *words: str) -> str:
    done = run(project, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with nothing prepared."""
    return copy_example(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with data, and with both NumPy models trained and tested under `out/MODEL`."""
    project = copy_example(tmp_path_factory.mktemp("trained"))
    run_well(project, "intro.py", "--prepare")
    for model in ("intro", "expert"):
        rundir = f"out/{model}"
        run_well(project, f"{model}.py", "--rundir", rundir, "--epochs", str(EPOCHS))
        run_well(project, f"{model}.py", "--rundir", rundir, "--test")
    return project


@pytest.fixture(scope="module")
def truth() -> dict[bytes, int]:
    """The label of each image as scikit-learn has it."""
    images, labels = load_digits(return_X_y=True)
    return {
        image.astype(np.uint8).tobytes(): int(label)
        for image, label in zip(images, labels, strict=True)
    }


def split(project: Path, name: str, truth: dict[bytes, int]) -> tuple[Any, Any]:
    with np.load(project / "data" / "digits.npz") as arrays:
        images = arrays[f"{name}_images"]
    return images.astype(np.float32), np.array([truth[image.tobytes()] for image in images])


def predict(rundir: Path, images: Any) -> Any:
    session = onnxruntime.InferenceSession(rundir / "model" / "digits.onnx")
    return session.run(["prediction"], {"image": images})[0]


def events(directory: Path) -> EventAccumulator:
    everything = {"scalars": 0, "images": 0, "histograms": 0}
    accumulator = EventAccumulator(str(directory), size_guidance=everything)
    accumulator.Reload()
    return accumulator


def scalars(directory: Path, tag: str) -> tuple[list[int], list[float]]:
    points = events(directory).Scalars(tag)
    return [point.step for point in points], [point.value for point in points]


def test_splits_hold_every_image_once_under_its_label(project: Path) -> None:
    images, labels = load_digits(return_X_y=True)
    expected = sorted(
        (image.astype(np.uint8).tobytes(), label)
        for image, label in zip(images, labels, strict=True)
    )
    with np.load(project / "data" / "digits.npz") as arrays:
        found = [
            (image.tobytes(), label)
            for name in ("train", "validation", "test")
            for image, label in zip(arrays[f"{name}_images"], arrays[f"{name}_labels"], strict=True)
        ]
    assert sorted(found) == expected


def test_prepare_again_changes_nothing(project: Path) -> None:
    path = project / "data" / "digits.npz"
    before = path.stat()
    assert "already there" in run_well(project, "intro.py", "--prepare")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize("model", ["intro", "expert"])
def test_onnx_model_reads_digits(project: Path, truth: dict[bytes, int], model: str) -> None:
    images, labels = split(project, "test", truth)
    logits = predict(project / "out" / model, images)
    assert logits.shape == (300, 10)
    assert (logits.argmax(axis=1) == labels).mean() > 0.9
    one = predict(project / "out" / model, images[:1])
    np.testing.assert_allclose(one, logits[:1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", ["intro", "expert"])
def test_events_tell_of_the_training(project: Path, model: str) -> None:
    rundir = project / "out" / model
    for tag in ("loss", "accuracy"):
        assert scalars(rundir / "train", tag)[0] == list(range(1, STEPS[-1] + 1))
        assert scalars(rundir / "validation", tag)[0] == STEPS
    losses = scalars(rundir / "validation", "loss")[1]
    assert losses[-1] < losses[0]

    train = events(rundir / "train")
    weights = [event.step for event in train.Images("weights")]
    assert weights == STEPS
    sample = train.Images("samples")[0]
    with Image.open(io.BytesIO(sample.encoded_image_string)) as picture:
        assert picture.size == (360, 360)  # ten by ten digits of nine pixels, four times as large
        assert picture.convert("L").getextrema() == (0, 255)
    first = {"intro": "W", "expert": "W1"}[model]
    for tag in (f"weights/{first}", f"gradients/{first}"):
        assert [event.step for event in train.Histograms(tag)] == STEPS


@pytest.mark.parametrize("model", ["intro", "expert"])
def test_test_reports_what_the_saved_model_does(
    project: Path, truth: dict[bytes, int], model: str
) -> None:
    rundir = project / "out" / model
    images, labels = split(project, "test", truth)
    expected = (predict(rundir, images).argmax(axis=1) == labels).mean()
    steps, accuracies = scalars(rundir / "test", "accuracy")
    assert steps == STEPS[-1:]
    assert accuracies == pytest.approx([expected])


@pytest.mark.parametrize("model", ["intro", "expert"])
def test_request_is_two_test_digits_read_right(
    project: Path, truth: dict[bytes, int], model: str
) -> None:
    instances = json.loads((EXAMPLE / "request.json").read_text())
    images = np.array([instance["image"] for instance in instances], np.float32)
    labels = [truth[image.astype(np.uint8).tobytes()] for image in images]
    assert labels == [3, 7]  # as README says
    tested, _ = split(project, "test", truth)
    assert all((tested == image).all(axis=1).any() for image in images)
    assert predict(project / "out" / model, images).argmax(axis=1).tolist() == labels


def test_shipped_request_is_what_get_samples_writes(project: Path) -> None:
    run_well(project, "get_samples.py", "--request", "again.json")
    assert (project / "again.json").read_text() == (EXAMPLE / "request.json").read_text()


def test_same_seed_same_model(project: Path) -> None:
    run_well(project, "expert.py", "--rundir", "out/again", "--epochs", str(EPOCHS))
    again = (project / "out" / "again" / "model" / "digits.onnx").read_bytes()
    assert again == (project / "out" / "expert" / "model" / "digits.onnx").read_bytes()


def test_evaluation_of_a_running_training_goes_on(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "out" / "expert" / "model", tmp_path / "model")
    process = subprocess.Popen(
        [sys.executable, "expert.py", "--test", "--rundir", str(tmp_path)],
        cwd=project,
        env={**os.environ, "EVAL_RUN_ONCE": "0"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert "accuracy" in process.stdout.readline()
        while "accuracy" not in events(tmp_path / "test").Tags()["scalars"]:
            time.sleep(0.1)  # its writer goes to disk once a second
        assert process.poll() is None
        process.terminate()
    assert process.returncode == -signal.SIGTERM
    assert scalars(tmp_path / "test", "accuracy")[0] == STEPS[-1:]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["expert.py"], "data/digits.npz does not exist, run `python intro.py --prepare` first"),
        (["intro.py", "--test"], "out/model/weights.npz does not exist, train first"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    bare: Path, project: Path, words: list[str], sentence: str
) -> None:
    where = project if "--test" in words else bare
    done = run(where, *words)
    assert (done.returncode, done.stderr) == (1, sentence + "\n")


def test_conv_says_that_torch_is_missing(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError")
    done = run(bare, "conv.py", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "conv.py needs PyTorch, which `pip install torch` brings\n"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_conv_reads_digits(project: Path, truth: dict[bytes, int]) -> None:
    run_well(project, "conv.py", "--rundir", "out/conv", "--epochs", str(EPOCHS))
    run_well(project, "conv.py", "--rundir", "out/conv", "--test")
    images, labels = split(project, "test", truth)
    expected = (predict(project / "out" / "conv", images).argmax(axis=1) == labels).mean()
    assert expected > 0.9
    assert scalars(project / "out" / "conv" / "test", "accuracy")[1] == pytest.approx([expected])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_import_nothing_of_ours(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not any(name.split(".")[0] == "guildlite" for name in names)


def script_defaults(script: Path) -> dict[str, object]:
    """Return the defaults of the options of an argparse script, read from its source."""
    calls = [
        node
        for node in ast.walk(ast.parse(script.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument"
    ]
    return {
        ast.literal_eval(call.args[0]).removeprefix("--"): ast.literal_eval(keyword.value)
        for call in calls
        for keyword in call.keywords
        if keyword.arg == "default"
    }


@pytest.mark.parametrize("model", ["intro", "expert", "conv"])
def test_project_file_and_script_agree_on_flags(model: str) -> None:
    plain = yaml.safe_load((EXAMPLE / "project.yml").read_text())
    flags = {**plain["flags"], **plain["models"][model]["flags"]}
    defaults = {
        name: flag["default"] if isinstance(flag, dict) else flag for name, flag in flags.items()
    }
    assert {**defaults, "rundir": "./out"} == script_defaults(EXAMPLE / f"{model}.py")
