"""Log directories become runs: all of it, once, again for what is new, whatever interrupts."""

from __future__ import annotations

import json
import math
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import call
from support.event_files import header, records, scalar, scalars, summary, tensor, version
from support.logdirs import NAME, append, snapshot, write
from support.processes import assert_sealed, rows, series, wait_for
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.hparams.api_pb2 import Experiment
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)

from guildlite.runs import Run, RunStore, Status
from guildlite.transfer.imports import Importer, Outcome, Report
from guildlite.transfer.rebuild import rebuild
from guildlite.transfer.verify import verify_run

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden" / "events"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """An empty log directory."""
    path = tmp_path / "logs"
    path.mkdir()
    return path


def hparams(tag: str, **data: object) -> bytes:
    """Return a record of the plugin HParams, as every writer makes it."""
    value = tensor(f"_hparams_/{tag}", TensorProto(dtype=1), "hparams")
    value.metadata.plugin_data.content = HParamsPluginData(**data).SerializeToString()  # type: ignore[arg-type]
    return summary(0, 1.7e9, value)


def session(values: dict[str, object], status: int) -> tuple[bytes, bytes]:
    """Return the records that begin and end a session; status 1 is success, 2 failure."""
    start = SessionStartInfo(start_time_secs=1.7e9)
    for name, value in values.items():
        kind = {float: "number_value", str: "string_value", bool: "bool_value"}[type(value)]
        setattr(start.hparams[name], kind, value)
    end = SessionEndInfo(status=status, end_time_secs=1.7e9)  # type: ignore[arg-type]
    return (
        hparams("session_start_info", session_start_info=start),
        hparams("session_end_info", session_end_info=end),
    )


def look(store: RunStore, *logdirs: Path, **settings: object) -> Report:
    return Importer(store.root, **settings).look(logdirs)  # type: ignore[arg-type]


def states(report: Report) -> dict[str, str]:
    """Return the name of each source's directory → what became of it."""
    return {os.path.basename(outcome.source): outcome.state for outcome in report.outcomes}


def only(report: Report) -> Outcome:
    (outcome,) = report.outcomes
    return outcome


def run_of(report: Report) -> Run:
    path = only(report).path
    assert path is not None
    return Run(path)


def number(value: object) -> float | None:
    """Return a value of expected.json as run.db has it."""
    found = float(value)  # type: ignore[arg-type]
    return None if math.isnan(found) else found


# What a run becomes -----------------------------------------------------------------------------


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("writer", ["torch", "keras", "tensorboardx", "tf1", "tf2"])
def test_every_scalar_that_tensorboard_reads_is_there(
    store: RunStore, logs: Path, writer: str, copy: bool
) -> None:
    source = logs / writer
    shutil.copytree(GOLDEN / writer, source)
    before = snapshot(logs)
    run = run_of(look(store, logs, copy=copy))
    assert snapshot(logs) == before
    expected: dict[str, list[tuple[int, float | None]]] = {}
    for name, found in json.loads((source / "expected.json").read_text()).items():
        directory = os.path.dirname(name)
        for tag, values in found["scalars"].items():
            key = f"{directory}/{tag}" if directory else tag
            points = [(step, number(value)) for step, _, value in values]
            expected.setdefault(key, []).extend(points)
    keys = [key for (key,) in rows(run, "SELECT key FROM series_key WHERE kind = 'scalar'")]
    assert sorted(keys) == sorted(expected)
    for key, points in expected.items():
        assert sorted(map(str, series(run, key))) == sorted(map(str, points)), key
    assert_sealed(run)
    files = [path.relative_to(run.path).as_posix() for path in run.path.rglob("*tfevents*")]
    there = [path.relative_to(source).as_posix() for path in source.rglob("*tfevents*")]
    assert sorted(files) == (sorted(there) if copy else [])


