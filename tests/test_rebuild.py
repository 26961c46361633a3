"""`gl rebuild`: the script's files read again, and nothing lost that was measured."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.event_files import records, scalar, summary, version
from support.run_dirs import make_run
from tensorboard.compat.proto.summary_pb2 import Summary

from guildlite.cli.context import Context
from guildlite.cli.rebuild import rebuild as rebuild_command
from guildlite.collect.follow import Follower
from guildlite.platform import FileLock
from guildlite.runs import Run, RunReader, RunStore
from guildlite.runs.db import RunDb
from guildlite.series import STDOUT, Cursor, OutputLine, Point, Reading
from guildlite.transfer import rebuild as module
from guildlite.transfer.rebuild import Rebuilt, RunBusy, WouldLose, rebuild

GOLDEN = Path(__file__).parent / "golden" / "events"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a run with event files, a table, system series and output."""
    run = make_run(RunStore(tmp_path / "runs"))
    shutil.copytree(GOLDEN / "torch-media", run.path, dirs_exist_ok=True)
    (run.path / "log.csv").write_text("step,acc\n1,0.5\n2,0.75\n")
    run.paths.stdout.write_text("loss: 0.25\n")
    with RunDb(run.paths.db) as db:
        follow(run, db, live=True)
        db.write(
            [
                Reading(points={"sys/cpu/util": [Point(0, 5, 0.1), Point(5, 6, 0.2)]}),
                Reading(lines=[OutputLine(7, STDOUT, "seen")]),
            ]
        )
        db.seal({})
    return run


def follow(run: Run, db: RunDb, *, live: bool = False) -> None:
    follower = Follower(run.paths, db, columns={}, live=live, tell=lambda notice: None)
    assert follower.poll(final=True)
    follower.close()


def said(run: Run) -> dict[str, Any]:
    """Return what a reader says of a run, whatever the numbers of rows."""
    with RunReader(run.paths.db) as reader:
        query = reader._connection.execute
        return {
            "summaries": reader.summaries(),
            "points": {each.key: reader.series(each.key) for each in reader.summaries()},
            "media": reader.media(),
            "items": [reader.items(each.key) for each in reader.media()],
            "embeddings": reader.embeddings(),
            "sessions": reader.sessions(),
            "experiments": reader.experiments(),
            "output": reader.output(),
            "attrs": reader.attrs(),
            "segments": sorted(
                query(
                    "SELECT key, segment, path, segment.last_step, ended FROM segment"
                    " JOIN series_key ON series_key.id = key_id"
                    " LEFT JOIN source ON source.id = source_id"
                ),
                key=repr,
            ),
            "buckets": sorted(
                query(
                    "SELECT key, bucket, bucket.count, bucket.first_time, bucket.last_time"
                    " FROM bucket JOIN series_key ON series_key.id = key_id"
                )
            ),
            "sources": sorted((s.path, s.kind, s.digest, s.offset) for s in reader.source_rows()),
        }


def execute(run: Run, *statements: str) -> None:
    with RunDb(run.paths.db) as db:
        for statement in statements:
            db._connection.execute(statement)
        db.seal({})


def test_a_rebuild_of_what_is_right_changes_nothing(run: Run):
    before = said(run)
    rebuilt = rebuild(run)
    assert said(run) == before
    assert before["points"]["acc"][0].time is not None  # the moment it was seen is in no file
    # Six event files, one table, one configuration.
    points = sum(
        each.count for each in before["summaries"] if not each.key.startswith(("sys/", "output/"))
    )
    assert rebuilt == Rebuilt(8, points, sum(each.count for each in before["media"]), [])
    with open(run.paths.db, "rb") as file:
        assert file.read(19)[18] == 1  # one plain file, no WAL


def test_what_was_damaged_in_run_db_is_right_again(run: Run):
    before = said(run)
    execute(
        run,
        "UPDATE series SET value = 9 WHERE key_id ="
        " (SELECT id FROM series_key WHERE key = 'losses_train/losses')",
        "DELETE FROM media WHERE key_id = (SELECT id FROM series_key WHERE key = 'image')",
        "UPDATE series_key SET count = 0 WHERE key = 'image'",
        "DELETE FROM hparam",
    )
    assert said(run) != before
    rebuild(run)
    assert said(run) == before


