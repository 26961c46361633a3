"""`gl verify`: what differs is found and named, what is no fault of run.db is told apart."""

from __future__ import annotations

import math
import shutil
import sqlite3
from pathlib import Path

import pytest
from support.commands import call
from support.damaged_files import damaged_files
from support.event_files import records, scalar, summary, version
from support.recorded import WRITERS, golden_run, record
from support.run_dirs import make_run
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

from guildlite.runs import Run, RunStore
from guildlite.transfer.exports import export_runs
from guildlite.transfer.verify import (
    FILE,
    POINTS,
    STEP,
    TIME,
    VALUE,
    VALUES,
    Difference,
    verify_run,
)

NAME = "events.out.tfevents.1.host"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """A directory without a project file, in which the test stands, and its runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return RunStore(tmp_path / "runs")


def run_of(store: RunStore, *payloads: bytes, directory: str = "") -> Run:
    """Make a run with one event file, read into run.db."""
    run = make_run(store)
    path = run.path / directory / NAME
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(records(version(), *payloads))
    record(run)
    return run


def alter(run: Run, sql: str, *values: object) -> None:
    connection = sqlite3.connect(run.paths.db)
    with connection:
        connection.execute(sql, values)
    connection.close()


def key_id(key: str) -> str:
    return f"(SELECT id FROM series_key WHERE key = '{key}')"


# Agreement ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", WRITERS)
def test_what_each_writer_wrote_agrees(store: RunStore, writer: str) -> None:
    report = verify_run(golden_run(store, writer))
    assert report.differences == [] and report.damage == {}
    assert report.files >= 1 and report.points + report.media > 8


def test_scalars_of_tensorflow_2_are_compared(store: RunStore) -> None:
    run = golden_run(store, "tf2")
    assert verify_run(run).points == 41
    # bfloat16 is no type of NumPy: its one point is there and cannot be decoded over there.
    assert verify_run(run).unknown == {"types/bfloat16": 1}
    alter(run, f"UPDATE series SET value = 6.25 WHERE key_id = {key_id('types/int64')}")
    (found,) = verify_run(run).differences
    assert found[1:5] == ("types/int64", VALUE, 6.25, 5.0)


def test_nan_equals_nan_and_infinities_themselves(store: RunStore) -> None:
    values = [math.nan, math.inf, -math.inf, 0.0, -0.0]
    run = run_of(store, *(scalar("loss", step, value) for step, value in enumerate(values)))
    report = verify_run(run)
    assert (report.differences, report.points) == ([], 5)


def test_a_tag_written_both_ways_is_compared(store: RunStore) -> None:
    from guildlite.tfevents.writer import EventWriter

    run = make_run(store)
    with (run.path / NAME).open("wb") as file:
        writer = EventWriter(file)
        for step in range(4):
            writer.write_scalars("loss", [(step, 1.0 + step, step / 2)], double=step % 2 == 0)
    record(run)
    assert verify_run(run).differences == []
    alter(run, "UPDATE series SET value = 9 WHERE seq = 2")
    assert [each[2:5] for each in verify_run(run).differences] == [(VALUE, 9.0, 1.0)]


def test_tags_that_are_not_utf8_agree_and_are_spelt_out_when_exported(
    store: RunStore, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    image = Summary.Image(encoded_image_string=b"png")
    payloads = [
        scalar("loss", 0, 1.0),
        scalar("pr#cision", 0, 0.5),
        summary(1, 2.0, Summary.Value(tag="m#", image=image)),
        scalar("pr#cision", 1, 0.25),
        scalar("loss", 1, 2.0),
    ]
    run = run_of(store, *(payload.replace(b"#", b"\xe9") for payload in payloads))
    report = verify_run(run)
    assert (report.differences, report.damage) == ([], {})
    assert (report.points, report.media) == (4, 1)
    odd = "m\\xe9"
    alter(run, f"DELETE FROM media WHERE key_id = {key_id(odd)}")
    assert [each[1:5] for each in verify_run(run).differences] == [(odd, VALUES, 0, 1)]
    record(run)
    rerun = run_of(store, *(payload.replace(b"#", b"\xe9") for payload in payloads))
    (done,) = export_runs([rerun], tmp_path / "out", "tensorboard")
    found = EventAccumulator(str(done.path), {"scalars": 0}).Reload()
    assert [event.value for event in found.Scalars("pr\\xe9cision")] == [0.5, 0.25]
    assert [image.encoded_image_string for image in found.Images(odd)] == [b"png"]


def test_several_files_of_one_series(store: RunStore) -> None:
    run = run_of(store, scalar("loss", 0, 1.0), scalar("loss", 1, 2.0))
    later = run.path / "events.out.tfevents.2.host"
    later.write_bytes(records(version(2.0), scalar("loss", 1, 3.0), scalar("loss", 2, 4.0)))
    record(run)
    report = verify_run(run)
    assert (report.files, report.points, report.series) == (2, 4, 1)
    assert report.differences == []


def test_a_run_without_event_files_says_so(store: RunStore) -> None:
    make_run(store, series={"loss": [0.5]})
    answer = call("verify")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.splitlines()[-1] == "  note: there are no event files"


def test_series_of_other_sources_are_no_difference(store: RunStore) -> None:
    run = make_run(store, series={"sys/cpu/util": [0.5, 0.25], "output/loss": [1.0]})
    (run.path / NAME).write_bytes(records(version(), scalar("loss", 0, 1.0)))
    record(run)
    assert verify_run(run).differences == []


# Differences --------------------------------------------------------------------------------------


def test_one_altered_value_is_named_with_both_values(store: RunStore) -> None:
    run = golden_run(store, "torch")
    alter(run, f"UPDATE series SET value = 0.75 WHERE key_id = {key_id('loss')} AND seq = 3")
    assert verify_run(run).differences == [
        Difference("events.out.tfevents.2.host", "loss", VALUE, 0.75, 0.25, nth=3, step=3)
    ]
    answer = call("verify")
    assert answer.status == 1
    assert answer.out.splitlines()[2].split() == [
        "loss", "value", "3", "0.75", "0.25", "events.out.tfevents.2.host",
    ]  # fmt: skip
    (report,) = call("verify", "--json").json
    assert not report["agrees"]
    assert report["differences"][0]["key"] == "loss"


@pytest.mark.parametrize(
    ("column", "value", "what", "stored", "read"),
    [
        ("value", None, VALUE, None, 0.5),
        ("value", math.inf, VALUE, math.inf, 0.5),
        ("value", 0.5000001, VALUE, 0.5000001, 0.5),
        ("step", 7, STEP, 7, 1),
        ("time", 1501, TIME, 1501, 1500),
        ("time", None, TIME, None, 1500),
    ],
)
def test_each_column_is_compared(
    store: RunStore, column: str, value: object, what: str, stored: object, read: object
) -> None:
    run = run_of(store, *(scalar("loss", step, step / 2) for step in range(3)))
    alter(run, f"UPDATE series SET {column} = ? WHERE seq = 1", value)
    (found,) = verify_run(run).differences
    assert (found.key, found.what, found.nth, found.read) == ("loss", what, 1, read)
    shown = None if isinstance(found.stored, float) and math.isnan(found.stored) else found.stored
    assert shown == stored


def test_a_series_that_is_not_in_run_db(store: RunStore) -> None:
    run = golden_run(store, "torch")
    for table in ("series", "segment", "bucket"):
        alter(run, f"DELETE FROM {table} WHERE key_id = {key_id('accuracy')}")
    alter(run, "DELETE FROM series_key WHERE key = 'accuracy'")
    path = "events.out.tfevents.2.host"
    assert verify_run(run).differences == [Difference(path, "accuracy", POINTS, 0, 30)]


def test_a_series_that_is_not_in_the_file(store: RunStore) -> None:
    run = run_of(store, scalar("loss", 0, 1.0), scalar("loss", 1, 2.0))
    alter(run, "UPDATE series_key SET key = 'other'")
    assert verify_run(run).differences == [
        Difference(NAME, "loss", POINTS, 0, 2),
        Difference(NAME, "other", POINTS, 2, 0),
    ]


def test_a_missing_point_is_found_in_the_count_and_at_its_place(store: RunStore) -> None:
    run = run_of(store, *(scalar("loss", step, step / 2) for step in range(5)))
    alter(run, "DELETE FROM series WHERE seq = 2")
    assert verify_run(run).differences == [
        Difference(NAME, "loss", POINTS, 4, 5),
        Difference(NAME, "loss", STEP, 3, 2, nth=2, step=3, more=1),
    ]


def test_values_that_are_no_scalars_are_counted(store: RunStore) -> None:
    run = golden_run(store, "tensorboardx")
    alter(run, f"DELETE FROM media WHERE key_id = {key_id('image')}")
    path = "events.out.tfevents.0.host"
    assert verify_run(run).differences == [Difference(path, "image", VALUES, 0, 1)]


def test_records_that_were_never_read_are_a_difference(store: RunStore) -> None:
    run = run_of(store, scalar("loss", 0, 1.0))
    with (run.path / NAME).open("ab") as file:
        file.write(records(scalar("loss", 1, 2.0)))
    assert verify_run(run).differences == [Difference(NAME, "loss", POINTS, 1, 2)]


def test_a_file_that_was_never_read_is_a_difference(store: RunStore) -> None:
    run = run_of(store, scalar("loss", 0, 1.0))
    (run.path / "sub").mkdir()
    (run.path / "sub" / NAME).write_bytes(records(version(), scalar("loss", 0, 1.0)))
    assert verify_run(run).differences == [Difference(f"sub/{NAME}", "sub/loss", POINTS, 0, 1)]


@pytest.mark.parametrize(("change", "reason"), [("gone", "is gone"), ("other", "was replaced")])
def test_points_whose_file_is_not_there_are_a_difference(
    store: RunStore, change: str, reason: str
) -> None:
    run = run_of(store, scalar("loss", 0, 1.0), scalar("loss", 1, 1.0))
    (run.path / NAME).unlink()
    if change == "other":
        (run.path / NAME).write_bytes(records(version(7.0)))
    assert verify_run(run).differences == [Difference(NAME, "", FILE, 2, reason)]


# No fault of run.db -------------------------------------------------------------------------------


def session_start(step: int) -> bytes:
    log = SessionLog(status=SessionLog.START)
    return bytes(Event(step=step, wall_time=2.0, session_log=log).SerializeToString())


def test_points_that_tensorboard_drops_after_a_restart_are_a_line_of_their_own(
    store: RunStore,
) -> None:
    before = [scalar("loss", step, 1.0) for step in range(10)]
    after = [scalar("loss", step, 2.0) for step in range(6, 9)]
    run = run_of(store, *before, session_start(6), *after)
    answer = call("verify")
    assert answer.status == 0
    head, note = answer.out.splitlines()
    assert head == f"{run.id}  agrees: 13 points of 1 series in 1 event file"
    # Steps 6, 7, 8 and 9 of the first session.
    assert note == "  note: TensorBoard leaves out 4 points from before a restart: loss 4"


def test_a_restart_in_another_file_drops_points_of_the_first(store: RunStore) -> None:
    run = run_of(store, *(scalar("loss", step, 1.0) for step in range(4)), directory="a")
    later = run.path / "a" / "events.out.tfevents.2.host"
    later.write_bytes(records(version(2.0), session_start(2), scalar("loss", 2, 2.0)))
    record(run)
    report = verify_run(run)
    assert (report.differences, report.dropped) == ([], {"a/loss": 2})


def test_steps_that_go_back_without_a_restart_are_all_there(store: RunStore) -> None:
    run = run_of(store, *(scalar("loss", step, 1.0) for step in (0, 5, 3, 4, 3)))
    report = verify_run(run)
    assert (report.differences, report.dropped, report.points) == ([], {}, 5)


def damaged(run: Run, flip: int) -> None:
    """Flip a bit in the record number `flip` of the run's file, and read the file again."""
    path = run.path / NAME
    data = bytearray(path.read_bytes())
    at = 0
    for _ in range(flip):
        at += int.from_bytes(data[at : at + 8], "little") + 16
    data[at + 14] ^= 1
    path.write_bytes(data)


