"""Differences of source: right by `git apply`, bounded, and never outside of what is kept."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest
from support.run_dirs import make_run

from guildlite.execute.prepare import Words, create_run, plan_operation
from guildlite.execute.sources import working_tree
from guildlite.project import load_project
from guildlite.runs import Run, RunStore
from guildlite.runs.sourcediff import (
    MOST_SOURCE_BYTES,
    SourceTree,
    diff_file,
    diff_sources,
    kept_sources,
)


def tree(root: Path, files: dict[str, bytes]) -> SourceTree:
    """Return a tree of files on disk."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    run = Run(root / "run")
    run.paths.root.mkdir(parents=True, exist_ok=True)
    os.symlink(root, run.paths.sources)
    return kept_sources(run)


def some_text(chance: random.Random) -> str:
    lines = [chance.choice("abcdefg") * chance.randint(0, 3) for _ in range(chance.randint(0, 40))]
    return "\n".join(lines) + ("\n" if lines and chance.random() < 0.7 else "")


def changed(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(chance.randint(1, 6)):
        place = chance.randint(0, len(lines))
        lines[place : place + chance.randint(0, 2)] = chance.choice([[], ["x"], ["x\ry", "é"]])
    return "\n".join(lines)


def test_git_applies_what_we_say(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    applied = 0
    for turn in range(60):
        before = some_text(chance)
        after = changed(before, chance)
        if before == after or not before or not after:
            continue
        folder = tmp_path / str(turn)
        folder.mkdir()
        (folder / "f").write_bytes(before.encode())
        found = diff_file("f", before.encode(), after.encode())
        patch = "\n".join(found.unified()) + "\n"
        subprocess.run(["git", "apply", "-"], input=patch.encode(), cwd=folder, check=True)
        assert (folder / "f").read_bytes() == after.encode()
        lines = [line for hunk in found.hunks for line in hunk.lines]
        assert found.added == sum(line.sign == "+" for line in lines)
        assert found.removed == sum(line.sign == "-" for line in lines)
        applied += 1
    assert applied > 30


def test_lines_carry_their_numbers_on_both_sides() -> None:
    before = "".join(f"{n}\n" for n in range(1, 31))
    after = before.replace("5\n", "five\n", 1).replace("20\n", "20\nmore\n")
    found = diff_file("f", before.encode(), after.encode())
    assert [hunk.head for hunk in found.hunks] == ["@@ -2,7 +2,7 @@", "@@ -18,6 +18,7 @@"]
    marked = [line for hunk in found.hunks for line in hunk.lines if line.sign != " "]
    assert [(line.sign, line.old, line.new, line.text) for line in marked] == [
        ("-", 5, None, "5"), ("+", None, 5, "five"), ("+", None, 21, "more"),
    ]  # fmt: skip
    last = found.hunks[1].lines[-1]
    assert (last.old, last.new, last.text) == (23, 24, "23")


def test_line_ends_are_part_of_a_file() -> None:
    assert diff_file("f", b"a\r\n", b"a\n").unified()[-2:] == ["-a\r", "+a"]
    assert diff_file("f", b"a", b"a\n").unified()[-3:] == [
        "-a", "\\ No newline at end of file", "+a",
    ]  # fmt: skip


def test_what_is_not_compared_by_lines_says_why(tmp_path: Path) -> None:
    large = b"x\n" * (MOST_SOURCE_BYTES // 2 + 1)
    one = tree(tmp_path / "one", {
        "large.py": large, "data": b"\0a", "gone.py": b"a\n", "same.py": b"1", "e.py": b"\xff",
        "huge.py": large + b"1",
    })  # fmt: skip
    other = tree(tmp_path / "other", {
        "large.py": large + b"y", "data": b"\0b", "lib/new.py": b"b\n", "same.py": b"1",
        "empty.py": b"", "e.py": b"\xfe", "huge.py": large + b"1",
    })  # fmt: skip
    os.symlink("/etc/passwd", tmp_path / "other/link.py")
    found = {each.path: (each.kind, each.why) for each in diff_sources(one, other)}
    # What is a link is not read, so on neither side there is anything.
    assert found == {
        "data": ("changed", "binary"), "e.py": ("changed", "binary"),
        "empty.py": ("added", "empty"),
        "gone.py": ("removed", ""), "large.py": ("changed", "large"), "lib/new.py": ("added", ""),
    }  # fmt: skip
    added = next(each for each in diff_sources(one, other) if each.path == "lib/new.py")
    assert added.unified() == ["--- /dev/null", "+++ b/lib/new.py", "@@ -0,0 +1 @@", "+b"]


def test_files_of_many_changes_are_cut_but_counted() -> None:
    before = "".join(f"a{n}\n" for n in range(30_000)).encode()
    after = "".join(f"b{n}\n" for n in range(30_000)).encode()
    found = diff_file("f", before, after)
    assert (found.added, found.removed, found.cut) == (30_000, 30_000, True)
    assert sum(len(hunk.lines) for hunk in found.hunks) == 20_000
    assert len(found.unified()) == 20_003


# The folder now ---------------------------------------------------------------------------------


@pytest.fixture
def secretive(project: Path) -> Path:
    """A project that keeps only its Python files, with much beside them that is not kept."""
    text = (project / "project.yml").read_text()
    (project / "project.yml").write_text(
        text.replace("train: train,", 'train: {run: train, sources: ["*.py"]},')
    )
    (project / "settings.toml").write_text("password = 'swordfish'\n")
    (project / ".env").write_text("TOKEN=swordfish\n")
    (project / ".hidden.py").write_text("swordfish\n")
    (project.parent / "outside.py").write_text("swordfish\n")
    os.symlink(project.parent / "outside.py", project / "link.py")
    outside = project.parent / f"{project.name}-outside"
    outside.mkdir()
    (outside / "deep.py").write_text("swordfish\n")
    os.symlink(outside, project / "linked")
    (project / "data").mkdir()
    (project / "data/set.py").write_text("swordfish\n")
    return project


def test_the_folder_shows_what_a_snapshot_would_take(
    secretive: Path, store: RunStore, own_places: None
) -> None:  # fmt: skip
    project = load_project(secretive / "project.yml")
    operation = project.models["tiny"].operations["train"]
    plan = plan_operation(project, operation, Words(), os.environ)
    run = create_run(plan, store)
    kept = kept_sources(run)
    now = working_tree(project, secretive, run, kept)
    assert now is not None
    assert set(now.files) == {"train.py", "evaluate.py", "prepare.py", "project.yml"}
    assert set(now.files) == set(kept.files)
    assert [*diff_sources(kept, now)] == []
    (secretive / "train.py").write_text("print('new')\n")
    (secretive / "new.py").write_text("swordfish = 0\n")
    now = working_tree(project, secretive, run, kept)
    assert now is not None
    assert {each.path: each.kind for each in diff_sources(kept, now)} == {
        "new.py": "added", "train.py": "changed",
    }  # fmt: skip


def test_a_run_that_claims_to_have_kept_a_secret_gets_none(
    secretive: Path, store: RunStore
) -> None:  # fmt: skip
    project = load_project(secretive / "project.yml")
    # As of a model that is gone: only files that the run kept, and of these only such as are kept.
    run = make_run(store, "gone")
    run.paths.sources.mkdir()
    for name in (".env", ".hidden.py", "link.py", "train.py", "linked/deep.py", "data/set.py"):
        (run.paths.sources / name).parent.mkdir(exist_ok=True)
        (run.paths.sources / name).write_text("claimed\n")
    now = working_tree(project, secretive, run, kept_sources(run))
    assert now is not None and set(now.files) == {"train.py"}


def test_without_a_project_only_the_folder_it_ran_in(store: RunStore, tmp_path: Path) -> None:
    run = make_run(store)
    assert working_tree(None, tmp_path, run, kept_sources(run)) is None
