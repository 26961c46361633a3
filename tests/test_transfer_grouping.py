"""Which directories of a log directory are one run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.event_files import scalar, scalars, summary, tensor
from support.logdirs import NAME, write
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboardX import SummaryWriter

from guildlite.transfer.grouping import find_event_files, group, peek

GOLDEN = Path(__file__).parent / "golden" / "events"
SESSION = summary(
    0, 1.0, tensor("_hparams_/session_start_info", TensorProto(dtype=1), "hparams")
)  # fmt: skip


def homes(root: Path, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return directory → home, both relative to `root`."""
    tree = find_event_files(os.fspath(root))
    found = group(tree, lambda path: peek(tree.directories.get(path, {}).values()), known)
    return {os.path.relpath(path, root): os.path.relpath(home, root)
            for path, home in found.items()}  # fmt: skip


@pytest.mark.parametrize("writer", ["torch", "keras", "tensorboardx"])
def test_what_one_writer_wrote_is_one_run(writer: str) -> None:
    assert set(homes(GOLDEN / writer).values()) == {"."}


def test_each_writer_of_a_tree_is_a_run(tmp_path: Path) -> None:
    for writer in ("keras", "tensorboardx", "tf1", "tf2", "torch"):
        shutil.copytree(GOLDEN / writer, tmp_path / writer)
    assert set(homes(tmp_path).values()) == {"keras", "tensorboardx", "tf1", "tf2", "torch"}


def test_add_scalars_of_tensorboardx(tmp_path: Path) -> None:
    with SummaryWriter(os.fspath(tmp_path / "run")) as writer:
        writer.add_scalar("accuracy", 0.5, 0)
        writer.add_scalars("group/loss", {"train": 1, "a/b": 2}, 0)
    found = homes(tmp_path)
    assert set(found) == {"run", "run/group/loss/train", "run/group/loss/a/b"}
    assert set(found.values()) == {"run"}


def test_add_scalars_is_known_by_its_tag_and_not_by_its_name(tmp_path: Path) -> None:
    write(tmp_path, scalar("x", 0, 1.0))
    write(tmp_path / "loss_a", scalar("loss", 0, 1.0))
    write(tmp_path / "loss_b", scalar("loss", 0, 1.0), scalar("accuracy", 0, 1.0))
    write(tmp_path / "loss", scalar("loss", 0, 1.0))
    write(tmp_path / "a_b_c", scalar("a/b", 0, 1.0))
    assert homes(tmp_path) == {
        ".": ".", "loss_a": ".", "a_b_c": ".", "loss_b": "loss_b", "loss": "loss",
    }  # fmt: skip


def test_without_a_writer_above_it_nothing_is_of_add_scalars(tmp_path: Path) -> None:
    write(tmp_path / "loss_a", scalar("loss", 0, 1.0))
    assert homes(tmp_path) == {"loss_a": "loss_a"}


def test_phases_belong_to_the_directory_they_stand_in(tmp_path: Path) -> None:
    for name in ("a/train", "a/validation", "b/train", "b/test", "c/train", "d", "d/eval"):
        write(tmp_path / name, *scalars(1))
    assert homes(tmp_path) == {
        "a/train": "a", "a/validation": "a", "b/train": "b", "b/test": "b", "c/train": "c",
        "d": "d", "d/eval": "d",
    }  # fmt: skip


def test_a_run_somebody_called_train_is_a_run(tmp_path: Path) -> None:
    for name in ("train", "baseline"):
        write(tmp_path / name, *scalars(1))
    assert homes(tmp_path) == {"train": "train", "baseline": "baseline"}


def test_directories_below_a_session_of_hparams_belong_to_it(tmp_path: Path) -> None:
    write(tmp_path / "trial", SESSION)
    write(tmp_path / "trial/train", *scalars(1))
    write(tmp_path / "trial/deep/metrics", *scalars(1))
    assert set(homes(tmp_path).values()) == {"trial"}


def test_the_one_session_below_a_run_is_the_runs_own(tmp_path: Path) -> None:
    write(tmp_path / "run", *scalars(1))
    write(tmp_path / "run/1700000000.1", SESSION, scalar("hparam/accuracy", 0, 1.0))
    assert set(homes(tmp_path).values()) == {"run"}


def test_several_sessions_of_one_writer_are_runs_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "run", *scalars(1))
    for name in ("1700000000.1", "1700000000.2"):
        write(tmp_path / "run" / name, SESSION)
    found = homes(tmp_path)
    assert all(path == home for path, home in found.items()) and len(found) == 3


def test_a_writer_that_wrote_nothing_else_leaves_its_session_alone(tmp_path: Path) -> None:
    write(tmp_path / "run")
    write(tmp_path / "run/1700000000.1", SESSION)
    assert homes(tmp_path)["run/1700000000.1"] == "run/1700000000.1"


def test_what_was_imported_stays_where_it_is(tmp_path: Path) -> None:
    write(tmp_path / "train", *scalars(1))
    write(tmp_path / "other", *scalars(1))
    known = {os.fspath(tmp_path / "train"): os.fspath(tmp_path)}
    assert homes(tmp_path, known) == {"train": ".", "other": "other"}


def test_links_runs_of_gl_and_other_files_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "real", *scalars(1))
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "data.csv").write_text("x")
    (tmp_path / "data.lnk").symlink_to(tmp_path / "data.csv")
    write(tmp_path / "20260101T000000Z-own", *scalars(1))
    (tmp_path / "20260101T000000Z-own" / "gl.d").mkdir()
    tree = find_event_files(os.fspath(tmp_path))
    assert list(tree.directories) == [os.fspath(tmp_path / "real")] and tree.runs == 1
    assert tree.notices == [f"`{tmp_path}/linked` is a symbolic link and is not followed"]


def test_a_damaged_file_is_peeked_into_as_far_as_it_goes(tmp_path: Path) -> None:
    write(tmp_path, scalar("loss", 0, 1.0))
    with open(tmp_path / NAME, "ab") as file:
        file.write(b"x" * 40)
    files = find_event_files(os.fspath(tmp_path)).directories[os.fspath(tmp_path)]
    assert peek(files.values()).scalars == {"loss"}
    assert not peek([])