def test_points_behind_a_damaged_record_are_compared_too(store: RunStore) -> None:
    run = make_run(store)
    (run.path / NAME).write_bytes(
        records(version(), *(scalar("loss", step, step / 2) for step in range(6)))
    )
    damaged(run, 3)
    record(run)
    report = verify_run(run)
    assert (report.differences, report.points) == ([], 5)
    (reason,) = report.damage[NAME]
    assert reason.startswith("damaged record at byte ")
    alter(run, "UPDATE series SET value = 9 WHERE seq = 4")
    assert [each[2:6] for each in verify_run(run).differences] == [(VALUE, 9.0, 2.5, 4)]


def test_damage_after_the_reading_is_a_difference_and_named(store: RunStore) -> None:
    run = run_of(store, *(scalar("loss", step, step / 2) for step in range(6)))
    damaged(run, 6)
    answer = call("verify")
    assert answer.status == 1
    assert "points" in answer.out
    assert f"damaged: {NAME}: damaged record at byte" in answer.out


def test_a_record_that_is_no_event_stops_nobody(store: RunStore) -> None:
    run = run_of(store, scalar("loss", 0, 0.5), b"\xff\xff\xff", scalar("loss", 1, 1.5))
    report = verify_run(run)
    assert (report.differences, report.points) == ([], 2)
    assert "not an event" in report.damage[NAME][0]


