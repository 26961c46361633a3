"""The signature file: read, written, and compared with what the model says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.models import save_doubler, save_signature

from guildlite.serve.model import ModelInfo, TensorSpec
from guildlite.serve.page import page_settings
from guildlite.serve.runtimes.onnx import OnnxRuntime
from guildlite.serve.signature import (
    Signature,
    SignatureError,
    merge_signature,
    read_signature,
    write_signature,
)

IMAGE = TensorSpec("image", "FP32", (-1, 4))
FULL = Signature(
    inputs=(IMAGE,),
    outputs=(TensorSpec("prediction", "FP32", (-1, 3)),),
    classes=("a", "b", "c"),
    logits=True,
    preprocess={"image": {"input": "image", "width": 2, "height": 2, "range": [0, 16]}},
    example=[{"image": [0, 1, 2, 3]}],
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    model = tmp_path / "model.pt2"
    path = write_signature(model, FULL)
    assert path == tmp_path / "model.signature.json"
    assert read_signature(model, tmp_path) == FULL
    assert list(tmp_path.iterdir()) == [path]
    write_signature(model, Signature(logits=False))
    assert json.loads(path.read_text()) == {"logits": False}


def test_without_a_file_nothing_is_said(tmp_path: Path) -> None:
    assert read_signature(tmp_path / "model.pt2", tmp_path) == Signature()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"input": []}', "unknown key `input` (did you mean `inputs`?)"),
        ('{"inputs": 5}', "`inputs` that are not a list"),
        ('{"inputs": [5]}', "no name, datatype and shape in `inputs[0]`"),
        ('{"inputs": [{"name": "", "datatype": "FP32", "shape": []}]}', "no name in `inputs[0]`"),
        (
            '{"inputs": [{"name": "x", "datatype": "float", "shape": []}]}',
            "datatype in `inputs[0]`",
        ),
        ('{"inputs": [{"name": "x", "datatype": "FP32", "shape": [-2]}]}', "shape in `inputs[0]`"),
        ('{"inputs": [{"name": "x", "datatype": "FP32", "shape": 4}]}', "shape in `inputs[0]`"),
        ('{"classes": [1]}', "`classes` that is not a list of strings"),
        ('{"logits": 1}', "`logits` that is not a bool"),
        ('{"example": {}}', "`example` that is not a list"),
        ('{"preprocess": {"image": {"widht": 8}}}', "unknown key `preprocess.image.widht`"),
        ('{"preprocess": []}', "`preprocess` that is not an object"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_wrong_file_is_said_in_a_sentence(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "m.signature.json").write_text(content)
    with pytest.raises(SignatureError) as caught:
        read_signature(tmp_path / "m.onnx", tmp_path)
    assert said in caught.value.message
    assert caught.value.message.startswith("`m.signature.json` ")


def test_a_file_outside_the_run_is_not_read(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (tmp_path / "secret.json").write_text("{}")
    (run_dir / "m.signature.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(SignatureError, match="leads out of the run"):
        read_signature(run_dir / "m.onnx", run_dir)


def test_it_names_what_the_model_leaves_open() -> None:
    known = ModelInfo("m", (TensorSpec("x", "FP32", (-1, -1)),), (), platform="p")
    merged = merge_signature(known, FULL, file="m.pt2")
    assert (merged.inputs, merged.outputs) == (FULL.inputs, FULL.outputs)
    assert merged.platform == "p"
    assert merge_signature(known, Signature(), file="m.pt2") == known


@pytest.mark.parametrize(
    "spec", [TensorSpec("image", "FP64", (-1, 4)), TensorSpec("image", "FP32", (-1, 5))]
)
def test_it_may_not_say_other_things_than_the_model(spec: TensorSpec) -> None:
    with pytest.raises(SignatureError, match="and the model"):
        merge_signature(ModelInfo("m", (spec,), ()), FULL, file="m.pt2")
    with pytest.raises(SignatureError, match="has 1 inputs, and the model 2"):
        merge_signature(ModelInfo("m", (spec, IMAGE), ()), FULL, file="m.pt2")


def test_a_model_answers_by_the_names_of_its_signature_file(tmp_path: Path) -> None:
    import numpy as np

    path = save_doubler(tmp_path / "m.onnx")
    save_signature(
        path,
        inputs=[{"name": "pixels", "datatype": "FP32", "shape": [-1, 4]}],
        outputs=[{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}],
    )
    signature = read_signature(path, tmp_path)
    runtime = OnnxRuntime(path, run_dir=tmp_path, name="m", signature=signature)
    answer = runtime.predict({"pixels": np.ones((1, 4), dtype=np.float32)})
    assert {name: array.tolist() for name, array in answer.items()} == {"scores": [[2, 2, 2]]}


# What the page makes of it


def settings(shape: tuple[int, ...], signature: Signature, datatype: str = "FP32") -> Any:
    info = ModelInfo("m", (TensorSpec("x", datatype, (-1, *shape)),), ())
    return page_settings(info, {"x": shape}, signature, token=False)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((784,), (28, 28, "L", "HWC")),
        ((28, 28), (28, 28, "L", "HWC")),
        ((1, 32, 30), (30, 32, "L", "CHW")),
        ((32, 30, 3), (30, 32, "RGB", "HWC")),
        ((3, 32, 30), (30, 32, "RGB", "CHW")),
        ((4,), None),
        ((49,), None),
        ((783,), None),
        ((2, 2), None),
        ((-1, 28), None),
        ((), None),
    ],
)
def test_pictures_are_known_by_their_shape(shape: tuple[int, ...], found: Any) -> None:
    image = settings(shape, Signature())["image"]
    if found is None:
        assert image is None
    else:
        assert (image["width"], image["height"], image["mode"], image["layout"]) == found
        assert image["guessed"] is True


def test_what_the_signature_file_says_of_pictures_is_taken() -> None:
    image = settings((64,), FULL)["image"]
    assert (image["width"], image["height"], image["range"]) == (2, 2, [0, 16])
    assert "guessed" not in image


def test_rows_of_a_table() -> None:
    assert settings((4,), Signature())["table"]["count"] == 4
    named = Signature(preprocess={"table": {"columns": ["a", "b"]}})
    assert settings((2,), named)["table"]["columns"] == ["a", "b"]
    assert settings((28, 28), Signature())["table"] is None
    info = ModelInfo(
        "m", (TensorSpec("age", "FP64", (-1,)), TensorSpec("city", "BYTES", (-1,))), ()
    )
    table = page_settings(info, {"age": (), "city": ()}, Signature(), token=False)["table"]
    assert (table["columns"], table["input"], table["text"]) == (["age", "city"], None, ["city"])