def test_a_run_has_name_times_status_and_where_it_came_from(store: RunStore, logs: Path) -> None:
    write(logs / "a" / "b", scalar("loss", 0, 1.0, 1.7e9 + 1), scalar("loss", 1, 1.0, 1.7e9 + 90))
    run = run_of(look(store, logs))
    assert run.id == "20231114T221320Z-a_b" and run.error is None
    assert (run.status, run.operation, run.model) == (Status.COMPLETED, "import", "a/b")
    assert (run.created_at, run.started_at) == (1.7e9, 1.7e9)
    assert (run.stopped_at, run.duration_s) == (1.7e9 + 90, 90.0)
    attrs = dict(rows(run, "SELECT name, value FROM attr"))
    assert attrs["logdir"] == attrs["import.source"] == str(logs / "a" / "b")
    assert json.loads(attrs["logdir_directories"]) == [""]
    assert attrs["started"] == "2023-11-14T22:13:20Z" and attrs["id"] == run.id
    assert rows(run, "SELECT path FROM source") == [(NAME,)]
    assert [one.id for one in store.list()] == [run.id]


def test_a_copy_has_no_log_directory(store: RunStore, logs: Path) -> None:
    source = write(logs / "a", *scalars(3))
    run = run_of(look(store, logs, copy=True, model="resnet"))
    assert rows(run, "SELECT value FROM attr WHERE name = 'logdir'") == []
    assert (run.path / NAME).read_bytes() == source.read_bytes() and run.model == "resnet"


def test_hparams_become_flags(store: RunStore, logs: Path) -> None:
    shutil.copytree(GOLDEN / "torch", logs / "torch")
    run = run_of(look(store, logs))
    assert run.flags == {"lr": "0.1", "name": "a"} and run.status == Status.COMPLETED
    assert rows(run, "SELECT name, value FROM flag") == [("lr", "0.1"), ("name", "a")]


def test_hparams_stated_later_become_flags_then(store: RunStore, logs: Path) -> None:
    write(logs / "run", *scalars(2))
    assert run_of(look(store, logs)).flags == {}
    start, end = session({"batch": 32.0, "opt": "sgd", "fast": True}, status=2)
    write(logs / "run" / "1700000000.5", start, end, scalar("acc", 0, 0.5))
    report = look(store, logs)
    run = run_of(report)
    assert only(report).state == "grown" and run.status is Status.FAILED
    assert run.flags == {"batch": "32", "fast": "True", "opt": "sgd"}
    assert dict(rows(run, "SELECT name, value FROM flag")) == run.flags
    assert series(run, "1700000000.5/acc") == [(0, 0.5)]
    (directories,) = rows(run, "SELECT value FROM attr WHERE name = 'logdir_directories'")
    assert json.loads(directories[0]) == ["", "1700000000.5"]


@pytest.mark.parametrize("copy", [False, True])
def test_embeddings_come_with_their_files(store: RunStore, logs: Path, copy: bool) -> None:
    write(logs / "a", *scalars(1))
    (logs / "a" / "words.tsv").write_text("1\t2\n")
    (logs / "secret.tsv").write_text("1\t2\n")
    config = logs / "a" / "projector_config.pbtxt"
    entry = 'embeddings {{ tensor_name: "{}" tensor_path: "{}" }}\n'
    config.write_text(entry.format("words", "words.tsv") + entry.format("out", "../secret.tsv"))
    run = run_of(look(store, logs, copy=copy))
    with run.read() as reader:
        assert [row.key for row in reader.embeddings()] == ["out", "words"]
    assert (run.path / "words.tsv").exists() is copy
    assert not (run.path.parent / "secret.tsv").exists()
    config.write_text(config.read_text() + entry.format("more", "words.tsv"))
    look(store, logs)
    with run.read() as reader:
        assert [row.key for row in reader.embeddings()] == ["more", "out", "words"]


def test_embeddings_that_are_deleted_go_but_from_copies(store: RunStore, logs: Path) -> None:
    write(logs / "a", *scalars(3))
    config = logs / "a" / "projector_config.pbtxt"
    config.write_text('embeddings { tensor_name: "words" tensor_path: "words.tsv" }')
    (copied,) = look_runs(RunStore(store.root.parent / "copies"), logs, True)
    (run,) = look_runs(store, logs, False)
    config.unlink()
    for root, copy in ((store.root, False), (copied.path.parent, True)):
        look(RunStore(root), logs, copy=copy)
        assert set(states(look(RunStore(root), logs, copy=copy)).values()) == {"unchanged"}
    with run.read() as reader, copied.read() as kept:
        assert reader.embeddings() == []
        assert [each.key for each in kept.embeddings()] == ["words"]


