"""What the kernel tells of directories, and a file tree that believes it."""

from __future__ import annotations

import os
import select
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.event_files import records, scalar, scalars, version

from guildlite import watch as watch_module
from guildlite.platform import LINUX
from guildlite.tfevents import FileTree, LogDir
from guildlite.tfevents import tree as tree_module
from guildlite.watch import Changes, Watcher, open_watcher

pytestmark = pytest.mark.skipif(not LINUX, reason="inotify is Linux's")


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Watcher]:
    found = open_watcher(tmp_path)
    if found is None:
        pytest.skip("this machine has no inotify left for us")
    yield found
    found.close()


def readable(watcher: Watcher) -> bool:
    return bool(select.select(watcher.descriptors(), [], [], 0)[0])


def names(tree: FileTree, everything: bool = False) -> list[str]:
    found = []
    for file in tree.changed(everything=everything):
        found.append(file.name)
        tree.done(file)
    return found


# Watcher ------------------------------------------------------------------------------------------


def test_each_kind_of_change_is_told_by_entry(tmp_path: Path, watcher: Watcher) -> None:
    changes = watcher.changes()
    assert changes.add(str(tmp_path)) and changes.take() == set()
    for change, told in [
        (lambda: (tmp_path / "a").write_bytes(b"1"), {"a"}),
        (lambda: os.truncate(tmp_path / "a", 0), {"a"}),
        (lambda: (tmp_path / "a").rename(tmp_path / "b"), {"a", "b"}),
        (lambda: (tmp_path / "d").mkdir(), {"d/"}),
        (lambda: (tmp_path / "b").unlink(), {"b"}),
        (lambda: (tmp_path / "d").rmdir(), {"d/"}),
    ]:
        change()
        assert readable(watcher)
        assert changes.take() == {(str(tmp_path), name) for name in told}
        assert not readable(watcher)


def test_two_followers_of_one_directory_are_both_told(tmp_path: Path, watcher: Watcher) -> None:
    one, other = watcher.changes(), watcher.changes()
    assert one.add(str(tmp_path)) and other.add(str(tmp_path))
    (tmp_path / "a").touch()
    assert one.take() == other.take() == {(str(tmp_path), "a")}


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_a_directory_that_goes_is_told_as_lost(tmp_path: Path, watcher: Watcher, how: str) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    changes = watcher.changes()
    assert changes.add(str(directory))
    directory.rmdir() if how == "removed" else directory.rename(tmp_path / "e")
    found = changes.take() or changes.take()
    assert (found or changes.take()) == {(str(directory), "")}
    assert not changes.add(str(directory))


def test_what_cannot_be_watched_is_refused(
    tmp_path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = watcher.changes()
    (tmp_path / "file").touch()
    assert not changes.add(str(tmp_path / "file")) and not changes.add(str(tmp_path / "none"))
    assert not changes.add("/proc/self"), "another device"

    def full(name: str, *arguments: object) -> int:
        raise OSError(28, "No space left on device")  # what inotify says at its limit

    monkeypatch.setattr(watch_module, "_call", full)
    assert not changes.add(str(tmp_path))
    assert open_watcher(tmp_path) is None


def test_some_watches_are_left_to_others(
    tmp_path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "_MOST_WATCHES", 2)
    for name in "abc":
        (tmp_path / name).mkdir()
    changes, other = watcher.changes(), watcher.changes()
    assert [changes.add(str(tmp_path / name)) for name in "abc"] == [True, True, False]
    assert other.add(str(tmp_path / "a")), "it is watched already"
    (tmp_path / "c/x").touch()
    assert changes.take() == set()
    (tmp_path / "a").rmdir()
    changes.take()
    assert changes.add(str(tmp_path / "c"))


def test_network_file_systems_are_not_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "is_network_file_system", lambda path: True)
    assert open_watcher(tmp_path) is None


def test_after_an_overflow_anything_may_have_changed(
    tmp_path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "_MOST_KEPT", 3)
    changes = watcher.changes()
    changes.add(str(tmp_path))
    for index in range(5):
        (tmp_path / f"{index}").touch()
    assert changes.take() is None and changes.take() == set()
    watcher._tell(-1, watch_module._OVERFLOW, b"")
    assert changes.take() is None