def test_what_is_measured_stays(run: Run):
    before = said(run)
    for path in (run.paths.stdout, run.paths.stderr):
        path.write_text("")  # and is not read again
    rebuild(run)
    after = said(run)
    assert after["output"] == before["output"]
    for key in ("sys/cpu/util", "output/loss"):
        assert after["points"][key] == before["points"][key]


def test_what_came_from_files_that_are_gone_stays(run: Run):
    before = said(run)
    gone = run.path / "losses_train/events.out.tfevents.5.host"
    gone.unlink()
    replaced = run.path / "losses_test/events.out.tfevents.4.host"
    replaced.write_bytes(records(version(5.0), scalar("losses", 9, 1.0)))
    rebuilt = rebuild(run)
    assert sorted(rebuilt.kept) == [
        "losses_test/events.out.tfevents.4.host", "losses_train/events.out.tfevents.5.host"
    ]  # fmt: skip
    after = said(run)
    key = "losses_train/losses"
    assert after["points"][key] == before["points"][key]
    key = "losses_test/losses"
    assert [point.step for point in after["points"][key]] == [0, 1, 9]
    assert after["media"] == before["media"]


def test_embeddings_whose_configuration_was_deleted_go(run: Run):
    config = run.path / "emb" / "projector_config.pbtxt"
    config.parent.mkdir()
    config.write_text('embeddings { tensor_name: "words" tensor_path: "t.tsv" }')
    with RunDb(run.paths.db) as db:
        follow(run, db)
    with run.read() as reader:
        before = [each.key for each in reader.embeddings()]
    config.unlink()
    assert rebuild(run).kept == []
    with run.read() as reader:
        after = [each.key for each in reader.embeddings()]
    assert set(before) - set(after) == {"emb/words"}


def test_a_series_of_a_file_that_is_there_and_one_that_is_gone(tmp_path: Path):
    run = make_run(RunStore(tmp_path / "runs"))
    for name, steps in (("tfevents.1", range(5)), ("tfevents.2", range(3, 9))):
        values = [scalar("loss", step, step / 2) for step in steps]
        image = Summary.Value(tag="image", image=Summary.Image(encoded_image_string=name.encode()))
        images = [summary(step, 1.0, image) for step in steps]
        payloads = [version(float(name[-1])), *values, *images]
        (run.path / name).write_bytes(records(*payloads))
    with RunDb(run.paths.db) as db:
        follow(run, db)
        db.write([Reading(points={"loss": [Point(0, 1, -1.0)]})])  # measured, of the same name
        db.seal({})
    (run.path / "tfevents.1").unlink()
    before = said(run)
    rebuilt = rebuild(run)
    assert rebuilt == Rebuilt(1, 6, 6, ["tfevents.1"])
    after = said(run)
    # What cannot be read again comes first now.
    assert sorted(after["points"]["loss"]) == sorted(before["points"]["loss"])
    assert [point.step for point in after["points"]["loss"]] == [0, *range(5), *range(3, 9)]
    assert [item.path for item in after["items"][0]] == ["tfevents.1"] * 5 + ["tfevents.2"] * 6
    (summary_before,) = (each for each in before["summaries"] if each.key == "loss")
    (summary_after,) = (each for each in after["summaries"] if each.key == "loss")
    for column in ("count", "min", "max", "mean", "segments"):
        expected = getattr(summary_before, column)
        assert getattr(summary_after, column) == pytest.approx(expected), column
    assert said(run) == after and rebuild(run) and said(run) == after


def test_a_rebuild_that_would_lose_points_is_refused(run: Run):
    path = run.path / "losses_train/events.out.tfevents.5.host"
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # in the value of the last record
    path.write_bytes(bytes(data))
    before = said(run)
    with pytest.raises(WouldLose) as caught:
        rebuild(run)
    assert caught.value.message == "reading again would lose 1 point of `losses_train/losses`"
    assert said(run) == before
    rebuild(run, force=True)
    assert len(said(run)["points"]["losses_train/losses"]) == 1


