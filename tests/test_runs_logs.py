"""The ends of logs, and errors.log."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from guildlite.runs.logs import append_notice, read_notices, read_tail
from guildlite.runs.paths import RunPaths


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    paths = RunPaths(tmp_path)
    paths.root.mkdir()
    return paths


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert read_tail(log, 3) == b""
    log.write_bytes(b"12345")
    assert read_tail(log, 3) == b"345"
    assert read_tail(log, 9) == b"12345"


def test_notices_come_back_in_order_with_their_time(paths: RunPaths) -> None:
    assert read_notices(paths) == []
    append_notice(paths, "disk full")
    append_notice(paths, "odd \udc80")
    first, second = read_notices(paths)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ disk full", first)
    assert second.endswith(" odd ?")


def test_only_the_last_notices_are_read(paths: RunPaths) -> None:
    paths.errors.write_text("".join(f"{number} {'x' * 90}\n\n" for number in range(1000)))
    assert [line.split()[0] for line in read_notices(paths, most=2)] == ["998", "999"]
    assert len(read_notices(paths)) == 50


def test_notices_of_a_later_operation_are_its_own(paths: RunPaths) -> None:
    later = paths.operation("2-evaluate")
    later.root.mkdir(parents=True)
    append_notice(later, "slow")
    assert read_notices(paths) == [] and len(read_notices(later)) == 1


def test_nowhere_to_write_is_no_error(paths: RunPaths) -> None:
    paths.root.rmdir()
    append_notice(paths, "lost")


def test_links_and_pipes_are_neither_read_nor_written(paths: RunPaths, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("theirs\n")
    paths.errors.symlink_to(target)
    append_notice(paths, "x")
    assert target.read_text() == "theirs\n" and read_notices(paths) == []
    paths.errors.unlink()
    os.mkfifo(paths.errors)
    append_notice(paths, "x")
    assert read_notices(paths) == []
