"""The source snapshot: text that people wrote, never data, weights, environments or runs."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from guildlite.execute import sources
from guildlite.execute.sources import Snapshot, copy_sources


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project directory with one script."""
    path = tmp_path / "project"
    path.mkdir()
    (path / "train.py").write_text("print(1)\n")
    return path


def put(path: Path, size: int = 10) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def take(project: Path, *patterns: str, skip: list[Path] | None = None) -> Snapshot:
    return copy_sources(
        project, project.parent / "copy", patterns=patterns or None, skip=skip or []
    )


def test_code_and_small_configuration_are_copied_as_they_are(project: Path) -> None:
    for name in ("net/model.py", "conf/a.yaml", "run.sh", "README.md", "größe.toml"):
        put(project / name)
    os.utime(project / "train.py", (1_000_000_000, 1_000_000_000))
    taken = take(project)
    assert set(taken.files) == {
        "train.py", "net/model.py", "conf/a.yaml", "run.sh", "README.md", "größe.toml",
    }  # fmt: skip
    assert taken.notices == ()
    copy = project.parent / "copy"
    assert (copy / "train.py").read_text() == "print(1)\n"
    assert (copy / "train.py").stat().st_mtime == 1_000_000_000
    assert (copy / "net/model.py").read_bytes() == b"x" * 10


@pytest.mark.parametrize(
    "name",
    ["data/prepare.py", "datasets/a.json", "weights.pt", "model.onnx", "m.ckpt", "a.npy", "x.csv",
     "photo.png", ".venv/lib/a.py", "venv/a.py", "node_modules/a.js", "__pycache__/a.py",
     ".env", ".git/config.py", "wandb/a.py", "mlruns/a.yaml", "noending"],
)  # fmt: skip
def test_never_taken(project: Path, name: str) -> None:
    put(project / name)
    assert take(project).files == ("train.py",)


@pytest.mark.parametrize("mark", ["pyvenv.cfg", "conda-meta/history", "gl.d/meta/manifest.json"])
def test_environments_and_runs_are_known_by_what_they_contain(project: Path, mark: str) -> None:
    put(project / "odd" / mark)
    put(project / "odd" / "a.py")
    assert take(project).files == ("train.py",)


def test_the_runs_root_is_skipped_through_links_too(project: Path) -> None:
    put(project / "out" / "notes.py")
    (project / "link").symlink_to(project / "out")
    assert take(project, skip=[project / "link"]).files == ("train.py",)


def test_what_is_no_plain_file_is_passed_over(project: Path, tmp_path: Path) -> None:
    put(tmp_path / "secret.py")
    (project / "link.py").symlink_to(tmp_path / "secret.py")
    (project / "dangling.py").symlink_to("nowhere")
    (project / "loop.py").symlink_to("loop.py")
    (project / "up").symlink_to(project.parent)
    os.mkfifo(project / "fifo.py")
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(project)
        try:
            listener.bind("socket.py")
        finally:
            os.chdir(here)
        (project / "folder.py").mkdir()
        assert take(project).files == ("train.py",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(project: Path) -> None:
    put(project / "closed.py")
    (project / "closed.py").chmod(0)
    taken = take(project)
    assert taken.files == ("train.py",)
    assert taken.notices == ("the source snapshot lacks what cannot be read: `closed.py`",)


def test_a_file_that_goes_while_it_is_copied_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(project / "gone.py")
    real = sources._read

    def read(path: Path, size: int) -> bytes | None:
        if path.name == "gone.py":
            path.unlink()
        return real(path, size)

    monkeypatch.setattr(sources, "_read", read)
    assert take(project).notices == ("the source snapshot lacks what cannot be read: `gone.py`",)


def test_large_code_is_data_and_named_only_where_it_was_asked_for(project: Path) -> None:
    put(project / "table.py", 1024 * 1024 + 1)
    put(project / "labels.json", 128 * 1024 + 1)
    taken = take(project)
    assert (taken.files, taken.notices) == (("train.py",), ())
    taken = take(project, "*.py")
    assert taken.files == ("train.py",)
    assert taken.notices == ("the source snapshot lacks files above 1024 KiB: `table.py`",)


def test_limits_end_it_with_a_notice(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        put(project / "many" / f"{number:02}.py", 100)
    monkeypatch.setattr(sources, "MOST_FILES", 10)
    taken = take(project)
    assert len(taken.files) == 10
    assert taken.notices[0].startswith("the source snapshot ends at 10 files")
    monkeypatch.undo()
    monkeypatch.setattr(sources, "MOST_BYTES", 550)
    assert sum(path.stat().st_size for path in project.parent.glob("copy/many/*")) <= 1000
    assert len(take(project).files) == 6
    monkeypatch.undo()
    monkeypatch.setattr(sources, "MOST_ENTRIES", 20)
    assert "stopped looking after 20 files" in take(project).notices[0]


def test_patterns_choose_by_path_or_name(project: Path) -> None:
    for name in ("net/a.py", "net/b.txt", "c.dat"):
        put(project / name)
    assert take(project, "net/*").files == ("net/a.py", "net/b.txt")
    assert take(project, "*.dat", "a.py").files == ("c.dat", "net/a.py")
    assert take(project, "none*").files == ()


def test_the_digest_names_paths_and_contents(project: Path) -> None:
    put(project / "a.py")
    first = take(project).digest
    assert copy_sources(project, None, patterns=None, skip=[]).digest == first
    os.utime(project / "a.py", (0, 0))
    assert take(project).digest == first
    put(project / "a.py", 11)
    second = take(project).digest
    os.rename(project / "a.py", project / "b.py")
    assert len({first, second, take(project).digest}) == 3


def test_names_that_are_no_text(project: Path) -> None:
    name = b"odd\xff.py"
    with open(os.path.join(os.fsencode(project), name), "wb") as file:
        file.write(b"x")
    assert take(project).files == ("odd\udcff.py", "train.py")
    assert name in os.listdir(os.fsencode(project.parent / "copy"))