def test_every_directory_is_a_run_if_asked(store: RunStore, logs: Path) -> None:
    shutil.copytree(GOLDEN / "keras", logs / "keras")
    report = look(store, logs, run_per_dir=True)
    assert states(report) == {"train": "new", "validation": "new"}
    keys = {key for run in store.list() for (key,) in rows(run, "SELECT key FROM series_key")}
    assert keys and not any(key.startswith(("train/", "validation/")) for key in keys)
    # What was imported once stays as it was imported.
    assert set(states(look(store, logs)).values()) == {"unchanged"}


def test_times_that_are_none_are_not_believed(store: RunStore, logs: Path) -> None:
    for index, at in enumerate((math.nan, -5.0, 1e300)):
        path = write(logs / f"run{index}", scalar("loss", 0, 1.0, at), at=at)
        os.utime(path, (1.6e9, 1.6e9))
    look(store, logs)
    runs = store.list()
    assert {run.id for run in runs} == {f"20200913T122640Z-run{index}" for index in range(3)}
    assert {run.status for run in runs} == {Status.COMPLETED}


# Again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copy", [False, True])
def test_again_takes_only_what_is_new(store: RunStore, logs: Path, copy: bool) -> None:
    file = write(logs / "a", *scalars(3))
    write(logs / "b", *scalars(3))
    uids = {run.uid for run in look_runs(store, logs, copy)}
    assert states(look(store, logs)) == {"a": "unchanged", "b": "unchanged"}
    append(file, scalar("loss", 3, 1.5, 500.0))
    write(logs / "a", scalar("loss", 4, 2.0), name=f"{NAME}.2")
    write(logs / "c", *scalars(1))
    report = look(store, logs)
    assert states(report) == {"a": "grown", "b": "unchanged", "c": "new"}
    (grown,) = [outcome for outcome in report.outcomes if outcome.state == "grown"]
    assert grown.path is not None and grown.points == 2
    assert series(Run(grown.path), "loss") == [(0, 0), (1, 0.5), (2, 1), (3, 1.5), (4, 2)]
    assert_sealed(Run(grown.path))
    assert set(states(look(store, logs)).values()) == {"unchanged"}
    assert uids < {run.uid for run in store.list()} and len(store.list()) == 3


def look_runs(store: RunStore, logs: Path, copy: bool) -> list[Run]:
    assert set(states(look(store, logs, copy=copy)).values()) == {"new"}
    return store.list()


def test_the_end_moves_with_what_is_new(store: RunStore, logs: Path) -> None:
    file = write(logs / "a", scalar("loss", 0, 1.0, 1.7e9 + 10))
    assert run_of(look(store, logs)).stopped_at == 1.7e9 + 10
    append(file, scalar("loss", 1, 1.0, 1.7e9 + 60))
    assert run_of(look(store, logs)).stopped_at == 1.7e9 + 60


def test_a_record_that_is_partly_there_is_waited_for(store: RunStore, logs: Path) -> None:
    file = write(logs / "a", *scalars(2))
    more = records(scalar("loss", 2, 1.0))
    file.write_bytes(file.read_bytes() + more[:-3])
    assert only(look(store, logs)).points == 2
    file.write_bytes(file.read_bytes() + more[-3:])
    report = look(store, logs)
    assert (only(report).points, only(report).notices) == (1, [])
    assert series(run_of(report), "loss") == [(0, 0), (1, 0.5), (2, 1)]


def test_the_same_tree_by_another_way_is_the_same_run(store: RunStore, logs: Path) -> None:
    write(logs / "a" / "train", *scalars(1))
    write(logs / "a" / "validation", *scalars(1))
    (logs.parent / "link").symlink_to(logs)
    assert only(look(store, logs, logs / "a" / "train")).state == "new"
    for way in (logs.parent / "link", logs / "a", logs / "a" / "train"):
        assert only(look(store, way)).state == "unchanged"