def test_an_incomplete_record_at_the_end_is_waited_for(store: RunStore) -> None:
    run = run_of(store, scalar("loss", 0, 0.5))
    with (run.path / NAME).open("ab") as file:
        file.write(records(scalar("loss", 1, 1.5))[:-3])
    report = verify_run(run)
    assert (report.differences, report.damage) == ([], {})


def test_a_running_run_is_compared_as_far_as_it_was_read(store: RunStore) -> None:
    run = make_run(store, ended=False, alive=True)
    path = run.path / NAME
    path.write_bytes(records(version(), scalar("loss", 0, 0.5)))
    record(run)
    with path.open("ab") as file:
        file.write(records(scalar("loss", 1, 1.5), scalar("new", 0, 1.0)))
    (run.path / "events.out.tfevents.2.host").write_bytes(records(version(), scalar("b", 0, 1.0)))
    report = verify_run(run)
    assert (report.differences, report.points) == ([], 1)
    assert report.notes == ["it is running: compared as far as it has been read"]


# Where the files are ------------------------------------------------------------------------------


def test_runs_by_reference_are_compared_with_the_files_they_refer_to(
    store: RunStore, tmp_path: Path
) -> None:
    run = run_of(store, scalar("loss", 0, 0.5))
    logdir = tmp_path / "logs" / "a"
    logdir.mkdir(parents=True)
    shutil.move(run.path / NAME, logdir / NAME)
    (logdir / "another run").mkdir()
    (logdir / "another run" / NAME).write_bytes(records(version(), scalar("loss", 0, 9.0)))
    alter(run, "INSERT INTO attr VALUES ('logdir', ?)", str(logdir))
    report = verify_run(run)
    assert (report.differences, report.points) == ([], 1)


