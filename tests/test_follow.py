"""The follower: every source in turn, within its time; and the spool between operations."""

from __future__ import annotations

import json
import math
import select
import time
from pathlib import Path

import pytest

from guildlite.collect.follow import Follower
from guildlite.collect.samples import Samples, SampleSpool
from guildlite.runs import RunPaths, RunReader
from guildlite.runs.db import RunDb
from guildlite.series import Point, Reading


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    found = RunPaths(tmp_path)
    found.operation("2-evaluate").meta.mkdir(parents=True)
    return found


def follow(paths: RunPaths, db: RunDb, told: list[str] | None = None) -> Follower:
    tell = (told if told is not None else []).append
    return Follower(paths, db, columns={}, live=False, tell=tell)


def test_all_sources_go_on_from_their_cursors(paths: RunPaths) -> None:
    spool = SampleSpool(paths.operation("2-evaluate").samples)
    for number in range(3):
        with open(paths.stdout, "a") as log:
            log.write(f"line {number}\n")
        with open(paths.run_dir / "m.csv", "a") as table:
            table.write("step,loss\n" * (number == 0) + f"{number},{number / 4}\n")
        spool.append([Reading(points={"evaluate/op/threads": [Point(number, 5, math.inf)]})])
        # A new follower each time, as after a crash.
        with RunDb(paths.db) as db:
            assert follow(paths, db).poll(final=True)
    with RunReader(paths.db) as reader:
        assert [line.text for line in reader.output()] == ["line 0", "line 1", "line 2"]
        assert [point.value for point in reader.series("loss")] == [0.0, 0.25, 0.5]
        assert reader.series("evaluate/op/threads") == [Point(n, 5, math.inf) for n in range(3)]


def test_a_deadline_ends_it_and_the_next_call_goes_on(paths: RunPaths) -> None:
    paths.stdout.write_text("".join(f"line {number}\n" for number in range(60_000)))
    with RunDb(paths.db) as db:
        follower = follow(paths, db)
        assert not follower.poll(final=True, deadline=time.monotonic() - 1)
        follower.close()
        while not follower.poll(final=True, deadline=time.monotonic() + 0.05):
            pass
    with RunReader(paths.db) as reader:
        assert reader.output_count() == 60_000
        assert reader.last_output(1)[0].text == "line 59999"


def test_damaged_samples_are_passed_over_with_a_notice(paths: RunPaths) -> None:
    good = json.dumps({"points": {"a": [[1, None, 2]]}, "attrs": {"b": 3}})
    lines = ["{", "[]", "null", '{"points": {"a": [[1, 2]]}}', '{"points": {"a": [[1, 2, "x"]]}}',
             '{"points": 5}', "[" * 100_000, good]  # fmt: skip
    paths.operation("2-evaluate").samples.write_text("".join(f"{line}\n" for line in lines))
    (reading,) = Samples(paths).sample()
    assert reading.points == {"a": [Point(1, None, 2.0)]} and reading.attrs == {"b": "3"}
    assert reading.notices == [
        "`gl.d/ops/2-evaluate/samples.jsonl` has lines that are no samples; they are passed over"
    ]


def test_a_fault_of_the_disk_costs_nothing(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    paths.stdout.write_text("one\ntwo\n")
    with RunDb(paths.db) as db:
        follower = follow(paths, db)

        def fail(readings: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(db, "write", fail)
            with pytest.raises(sqlite3.OperationalError):
                follower.poll()
        assert follower.poll(final=True)
    with RunReader(paths.db) as reader:
        assert [line.text for line in reader.output()] == ["one", "two"]


def test_files_of_a_live_run_are_told_and_not_of_one_caught_up(paths: RunPaths) -> None:
    from support.event_files import records, scalar, version

    def poll(name: str, data: str | bytes, *, told: bool) -> None:
        with open(paths.run_dir / name, "ab") as file:
            file.write(data.encode() if isinstance(data, str) else data)
        assert bool(select.select(follower.descriptors(), [], [], 0)[0]) == told
        assert follower.poll()
        assert not select.select(follower.descriptors(), [], [], 0)[0]

    with RunDb(paths.db) as db:
        follower = Follower(paths, db, columns={}, live=True, tell=lambda notice: None)
        poll("m.csv", "step,loss\n0,0.5\n", told=False)
        if not follower.descriptors():
            pytest.skip("nothing can be watched here")
        poll("m.csv", "1,0.25\n", told=True)
        (paths.run_dir / "train").mkdir()
        assert follower.poll()
        poll("train/tfevents", records(version(), scalar("acc", 0, 0.5)), told=True)
        poll("train/tfevents", records(scalar("acc", 1, 0.75)), told=True)
        follower.close()
        assert follower.descriptors() == []
        assert follow(paths, db).poll() and follow(paths, db).descriptors() == []
        # It goes on, watching anew.
        poll("m.csv", "2,0.125\n", told=False)
        poll("m.csv", "3,0.0625\n", told=True)
        follower.close()
    with RunReader(paths.db) as reader:
        assert [point.value for point in reader.series("loss")] == [0.5, 0.25, 0.125, 0.0625]
        assert [point.value for point in reader.series("train/acc")] == [0.5, 0.75]