def test_a_directory_that_was_written_anew_is_another_run(store: RunStore, logs: Path) -> None:
    write(logs / "a", *scalars(3), at=1.6e9)
    first = run_of(look(store, logs))
    shutil.rmtree(logs / "a")
    write(logs / "a", *scalars(5), at=1.7e9)
    second = run_of(look(store, logs))
    assert second.uid != first.uid and len(series(second, "loss")) == 5
    assert len(series(first, "loss")) == 3
    assert only(look(store, logs)).state == "unchanged"


def test_a_run_that_is_gone_is_imported_again_but_not_from_the_trash(
    store: RunStore, logs: Path
) -> None:
    file = write(logs / "a", *scalars(3))
    first = run_of(look(store, logs))
    store.trash(first)
    append(file, scalar("loss", 3, 1.5))
    assert only(look(store, logs)).state == "trashed" and store.list() == []
    store.purge(store.trashed()[0])
    again = run_of(look(store, logs))
    assert again.uid == first.uid and len(series(again, "loss")) == 4


def test_a_directory_without_values_is_no_run_until_it_has_some(
    store: RunStore, logs: Path
) -> None:
    importer = Importer(store.root)
    file = write(logs / "a")
    (logs / "b").mkdir()
    (logs / "b" / NAME).write_bytes(b"")
    write(logs / "c", hparams("experiment", experiment=Experiment(name="sweep")))
    for _ in range(2):
        report = importer.look([logs])
        assert (report.outcomes, report.empty) == ([], 3)
    assert not store.list()
    append(file, *scalars(2))
    assert only(importer.look([logs])).points == 2


# Interrupted ------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from guildlite.runs.db import RunDb
from guildlite.transfer import drafts, imports
what, left = sys.argv[3], int(sys.argv[4])
def deadly(function):
    def call(*words, **settings):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*words, **settings)
    return call
if what == "write":
    RunDb.write = deadly(RunDb.write)
elif what == "rename":
    os.rename = deadly(os.rename)
else:
    imports.write_text = deadly(imports.write_text)
