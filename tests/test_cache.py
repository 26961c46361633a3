"""The cache: a value comes back as it was, or not at all."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from guildlite.cache import CacheFile, cache_dir, file_stamp, is_settled


def test_a_value_comes_back_under_its_name_and_stamp(cache: Path) -> None:
    kept = CacheFile("things", "a/ü\udc80", root=cache)
    assert kept.read() is None
    kept.write({"a": [1, None, "ü"]}, stamp=["1.0", 7])
    assert kept.read(["1.0", 7]) == {"a": [1, None, "ü"]}
    assert kept.read(["1.0", 8]) is None
    assert kept.read() is None
    assert CacheFile("things", "b", root=cache).read(["1.0", 7]) is None
    kept.remove()
    kept.remove()
    assert kept.read(["1.0", 7]) is None


def test_names_of_one_checksum_take_turns(cache: Path) -> None:
    # crc32 of both is 0x4ddb0c25.
    one, other = (CacheFile("things", name, root=cache) for name in ("plumless", "buckeroo"))
    assert one.path == other.path
    one.write(1)
    assert (one.read(), other.read()) == (1, None)
    other.write(2)
    assert (one.read(), other.read()) == (None, 2)


def test_it_is_in_the_users_cache_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GUILDLITE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg/guildlite"
    monkeypatch.setenv("GUILDLITE_CACHE", str(tmp_path / "own"))
    assert CacheFile("things", "a").path.parent == tmp_path / "own/things"


def test_it_is_its_owners_alone(cache: Path) -> None:
    kept = CacheFile("things", "a", root=cache)
    kept.write(1)
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.path.parent.stat().st_mode) == 0o700
    assert [path.name for path in kept.path.parent.iterdir()] == [kept.path.name]


def test_a_file_of_another_user_is_not_believed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = CacheFile("things", "a", root=cache)
    kept.write(1)
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert kept.read() is None


@pytest.mark.parametrize("damage", [b"", b"\n\n", b"null\n0\nnull", b"\xff\xfe", b"[]", b"1\nx\n2"])
def test_damage_is_as_nothing_kept(cache: Path, damage: bytes) -> None:
    kept = CacheFile("things", "a", root=cache)
    kept.write([1, 2, 3])
    whole = kept.path.read_bytes()
    for data in (damage, whole[:-1], whole.replace(b"[1, 2", b"[1, 9")):
        kept.path.write_bytes(data)
        assert kept.read() is None
    kept.write([1, 2, 3])
    assert kept.read() == [1, 2, 3]


def test_links_and_pipes_in_its_place_are_not_read(cache: Path) -> None:
    kept, other = (CacheFile("things", name, root=cache) for name in ("a", "b"))
    kept.write(1)
    os.rename(kept.path, other.path)
    kept.path.symlink_to(other.path)
    assert kept.read() is None
    kept.path.unlink()
    os.mkfifo(kept.path)
    assert kept.read() is None


def test_what_cannot_be_kept_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for root, value in ((tmp_path / "file", 1), (tmp_path / "cache", object())):
        kept = CacheFile("things", "a", root=root)
        kept.write(value)
        assert kept.read() is None
        kept.remove()


def test_a_stamp_changes_with_the_file_once_it_is_settled(tmp_path: Path) -> None:
    file = tmp_path / "f"
    assert file_stamp(file) is None
    file.write_text("a")
    young = file_stamp(file)
    assert young is not None and not is_settled(young)
    os.utime(file, (time.time() - 10,) * 2)
    old = file_stamp(file)
    assert old is not None and is_settled(old) and old != young
