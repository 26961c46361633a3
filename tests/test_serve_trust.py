"""What may be loaded: by content, by class of trust, on somebody's word outside the run."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support import models

from guildlite.errors import GuildliteError
from guildlite.runs.own import is_own_file, note_own_files
from guildlite.serve.command import Source, check_run, describe_models
from guildlite.serve.kinds import kind_of
from guildlite.serve.trust import Untrusted

UID = "0123456789abcdef"


class Marker:
    """Unpickled, it leaves a file: what a hostile model would do with any other call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GUILDLITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


# Kinds


def make_zip(path: Path, *members: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, b"x")
    return path


@pytest.mark.parametrize(
    ("name", "members", "kind"),
    [
        ("m.pt", ["m/data.pkl", "m/version"], "state-dict"),
        ("m.pth", ["m/data.pkl", "m/constants.pkl", "m/code/a.py"], "torchscript"),
        ("m.pt2", ["m/archive_format", "m/models/model.json"], "pt2"),
        ("m.pt", ["m/archive_format", "m/models/model.json"], "pt2"),
        ("m.pt2", ["m/archive_format", "m/data/aotinductor/model/x.so"], "aotinductor"),
        ("m.keras", ["config.json", "metadata.json", "model.weights.h5"], "keras"),
        ("m.keras", ["other"], None),
        ("m.pt", ["other"], None),
    ],
)
def test_archives_are_told_apart_by_their_members(
    tmp_path: Path, name: str, members: list[str], kind: str | None
) -> None:
    assert kind_of(make_zip(tmp_path / name, *members)) == kind


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("m.pkl", pickle.dumps(1), "pickle"),
        ("m.joblib", b"\x78\x9c..", "pickle"),
        ("m.pkl", b'{"json": 1}', None),
        ("m.pt", pickle.dumps(1), "torch-pickle"),
        ("m.pt", b"", None),
        ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(99) + b"model_config", "keras"),
        ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), None),
        ("m.weights.h5", b"\x89HDF\r\n\x1a\n", "weights-h5"),
        ("m.safetensors", b"x", "safetensors"),
        ("export.meta", b"x", None),
    ],
)
def test_a_name_does_not_choose_a_loader(
    tmp_path: Path, name: str, content: bytes, kind: str | None
) -> None:
    (tmp_path / name).write_bytes(content)
    assert kind_of(tmp_path / name) == kind


# Trust


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda d: (d / "m.pkl").write_bytes(pickle.dumps(1)), "a pickle, which runs code"),
        (
            lambda d: make_zip(d / "m.pt", "m/data.pkl", "m/constants.pkl", "m/code/a.py"),
            "a TorchScript model, which may read and write files when it predicts",
        ),
        (lambda d: (d / "saved_model.pb").write_bytes(b"x"), "a TensorFlow SavedModel, which may"),
    ],
)
def test_classes_c_and_d_need_trust(run_dir: Path, make: Any, words: str) -> None:
    make(run_dir)
    with pytest.raises(Untrusted, match=words) as caught:
        check_run(Source(run_dir, "r"), out=print)
    assert "`--trust`" in (caught.value.hint or "")
    assert "needs no trust" in (caught.value.hint or "")


def test_a_refused_pickle_was_not_opened(run_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    pytest.importorskip("sklearn")
    (run_dir / "m.pkl").write_bytes(pickle.dumps(Marker(tmp_path / "ran")))
    with pytest.raises(Untrusted):
        check_run(Source(run_dir, "r"), out=print)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(GuildliteError, match="which has no `predict`"):
        check_run(Source(run_dir, "r", trust=True), out=print)
    assert (tmp_path / "ran").exists()


def test_nothing_in_the_run_grants_trust(run_dir: Path) -> None:
    (run_dir / "m.pkl").write_bytes(pickle.dumps(1))
    for name in ("trust", "m.pkl.trust", "m.signature.json"):
        (run_dir / name).write_text("{}")
    (run_dir / "cache").mkdir()
    with pytest.raises(Untrusted):
        check_run(Source(run_dir, "r", uid=UID), out=print)


def test_a_run_made_here_is_its_own_until_a_byte_changes(run_dir: Path, tmp_path: Path) -> None:
    file = run_dir / "model" / "m.pkl"
    file.parent.mkdir()
    file.write_bytes(pickle.dumps(1))
    note_own_files(run_dir, UID)
    assert is_own_file(run_dir, UID, file)
    assert not is_own_file(run_dir, "f" * 16, file)
    assert not is_own_file(run_dir, "../" + UID, file)
    other = tmp_path / "copied"
    shutil.copytree(run_dir, other)
    assert is_own_file(other, UID, other / "model" / "m.pkl")
    (other / "model" / "m.pkl").write_bytes(pickle.dumps(2))
    assert not is_own_file(other, UID, other / "model" / "m.pkl")
    (run_dir / "model" / "new.pkl").write_bytes(pickle.dumps(1))
    assert not is_own_file(run_dir, UID, run_dir / "model" / "new.pkl")


def test_a_model_of_several_files_is_its_own_as_a_whole(run_dir: Path) -> None:
    folder = run_dir / "export"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"weights")
    note_own_files(run_dir, UID)
    assert is_own_file(run_dir, UID, folder / "saved_model.pb")
    (folder / "assets").mkdir()
    (folder / "assets" / "more").write_bytes(b"x")
    assert not is_own_file(run_dir, UID, folder / "saved_model.pb")