imports.Importer(Path(sys.argv[1])).look([Path(sys.argv[2])])
"""


def killed(store: RunStore, logs: Path, what: str, after: int) -> None:
    """Import in a process that is killed at the call of `what` number `after`."""
    words = [sys.executable, "-c", KILLED, str(store.root), str(logs), what, str(after)]
    done = subprocess.run(words, cwd=ROOT, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("what", ["write", "rename"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_killed_while_runs_are_made(store: RunStore, logs: Path, what: str, after: int) -> None:
    for name in "abc":
        write(logs / name, *scalars(5))
    killed(store, logs, what, after)
    assert all(run.error is None and run.status is Status.COMPLETED for run in store.list())
    assert set(states(look(store, logs))) == {"a", "b", "c"}
    assert [series(run, "loss") for run in store.list()] == [[(n, n / 2) for n in range(5)]] * 3
    assert sorted(path.name[:1] for path in store.root.iterdir()) == [".", "2", "2", "2"]


@pytest.mark.parametrize(
    ("what", "after"), [("write", 0), ("write", 1), ("facts", 0), ("facts", 1), ("facts", 2)]
)
def test_killed_while_runs_grow(store: RunStore, logs: Path, what: str, after: int) -> None:
    files = [write(logs / name, *scalars(5)) for name in "abc"]
    look(store, logs)
    for file in files:
        append(file, scalar("loss", 5, 2.5, 1.7e9 + 60))
    killed(store, logs, what, after)
    assert {run.status for run in store.list()} == {Status.COMPLETED}
    look(store, logs)
    assert [series(run, "loss") for run in store.list()] == [[(n, n / 2) for n in range(6)]] * 3
    for run in store.list():
        assert (run.status, run.stopped_at) == (Status.COMPLETED, 1.7e9 + 60)
        assert_sealed(run)


# Troubles ---------------------------------------------------------------------------------------


def test_damage_is_named_once_with_file_and_place_and_the_rest_goes_on(
    store: RunStore, logs: Path
) -> None:
    good = records(version(), *scalars(2))
    file = write(logs / "bad")
    file.write_bytes(good + header(2**40) + records(scalar("loss", 2, 0.0)))
    write(logs / "good", *scalars(2))
    report = look(store, logs)
    assert states(report) == {"bad": "new", "good": "new"}
    (notice,) = report.all_notices()
    assert str(logs / "bad") in notice and NAME in notice and f"byte {len(good)}" in notice
    (bad,) = [run for run in store.list() if run.id.endswith("bad")]
    assert series(bad, "loss") == [(0, 0.0), (1, 0.5)]
    assert f"byte {len(good)}" in bad.paths.errors.read_text()
    append(file, scalar("loss", 3, 1.0))
    assert look(store, logs).all_notices() == []


def test_a_file_that_is_no_event_file_is_named(store: RunStore, logs: Path) -> None:
    (logs / "tfevents.txt").write_bytes(b"these are not the records you look for")
    report = look(store, logs)
    assert only(report).state == "failed" and "byte 0" in only(report).notices[0]
    assert not store.list()


def test_an_unreadable_file_is_named_and_read_when_it_can_be(
    store: RunStore, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(logs / "a", *scalars(2))
    hidden = write(logs / "a", scalar("loss", 2, 1.0), name=f"{NAME}.2")
    real = os.open

    def refuse(path: object, *words: object, **settings: object) -> int:
        if os.fspath(path) == str(hidden):  # type: ignore[call-overload]
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *words, **settings)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        report = look(store, logs)
        (notice,) = report.all_notices()
        assert f"{NAME}.2" in notice and "Permission denied" in notice
        assert only(report).points == 2
    hidden.chmod(0o600)  # which is seen by its time of change
    assert only(look(store, logs)).points == 1


@pytest.mark.parametrize("copy", [False, True])
def test_odd_names(store: RunStore, logs: Path, copy: bool) -> None:
    names = ["with space", "größe", "a\nb", "'quote\"", "-dash", "ru n.é", "x" * 200]
    for name in names:
        write(logs / name, scalar("损失", 0, 1.0), name=f"tfevents {name[:20]}")
    odd = os.fsencode(logs) + b"/not\xffutf8"
    os.mkdir(odd)
    with open(odd + b"/tfevents\xfe", "wb") as file:
        file.write(records(version(), *scalars(1)))
    report = look(store, logs, copy=copy)
    assert report.all_notices() == []
    assert len(store.list()) == len(names) + 1
    assert all(run.error is None and rows(run, "SELECT value FROM series") for run in store.list())
    assert set(states(look(store, logs)).values()) == {"unchanged"}


def test_media_and_embeddings_below_a_name_that_is_not_utf8(store: RunStore, logs: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(logs) + b"/not\xffutf8"))
    image = Summary.Value(tag="t", image=Summary.Image(encoded_image_string=b"png"))
    try:
        write(odd / "b\udce9", summary(0, 1.0, image))
    except OSError:
        pytest.skip("this file system refuses such names")
    text = 'embeddings { tensor_name: "words" tensor_path: "words.tsv" }'
    (odd / "b\udce9" / "projector_config.pbtxt").write_text(text)
    (odd / "b\udce9" / "words.tsv").write_text("1\t2\n")
    run = run_of(look(store, odd))
    with run.read() as reader:
        (series,) = reader.media("image")
        assert reader.content(reader.items(series.key)[0]).images == [b"png"]
        (embedding,) = reader.embeddings()
        assert embedding.tensor is not None
        with reader.open_file(embedding.tensor.path) as file:
            assert file.read() == b"1\t2\n"
    assert rebuild(run).kept == []
    assert verify_run(run).differences == []


def test_two_runs_of_one_second_and_name(store: RunStore, logs: Path) -> None:
    write(logs / "a b", *scalars(1))
    write(logs / "a_b", *scalars(1))
    look(store, logs)
    assert [run.id for run in store.list()] == ["20231114T221320Z-a_b-2", "20231114T221320Z-a_b"]
    assert {run.manifest["id"] for run in store.list()} == {run.id for run in store.list()}


def test_a_run_that_is_being_written_is_left_for_later(store: RunStore, logs: Path) -> None:
    from guildlite.platform import FileLock

    file = write(logs / "a", *scalars(1))
    run = run_of(look(store, logs))
    append(file, scalar("loss", 1, 0.5))
    with FileLock(run.paths.lock) as lock:
        assert lock.try_acquire()
        assert only(look(store, logs)).state == "failed"
    assert only(look(store, logs)).state == "grown"


# The command ------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_gl_import_and_again(here: Path, logs: Path) -> None:
    write(logs / "a", *scalars(3))
    write(logs / "b", *scalars(3))
    first = call("import", "logs")
    assert (first.status, first.out) == (0, "")
    assert first.err == "imported 2 new runs into runs: 6 points\n"
    again = call("import", "logs", "--json")
    assert (again.status, again.err) == (0, "nothing new\n")
    assert [one["state"] for one in again.json] == ["unchanged", "unchanged"]
    assert {one["source"] for one in again.json} == {str(logs / "a"), str(logs / "b")}
    assert {one["dir"] for one in again.json} == {str(run.path) for run in runs_here(here)}


def runs_here(directory: Path) -> list[Run]:
    return RunStore(directory / "runs").list()


def test_gl_import_into_a_project(project: Path, logs: Path, here: Path) -> None:
    write(logs / "a", *scalars(3))
    (project / "project.yml").write_text("runs: elsewhere\nmodels: {m: {train: train}}\n")
    assert call("import", "logs", "--model", "m").status == 0
    (run,) = RunStore(project / "elsewhere").list()
    assert run.model == "m"


def test_gl_import_says_what_is_damaged_with_status_1(here: Path, logs: Path) -> None:
    file = write(logs / "a", *scalars(3))
    append(file, scalar("loss", 3, 1.0))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    answer = call("import", "logs")
    assert answer.status == 1 and NAME in answer.err and len(runs_here(here)) == 1


@pytest.mark.parametrize(
    ("word", "status", "says"),
    [
        ("missing", 2, "error: there is no directory `missing`\n"),
        ("file", 2, "error: `file` is a file, not a log directory\n"),
        ("logs", 1, "error: there are no event files below `logs`\n"),
    ],
)
def test_gl_import_of_what_is_no_log_directory(
    here: Path, logs: Path, word: str, status: int, says: str
) -> None:
    (here / "file").write_text("")
    answer = call("import", word)
    assert answer.status == status and answer.err.startswith(says)
    assert not (here / "runs").exists()


def test_gl_import_leaves_runs_of_gl_alone(here: Path, logs: Path) -> None:
    write(logs / "a", *scalars(3))
    assert call("import", "logs", "--copy").status == 0
    answer = call("import", "runs")
    assert answer.status == 1 and "1 run of gl" in answer.err
    assert len(runs_here(here)) == 1


def test_ctrl_c_leaves_whole_runs_and_the_next_import_finishes(
    here: Path, logs: Path, front: Callable[..., object]
) -> None:
    for index in range(300):
        write(logs / f"run-{index:03}", *scalars(20))
    started = front("import", "logs")
    root = here / "runs"
    wait_for("a run", lambda: root.is_dir() and any(root.glob("2*")))
    started.interrupt()  # type: ignore[attr-defined]
    status, _, err = started.end()  # type: ignore[attr-defined]
    made = runs_here(here)
    assert status == 130 or (status == 0 and len(made) == 300), err
    assert all(run.error is None and run.status is Status.COMPLETED for run in made)
    assert call("import", "logs").status == 0
    assert [len(series(run, "loss")) for run in runs_here(here)] == [20] * 300
    assert not list(root.glob(".import-*"))


def test_progress_is_shown_on_a_terminal_alone(here: Path, logs: Path) -> None:
    for name in "abc":
        write(logs / name, *scalars(1))
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "guildlite", "import", "logs"]
    done = subprocess.run(
        words, cwd=here, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs,
        check=False, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0
    assert shown.startswith("\rimporting [........................] 0 of 3 runs")
    assert shown.endswith("\r\x1b[Kimported 3 new runs into runs: 3 points\r\n")