def test_tags_in_any_script_and_of_any_shape(store: RunStore) -> None:
    tags = ["损失/größe", "a/../b", "with\x00nul", " ", "%2e", "x" * 500, "\x1b[31m"]
    run = run_of(store, *(scalar(tag, 0, 0.5) for tag in tags))
    assert verify_run(run).differences == []
    alter(run, "UPDATE series SET value = 9")
    answer = call("verify")
    assert answer.status == 1 and "\x1b" not in answer.out


def test_many_tags(store: RunStore) -> None:
    values = [Summary.Value(tag=f"t/{n}", simple_value=n) for n in range(3000)]
    run = run_of(store, *(summary(step, 1.0 + step, *values) for step in range(3)))
    report = verify_run(run)
    assert (report.differences, report.series, report.points) == ([], 3000, 9000)


def test_several_runs_and_a_broken_one(store: RunStore) -> None:
    good = run_of(store, scalar("loss", 0, 0.5))
    bad = make_run(store, "broken")
    bad.paths.db.write_bytes(b"not a database, and long enough to be looked at" * 10)
    answer = call("verify", good.id, bad.id)
    assert answer.status == 1
    assert answer.out.splitlines() == [f"{good.id}  agrees: 1 point of 1 series in 1 event file"]
    assert answer.err.startswith("error: ")


def test_without_a_run_there_is_an_error(store: RunStore) -> None:
    assert call("verify").status == 1
    assert call("verify", "nobody").status == 1


# Damage of every kind -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with every file of the corpus of damage, each in a directory of its own."""
    run = make_run(RunStore(tmp_path_factory.mktemp("corpus")))
    for each in damaged_files():
        (run.path / each.name).mkdir(parents=True)
        (run.path / each.name / NAME).write_bytes(each.data)
    record(run)
    return run


def test_damage_of_every_kind_is_read_alike(corpus: Run) -> None:
    report = verify_run(corpus)
    assert report.differences == []
    files = list(damaged_files())
    assert report.points == sum(len(each.steps) for each in files)
    hurt = {f"{each.name}/{NAME}" for each in files if each.skipped or each.broken is not None}
    assert set(report.damage) == hurt


def test_an_export_of_damaged_files_has_what_is_whole(corpus: Run, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (done,) = export_runs([corpus], tmp_path / "out", "tensorboard")
    for each in damaged_files():
        if each.steps:
            found = EventAccumulator(str(done.path / each.name), {"scalars": 0}).Reload()
            assert [event.step for event in found.Scalars("loss")] == each.steps