def test_data_files_are_not_noted(run_dir: Path, cache: Path) -> None:
    (run_dir / "data.csv").write_text("1")
    (run_dir / "gl.d").mkdir()
    (run_dir / "gl.d" / "x.pkl").write_bytes(b"x")
    note_own_files(run_dir, UID)
    assert not cache.exists()


def test_the_list_says_class_and_what_is_missing(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.save_doubler(run_dir / "m.onnx")
    models.save_signature(run_dir / "m.onnx")
    (run_dir / "m.pkl").write_bytes(pickle.dumps(1))
    make_zip(run_dir / "weights.pt", "m/data.pkl")
    monkeypatch.setattr("guildlite.serve.command.find_spec", lambda name: name == "joblib" or None)
    listed = describe_models(run_dir)
    assert [(each["file"], each["trust"], each["missing"]) for each in listed] == [
        ("m.onnx", "A", "onnx"), ("m.pkl", "D", "sklearn"), ("weights.pt", "B", None),
    ]  # fmt: skip
    assert [each["served"] for each in listed] == [True, True, False]
    assert listed[0]["signature"] is True


# Archives of PyTorch


def repack(path: Path, change: Any) -> Path:
    """Write the archive again with `change(members)` applied to name and content."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def pt2(run_dir: Path) -> Path:
    pytest.importorskip("torch")
    return models.save_pt2(run_dir / "m.pt2")


def test_a_clean_export_is_served_without_a_word(pt2: Path, run_dir: Path) -> None:
    lines: list[str] = []
    assert check_run(Source(run_dir, "r"), out=lines.append) == 0
    assert lines[-1] == "  zeros    prediction = [0.0, 0.0, 0.0]"


def test_pickled_sample_inputs_are_found_before_they_run(
    pt2: Path, run_dir: Path, tmp_path: Path
) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save(Marker(tmp_path / "ran"), buffer)

    def change(members: dict[str, bytes]) -> None:
        (name,) = [name for name in members if "/sample_inputs/" in name]
        members[name] = buffer.getvalue()

    repack(pt2, change)
    with pytest.raises(
        GuildliteError, match="which is not plain tensors, and loading it could run"
    ):
        check_run(Source(run_dir, "r"), out=print)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "member", ["x/data/constants/custom_obj_0", "x/weights.pkl", "x/lib.so", "x/data/weights/w.pt"]
)
def test_members_of_other_kinds_are_refused(pt2: Path, run_dir: Path, member: str) -> None:
    repack(pt2, lambda members: members.update({member: b"x"}))
    with pytest.raises(GuildliteError, match="could run code"):
        check_run(Source(run_dir, "r"), out=print)


def test_pickled_weights_are_refused(pt2: Path, run_dir: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        (name,) = [name for name in members if name.endswith("model_weights_config.json")]
        members[name] = members[name].replace(b'"use_pickle": false', b'"use_pickle": true')

    repack(pt2, change)
    with pytest.raises(GuildliteError, match="names pickled weights"):
        check_run(Source(run_dir, "r"), out=print)


def test_the_range_of_an_export_bounds_its_batches(run_dir: Path) -> None:
    pytest.importorskip("torch")
    import json

    from guildlite.serve.engine import Engine
    from guildlite.serve.find import find_model
    from guildlite.serve.runtimes import load_model

    models.save_pt2(run_dir / "m.pt2", most=8)
    model = find_model(run_dir, name="r")
    engine = Engine(load_model(model, run_dir=run_dir, name="r"))
    engine.warm_up()
    assert engine.max_batch == 8
    request = [{"image": [number] * 4} for number in range(30)]
    answers = json.loads(engine.answer(json.dumps(request).encode()))
    assert answers == [{"prediction": [2 * number] * 3} for number in range(30)]
    engine.close()


def test_a_lambda_in_a_keras_model_is_refused(run_dir: Path, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras", exc_type=ImportError)
    pytest.importorskip("tensorflow")
    image = keras.Input((4,), name="image")
    model = keras.Model(image, keras.layers.Lambda(lambda x: x, output_shape=(4,))(image))
    model.save(str(run_dir / "m.keras"))
    with pytest.raises(GuildliteError, match=r"`m\.keras` could not be loaded"):
        check_run(Source(run_dir, "r"), out=print)