def test_a_closed_watcher_says_nothing(tmp_path: Path, watcher: Watcher) -> None:
    changes = watcher.changes()
    changes.add(str(tmp_path))
    watcher.close()
    watcher.close()
    (tmp_path / "a").touch()
    assert watcher.descriptors() == [] and changes.take() == set()
    assert not changes.add(str(tmp_path))


# The tree -----------------------------------------------------------------------------------------


class Spied:
    """A tree, and the files and directories it stats."""

    def __init__(self, root: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tree_module, "_SWEPT_PER_LOOK", 0)
        self.tree = FileTree(root, lambda name: name.endswith("t"), watch=watcher.changes())
        self.visited: list[str] = []
        self._root, original = root, os.stat

        def spy(path: str, **options: bool) -> os.stat_result:
            if str(path).startswith(str(root)):
                self.visited.append(os.path.relpath(path, root))
            return original(path, **options)

        monkeypatch.setattr(tree_module.os, "stat", spy)

    def look(self) -> list[str]:
        self.visited.clear()
        return names(self.tree)


@pytest.fixture
def spied(tmp_path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> Spied:
    for name in ("a.t", "b.t", "c", "sub/d.t", "sub/deep/e.t"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    found = Spied(tmp_path, watcher, monkeypatch)
    assert found.look() == ["a.t", "b.t", "sub/d.t", "sub/deep/e.t"]
    return found


def test_only_what_changed_is_looked_at(tmp_path: Path, spied: Spied) -> None:
    assert spied.look() == [] and spied.visited == []
    for name in ("sub/deep/e.t", "b.t", "c"):  # the last is nobody's
        with open(tmp_path / name, "ab") as file:
            file.write(b"2")
    assert spied.look() == ["b.t", "sub/deep/e.t"] == spied.visited
    assert spied.look() == [] and spied.visited == []


def test_new_files_and_directories_are_found(tmp_path: Path, spied: Spied) -> None:
    (tmp_path / "sub/new.t").touch()
    (tmp_path / "one/two").mkdir(parents=True)
    (tmp_path / "one/two/f.t").touch()
    assert spied.look() == ["sub/new.t", "one/two/f.t"]
    (tmp_path / "one/two/g.t").touch()
    assert spied.look() == ["one/two/g.t"] and "sub" not in spied.visited


def test_a_file_not_done_is_yielded_again(tmp_path: Path, spied: Spied) -> None:
    (tmp_path / "a.t").write_bytes(b"22")
    assert [file.name for file in spied.tree.changed()] == ["a.t"]
    (found,) = spied.tree.changed()
    spied.tree.again(found)
    assert spied.look() == ["a.t"] and spied.look() == []


def test_a_file_replaced_by_name_and_one_that_becomes_a_link(tmp_path: Path, spied: Spied) -> None:
    (tmp_path / "other").write_bytes(b"1")
    (tmp_path / "other").replace(tmp_path / "a.t")
    assert spied.look() == ["a.t"]
    (tmp_path / "b.t").unlink()
    (tmp_path / "b.t").symlink_to("a.t")
    assert spied.look() == [] and spied.look() == []
    assert spied.tree.notices == ["`b.t` is a symbolic link and is not followed"]


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_a_directory_made_anew_is_followed(tmp_path: Path, spied: Spied, how: str) -> None:
    if how == "removed":
        shutil.rmtree(tmp_path / "sub")
    else:
        (tmp_path / "sub").rename(tmp_path / "old")
    (tmp_path / "sub/deep").mkdir(parents=True)
    (tmp_path / "sub/deep/h.t").touch()
    found = spied.look() + spied.look()
    moved = ["old/d.t", "old/deep/e.t"] if how == "moved" else []
    assert sorted(found) == [*moved, "sub/deep/h.t"]
    (tmp_path / "sub/deep/h.t").write_bytes(b"2")
    (tmp_path / "sub/i.t").touch()
    assert spied.look() == ["sub/i.t", "sub/deep/h.t"]
    if how == "moved":
        (tmp_path / "old/deep/e.t").write_bytes(b"22")
        assert spied.look() == ["old/deep/e.t"]


def test_after_an_overflow_everything_is_visited_once(
    tmp_path: Path, spied: Spied, watcher: Watcher
) -> None:
    watcher._tell_all()
    (tmp_path / "sub/deep/e.t").write_bytes(b"22")
    (tmp_path / "sub/j.t").touch()
    assert spied.look() == ["sub/j.t", "sub/deep/e.t"]
    assert {"a.t", "b.t", "sub/d.t"} <= set(spied.visited)
    assert spied.look() == [] and spied.visited == []


def test_what_nobody_tells_is_found_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_module, "_SWEPT_PER_LOOK", 2)

    class Mute:
        def add(self, directory: str) -> bool:
            return True

        def take(self) -> set[tuple[str, str]]:
            return set()

    for index in range(8):
        (tmp_path / f"{index}").write_bytes(b"1")
    tree = FileTree(tmp_path, lambda name: True, watch=Mute())
    assert len(names(tree)) == 8
    (tmp_path / "5").write_bytes(b"22")
    assert sorted(name for _ in range(5) for name in names(tree)) == ["5"]


def test_directories_refused_are_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """Watches one directory, as where the user has one watch left."""

        def __init__(self) -> None:
            self.told: set[tuple[str, str]] = set()

        def add(self, directory: str) -> bool:
            return directory.endswith("watched")

        def take(self) -> set[tuple[str, str]]:
            told, self.told = self.told, set()
            return told

    monkeypatch.setattr(tree_module, "_SWEPT_PER_LOOK", 0)
    for name in ("polled/a", "watched/b"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"1")
    watch = Full()
    tree = FileTree(tmp_path, lambda name: True, watch=watch)
    assert names(tree) == ["polled/a", "watched/b"]
    for name in ("polled/a", "watched/b"):
        (tmp_path / name).write_bytes(b"22")
    assert names(tree) == ["polled/a"]
    watch.told = {(str(tmp_path / "watched"), "b")}
    assert names(tree) == ["watched/b"]


# Any sequence of changes: a watched tree finds what a polled one finds ----------------------------

NAMES = ("a.t", "b.t", "c", "d", "d/e.t", "d/f", "d/f/g.t", "h", "h/f", "h/f/g.t")
DOINGS: dict[str, Callable[[Path], object]] = {
    "write": lambda path: path.write_bytes(
        b"x" * (path.stat().st_size + 1 if path.exists() else 1)
    ),
    "mkdir": lambda path: path.mkdir(),
    "unlink": lambda path: path.unlink(),
    "rmtree": lambda path: shutil.rmtree(path),
    "move": lambda path: path.rename(path.with_name("d")),
    "move away": lambda path: path.rename(path.with_name("h")),
    "link": lambda path: path.symlink_to("a.t"),
}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(sorted(DOINGS)), st.sampled_from(NAMES)), max_size=4),
        max_size=6,
    )
)
def test_any_changes_between_looks(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[str, str]]]
) -> None:
    root = tmp_path_factory.mktemp("any")
    watcher = open_watcher(root)
    if watcher is None:
        pytest.skip("this machine has no inotify left for us")
    try:
        watched = FileTree(root, lambda name: name.endswith("t"), watch=watcher.changes())
        seen: dict[str, int] = {}
        for doings in rounds:
            for what, name in doings:
                try:
                    DOINGS[what](root / name)
                except OSError:
                    pass
            # A second look: what a first one finds gone, its directory says in the next.
            for _ in range(2):
                for file in watched.changed():
                    seen[file.name] = os.lstat(file.path).st_size
                    watched.done(file)
            expected = {
                path.relative_to(root).as_posix(): path.lstat().st_size
                for path in root.rglob("*t")
                if path.is_file() and not path.is_symlink()
            }
            assert {name: seen.get(name) for name in expected} == expected
    finally:
        watcher.close()


# Event files --------------------------------------------------------------------------------------


def test_a_log_directory_is_followed_by_what_is_told(tmp_path: Path, watcher: Watcher) -> None:
    for index in range(3):
        (tmp_path / f"{index}").mkdir()
        (tmp_path / f"{index}/tfevents").write_bytes(records(version(index), *scalars(2)))
    logdir = LogDir(tmp_path, watch=watcher.changes())
    assert len(list(logdir.look())) == 3 and list(logdir.look()) == []
    whole = records(scalar("loss", 2, 0.5))
    for part in (whole[:7], whole[7:]):
        with open(tmp_path / "1/tfevents", "ab") as file:
            file.write(part)
        assert readable(watcher)
        found = [value.step for chunk in logdir.look() for value in chunk.scalars]
    assert found == [2] and not readable(watcher)


def test_changes_are_what_a_tree_takes(watcher: Watcher) -> None:
    watch: tree_module.Watch = Changes(watcher)
    assert watch.take() == set()
