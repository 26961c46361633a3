"""Which file of a run is its model, and what people are told when that is not clear."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guildlite.errors import UsageError
from guildlite.serve import find
from guildlite.serve.find import NoModel, find_model, list_models


def touch(run_dir: Path, *names: str) -> None:
    for name in names:
        path = run_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["model.onnx"], "model.onnx"),
        (["a/b/c/d/MODEL.ONNX", "notes.txt"], "a/b/c/d/MODEL.ONNX"),
        (["model.onnx", "checkpoint-3.onnx", "epoch_2.onnx"], "model.onnx"),
        (["best.onnx", "checkpoints/a.onnx", "step100/model.onnx"], "best.onnx"),
        (["stepper.onnx", "epoch3.onnx"], "stepper.onnx"),
        (["epoch_2.onnx"], "epoch_2.onnx"),
        (["model.onnx", "model.pt", "weights.h5"], "model.onnx"),
        (["model.onnx", "gl.d/sources/old.onnx", ".cache/x.onnx"], "model.onnx"),
    ],
)
def test_the_one_that_is_clearly_meant(tmp_path: Path, names: list[str], chosen: str) -> None:
    touch(tmp_path, *names)
    assert find_model(tmp_path, name="r").relative == chosen


@pytest.mark.parametrize(
    "names", [["a.onnx", "b c.onnx"], ["deep/a.onnx", "b.onnx"], ["epoch1.onnx", "epoch2.onnx"]]
)
def test_several_are_listed_with_the_line_to_paste(tmp_path: Path, names: list[str]) -> None:
    touch(tmp_path, *names)
    with pytest.raises(UsageError, match="several exported models") as caught:
        find_model(tmp_path, name="my run")
    assert caught.value.exit_code == 2
    assert all(f"`{name}`" in caught.value.message for name in names)
    assert (caught.value.hint or "").startswith("gl serve 'my run' --file ")


def test_a_run_without_any_says_what_to_write(tmp_path: Path) -> None:
    touch(tmp_path, "loss.csv", "a/b/c/d/e/too-deep.onnx")
    with pytest.raises(NoModel, match="run `r` does not contain an exported model") as caught:
        find_model(tmp_path, name="r")
    assert ".onnx" in (caught.value.hint or "")


def test_what_cannot_be_served_by_itself_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "model.safetensors")
    for file in (None, "model.safetensors"):
        with pytest.raises(
            NoModel, match=r"`model.safetensors` is a weights file, which"
        ) as caught:
            find_model(tmp_path, name="r", file=file)
        assert "--predictor MODULE:NAME" in (caught.value.hint or "")


def test_safe_before_trusted_and_described_before_all(tmp_path: Path) -> None:
    touch(tmp_path, "model.onnx", "saved_model.pb", "last/model.safetensors")
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04.")
    assert [model.relative for model in list_models(tmp_path)] == [
        "model.onnx", "saved_model.pb", "model.pkl", "last/model.safetensors",
    ]  # fmt: skip
    touch(tmp_path, "saved_model.signature.json")
    assert find_model(tmp_path, name="r").relative == "saved_model.pb"


def test_links_count_only_where_they_stay_inside(tmp_path: Path) -> None:
    run_dir, outside = tmp_path / "run", tmp_path / "outside"
    touch(outside, "secret.onnx", "folder/other.onnx")
    touch(run_dir, "real/model.onnx")
    (run_dir / "leak.onnx").symlink_to(outside / "secret.onnx")
    (run_dir / "folder").symlink_to(outside / "folder")
    (run_dir / "loop").symlink_to(run_dir)
    (run_dir / "self.onnx").symlink_to(run_dir / "self.onnx")
    (run_dir / "gone.onnx").symlink_to(run_dir / "nothing")
    assert find_model(run_dir, name="r").relative == "real/model.onnx"
    (run_dir / "real/model.onnx").rename(run_dir / "real/weights.bin")
    (run_dir / "latest.onnx").symlink_to(run_dir / "real/weights.bin")
    assert find_model(run_dir, name="r").relative == "latest.onnx"


def test_a_named_file_must_be_a_model_in_the_run(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    touch(run_dir, "a.onnx", "b.onnx", "notes.txt")
    touch(tmp_path, "outside.onnx")
    assert find_model(run_dir, name="r", file="b.onnx").relative == "b.onnx"
    assert find_model(run_dir, name="r", file=str(run_dir / "b.onnx")).relative == "b.onnx"
    for file, said in [
        ("c.onnx", "has no file `c.onnx`"),
        ("../outside.onnx", "is not inside"),
        (str(tmp_path / "outside.onnx"), "is not inside"),
        ("notes.txt", "is not a model"),
        (".", "is not a model"),
    ]:
        with pytest.raises(UsageError, match=said):
            find_model(run_dir, name="r", file=file)


def test_a_pipe_with_a_models_name_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(NoModel):
        find_model(tmp_path, name="r")


def test_names_cannot_move_the_cursor(tmp_path: Path) -> None:
    touch(tmp_path, "a\x1b[2J.onnx", "b.onnx")
    with pytest.raises(UsageError) as caught:
        find_model(tmp_path, name="r")
    assert "\x1b" not in caught.value.message + (caught.value.hint or "")


def test_a_search_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "MAX_ENTRIES", 10)
    touch(tmp_path, *[f"data/{number}.png" for number in range(20)], "data/model.onnx")
    with pytest.raises(NoModel, match="too many files") as caught:
        find_model(tmp_path, name="r")
    assert caught.value.hint == "name it: gl serve r --file PATH"