def test_a_crash_at_any_write_leaves_run_db_as_it_was(run: Run, monkeypatch: pytest.MonkeyPatch):
    before = said(run)
    write, left = RunDb.write, [0]

    def stumbling(self: RunDb, readings: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        write(self, readings)

    monkeypatch.setattr(RunDb, "write", stumbling)
    for writes in (1, 2, 3):
        left[0] = writes
        with pytest.raises(KeyboardInterrupt):
            rebuild(run)
        assert said(run) == before


KILLED = """
import os, sys
from pathlib import Path
from guildlite.runs import Run
from guildlite.runs.db import RunDb
from guildlite.transfer.rebuild import rebuild

write = RunDb.write

def dying(self, readings):
    write(self, readings)
    os.kill(os.getpid(), 9)

RunDb.write = dying
rebuild(Run(Path(sys.argv[1])))
"""


def test_a_rebuild_that_is_killed_has_changed_nothing(run: Run):
    before = said(run)
    done = subprocess.run([sys.executable, "-c", KILLED, str(run.path)], check=False)
    assert done.returncode == -9
    assert said(run) == before
    rebuild(run)
    assert said(run) == before


def test_a_run_that_is_busy_is_left_alone(run: Run, tmp_path: Path):
    with FileLock(run.paths.lock) as lock:
        assert lock.try_acquire()
        with pytest.raises(RunBusy):
            rebuild(run)
    alive = make_run(RunStore(tmp_path / "runs"), ended=False, alive=True)
    with pytest.raises(RunBusy, match="still running"):
        rebuild(alive)


def test_a_run_imported_by_reference_is_read_where_it_is(tmp_path: Path):
    run = make_run(RunStore(tmp_path / "runs"))
    logs = tmp_path / "logs"
    for name in ("a", "b"):
        (logs / name).mkdir(parents=True)
        (logs / name / "tfevents").write_bytes(records(version(), scalar("loss", 1, 0.5)))
    (run.path / "tfevents").write_bytes(records(version(), scalar("not ours", 1, 0.5)))
    attrs = {"logdir": str(logs), "logdir_directories": json.dumps(["a"])}
    with RunDb(run.paths.db) as db:
        db.write_attrs(attrs)
    assert rebuild(run) == Rebuilt(0, 1, 0, [])
    assert rebuild(run) == Rebuilt(1, 1, 0, [])
    assert said(run)["points"].keys() == {"a/loss"}


def test_a_run_db_that_was_deleted_is_made_anew(run: Run):
    before = said(run)
    run.paths.db.unlink()
    rebuild(run)
    after = said(run)
    assert after["media"] == before["media"]
    assert after["points"].keys() == before["points"].keys() - {"sys/cpu/util"}


def test_a_table_that_was_written_anew(tmp_path: Path):
    run = make_run(RunStore(tmp_path / "runs"))
    table = run.path / "log.csv"
    table.write_text("step,acc\n1,0.5\n2,0.75\n")
    with RunDb(run.paths.db) as db:
        follow(run, db, live=True)
        table.write_text("step,acc\n1,0.25\n")
        follow(run, db, live=True)
        db.seal({})
    before = said(run)
    rebuild(run)
    assert said(run) == before


def test_the_command(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(run.path.parent.parent)
    result = CliRunner().invoke(rebuild_command, ["latest"], obj=Context())
    assert result.exit_code == 0, result.output
    assert f"of {run.id} again: " in result.output
    assert module.DIRECTORIES_ATTR == "logdir_directories"


def test_cursors_go_on_after_a_rebuild(run: Run):
    rebuild(run)
    with (run.path / "losses_train/events.out.tfevents.5.host").open("ab") as file:
        file.write(records(scalar("losses", 2, 5.0)))
    with RunDb(run.paths.db) as db:
        assert all(isinstance(cursor, Cursor) for cursor in db.cursors())
        follow(run, db)
    points = said(run)["points"]["losses_train/losses"]
    assert [(point.step, point.value) for point in points] == [(0, 1.0), (1, 0.0), (2, 5.0)]
