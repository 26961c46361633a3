"""Finding and following event files: growth, replacement, damage, and what costs nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.event_files import header, records, scalar, scalars, version

from guildlite.tfevents import Chunk, Cursor, FileTree, LogDir, open_regular
from guildlite.tfevents import logdir as logdir_module
from guildlite.tfevents import tree as tree_module

NAME = "events.out.tfevents.1.host"


def steps(chunks: list[Chunk]) -> list[int]:
    return [value.step for chunk in chunks for value in chunk.scalars]


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_growing_file_is_followed_and_an_idle_one_gives_nothing(tmp_path: Path):
    path = tmp_path / NAME
    write(path, records(version(), *scalars(3)))
    logdir = LogDir(tmp_path)
    assert steps(list(logdir.look())) == [0, 1, 2]
    assert list(logdir.look()) == []
    append(path, records(scalar("loss", 3, 1.0))[:-1])
    assert list(logdir.look()) == []
    append(path, records(scalar("loss", 3, 1.0))[-1:])
    assert steps(list(logdir.look())) == [3]


def test_a_cursor_continues_where_another_reader_stopped(tmp_path: Path):
    write(tmp_path / "sub" / NAME, records(version(), *scalars(3)))
    (chunk,) = LogDir(tmp_path).look()
    assert chunk.cursor.path == f"sub/{NAME}"
    append(tmp_path / "sub" / NAME, records(scalar("loss", 3, 1.0)))
    assert steps(list(LogDir(tmp_path, [chunk.cursor]).look())) == [3]


def test_a_moved_log_directory_continues(tmp_path: Path):
    write(tmp_path / "a" / NAME, records(version(), *scalars(3)))
    (chunk,) = LogDir(tmp_path / "a").look()
    write(tmp_path / "b" / NAME, (tmp_path / "a" / NAME).read_bytes())
    assert list(LogDir(tmp_path / "b", [chunk.cursor]).look()) == []


def test_a_replaced_file_is_another_file(tmp_path: Path):
    path = tmp_path / NAME
    write(path, records(version(1.0), *scalars(3)))
    logdir = LogDir(tmp_path)
    (first,) = logdir.look()
    write(path, records(version(2.0), *scalars(5)))
    (second,) = logdir.look()
    assert steps([second]) == [0, 1, 2, 3, 4]
    assert second.cursor.digest != first.cursor.digest
    assert list(LogDir(tmp_path, [first.cursor, second.cursor]).look()) == []


def test_a_shortened_file_is_said_once_and_waited_for(tmp_path: Path):
    path = tmp_path / NAME
    whole = records(version(), *scalars(3))
    write(path, whole)
    logdir = LogDir(tmp_path)
    list(logdir.look())
    write(path, records(version()))
    (chunk,) = logdir.look()
    assert "shorter" in chunk.notices[0] and chunk.cursor.offset == len(whole)
    append(path, b"")
    os.utime(path, (1, 1))
    assert list(logdir.look()) == []
    assert list(LogDir(tmp_path, [chunk.cursor]).look()) == []
    write(path, whole + records(scalar("loss", 3, 0.0)))
    assert steps(list(logdir.look())) == [3]


def test_a_file_deleted_and_a_directory_deleted_while_followed(tmp_path: Path):
    write(tmp_path / "a" / NAME, records(version(), *scalars(2)))
    write(tmp_path / "b" / NAME, records(version(), *scalars(2)))
    logdir = LogDir(tmp_path)
    assert len(list(logdir.look())) == 2
    (tmp_path / "a" / NAME).unlink()
    (tmp_path / "b" / NAME).unlink()
    (tmp_path / "b").rmdir()
    assert list(logdir.look()) == [] and logdir.take_notices() == []
    write(tmp_path / "b" / NAME, records(version(9.0), *scalars(1)))
    assert steps(list(logdir.look())) == [0]


def test_several_writers_in_one_directory(tmp_path: Path):
    for index in range(3):
        write(tmp_path / f"{NAME}.{index}", records(version(index), scalar("loss", index, 0.0)))
    logdir = LogDir(tmp_path)
    assert steps(list(logdir.look())) == [0, 1, 2]
    for index in (2, 0):
        append(tmp_path / f"{NAME}.{index}", records(scalar("loss", 10 + index, 0.0)))
    assert steps(list(logdir.look())) == [10, 12]


def test_bad_framing_ends_one_file_and_is_named_once(tmp_path: Path):
    good = records(version(), *scalars(2))
    write(tmp_path / "a" / NAME, good + header(2**40) + records(scalar("loss", 2, 0.0)))
    write(tmp_path / "b" / NAME, good)
    logdir = LogDir(tmp_path)
    first, second = logdir.look()
    assert steps([first]) == steps([second]) == [0, 1]
    assert first.notices == [f"`a/{NAME}` is {first.cursor.error}; the rest was not read"]
    assert f"byte {len(good)}" in first.notices[0] and second.notices == []
    append(tmp_path / "a" / NAME, records(scalar("loss", 3, 0.0)))
    assert list(logdir.look()) == []
    assert list(LogDir(tmp_path, [first.cursor, second.cursor]).look()) == []


def test_damaged_records_are_skipped_counted_and_named_once(tmp_path: Path):
    flipped = bytearray(records(scalar("loss", 1, 0.5)))
    flipped[-6] ^= 1
    no_event = records(scalar("loss", 2, 0.5)[:-2])
    good = records(version(), scalar("loss", 0, 0.5))
    data = good + bytes(flipped) + no_event + records(scalar("loss", 3, 0.5))
    write(tmp_path / NAME, data)
    (chunk,) = LogDir(tmp_path).look()
    assert steps([chunk]) == [0, 3] and chunk.cursor.error is None
    assert chunk.cursor.state == {"skipped": 2} and chunk.cursor.offset == len(data)
    (notice,) = chunk.notices
    assert NAME in notice and f"byte {len(good)}" in notice
    append(tmp_path / NAME, no_event)
    (later,) = LogDir(tmp_path, [chunk.cursor]).look()
    assert later.notices == [] and later.cursor.state == {"skipped": 3}


@pytest.mark.parametrize("data", [b"", b"short", records(version())[:-1]])
def test_a_file_without_a_first_record_has_no_cursor(tmp_path: Path, data: bytes):
    write(tmp_path / NAME, data)
    assert list(LogDir(tmp_path).look()) == []


def test_a_file_that_is_no_event_file_is_damaged_at_its_start(tmp_path: Path):
    write(tmp_path / "tfevents.txt", b"these are not the records you look for")
    (chunk,) = LogDir(tmp_path).look()
    assert chunk.cursor.error is not None and "byte 0" in chunk.notices[0]
    assert list(LogDir(tmp_path, [chunk.cursor]).look()) == []


def test_fifo_directory_and_link_named_like_an_event_file(tmp_path: Path):
    write(tmp_path / "real" / NAME, records(version(), *scalars(1)))
    os.mkfifo(tmp_path / "fifo.tfevents")
    (tmp_path / "directory.tfevents").mkdir()
    (tmp_path / "link.tfevents").symlink_to(tmp_path / "real" / NAME)
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    logdir = LogDir(tmp_path)
    assert [chunk.cursor.path for chunk in logdir.look()] == [f"real/{NAME}"]
    assert logdir.take_notices() == ["`link.tfevents` is a symbolic link and is not followed"]
    assert logdir.take_notices() == []


def test_only_regular_files_are_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    for name in ("fifo", "link", "missing", "."):
        with pytest.raises(OSError):
            open_regular(tmp_path / name)


def test_an_unreadable_file_is_named_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path / "a" / NAME, records(version(), *scalars(1)))
    write(tmp_path / "b" / NAME, records(version(), *scalars(1)))

    def refusing(path: str) -> object:
        if "/a/" in path:
            raise PermissionError(13, "Permission denied", path)
        return open_regular(path)

    logdir = LogDir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(logdir_module, "open_regular", refusing)
        assert [chunk.cursor.path for chunk in logdir.look()] == [f"b/{NAME}"]
        assert list(logdir.look()) == []
    assert logdir.take_notices() == [f"`a/{NAME}` cannot be read: Permission denied"]
    assert [chunk.cursor.path for chunk in logdir.look()] == [f"a/{NAME}"]


def test_chunks_are_bounded_and_a_caller_may_stop_between_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logdir_module, "MOST_POINTS", 4)
    write(tmp_path / NAME, records(version(), *scalars(10)))
    logdir = LogDir(tmp_path)
    first = next(iter(logdir.look()))
    assert steps([first]) == [0, 1, 2, 3]
    assert steps(list(logdir.look())) == [4, 5, 6, 7, 8, 9]
    assert steps(list(LogDir(tmp_path, [first.cursor]).look())) == [4, 5, 6, 7, 8, 9]


def test_names_that_are_no_event(tmp_path: Path):
    directory = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(directory)
    with open(directory + b"/tfevents", "wb") as file:
        file.write(records(version(), *scalars(1)))
    (chunk,) = LogDir(tmp_path).look()
    assert chunk.cursor.path == "caf\\xe9/tfevents"
    assert list(LogDir(tmp_path, [chunk.cursor]).look()) == []


def test_of_two_cursors_for_a_file_the_furthest_counts(tmp_path: Path):
    write(tmp_path / NAME, records(version(), *scalars(3)))
    (chunk,) = LogDir(tmp_path).look()
    early = Cursor(NAME, chunk.cursor.digest, 0)
    assert list(LogDir(tmp_path, [chunk.cursor, early]).look()) == []


# --- FileTree ----------------------------------------------------------------------------------


def names(tree: FileTree, everything: bool = False) -> list[str]:
    found = []
    for file in tree.changed(everything=everything):
        found.append(file.name)
        tree.done(file)
    return found


def test_a_file_not_done_is_yielded_again(tmp_path: Path):
    write(tmp_path / "a", b"1")
    tree = FileTree(tmp_path, lambda name: True)
    assert [file.name for file in tree.changed()] == ["a"]
    assert names(tree) == ["a"]
    assert names(tree) == []


def test_depth_and_skipped_directories(tmp_path: Path):
    for name in ("gl.d/a", "sub/gl.d/a", "1/2/3/a", "1/2/3/4/a"):
        write(tmp_path / name, b"1")
    tree = FileTree(tmp_path, lambda name: True, skip={"gl.d"}, depth=3)
    assert names(tree) == ["sub/gl.d/a", "1/2/3/a"]
    assert tree.notices == ["directories below `1/2/3` are too deep and were not looked at"]


def test_too_many_entries_are_said_once(tmp_path: Path):
    for index in range(12):
        write(tmp_path / f"{index:02}", b"1")
    tree = FileTree(tmp_path, lambda name: True, most=10)
    assert len(names(tree)) == 10
    names(tree, everything=True)
    assert tree.notices == ["there are more than 10 files; some were not looked at"]


def test_an_entry_made_in_the_same_tick_as_the_listing_is_found(tmp_path: Path):
    tree = FileTree(tmp_path, lambda name: True)
    assert names(tree) == []
    before = tmp_path.stat()
    write(tmp_path / "a", b"1")
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert names(tree) == ["a"]


def test_an_old_directory_is_listed_again_only_when_its_time_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("a", "sub/b"):
        write(tmp_path / name, b"1")
    for directory in (tmp_path, tmp_path / "sub"):
        os.utime(directory, (1, 1))
    tree = FileTree(tmp_path, lambda name: True)
    listed: list[str] = []
    scandir = os.scandir

    def spy(path: str) -> object:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(tree_module.os, "scandir", spy)
    assert names(tree) == ["a", "sub/b"]
    assert listed == [str(tmp_path), str(tmp_path / "sub")]
    append(tmp_path / "sub/b", b"2")
    assert names(tree) == ["sub/b"] and len(listed) == 2
    write(tmp_path / "sub/c", b"1")
    assert names(tree) == ["sub/c"] and listed[2:] == [str(tmp_path / "sub")]


def test_quiet_files_are_visited_in_turns_and_all_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tree_module, "_QUIET_AFTER", 2)
    monkeypatch.setattr(tree_module, "_QUIET_PER_LOOK", 3)
    for index in range(10):
        write(tmp_path / f"{index}", b"1")
    tree = FileTree(tmp_path, lambda name: True)
    assert len(names(tree)) == 10
    for _ in range(3):
        assert names(tree) == []
    for index in range(10):
        append(tmp_path / f"{index}", b"2")
    rounds = [names(tree) for _ in range(10)]
    assert all(len(found) <= 3 for found in rounds)
    assert sorted(name for found in rounds for name in found) == [str(index) for index in range(10)]
    for _ in range(3):
        names(tree)
    append(tmp_path / "5", b"3")
    assert names(tree, everything=True) == ["5"]
