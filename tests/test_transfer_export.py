"""`gl export`: what other programs read in it is what the run holds."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.commands import call
from support.event_files import records, scalar, summary, version
from support.recorded import WRITERS, golden_run, record
from support.run_dirs import make_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray

from guildlite.errors import UsageError
from guildlite.runs import Run, RunStore
from guildlite.runs.db import RunDb
from guildlite.series import Point, Reading
from guildlite.transfer.exports import FORMS, export_runs
from guildlite.transfer.tidy import COLUMNS, iso_moment

NAME = "events.out.tfevents.1.host"
EVERYTHING = dict.fromkeys(("scalars", "tensors", "images", "audio", "histograms"), 0)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """A directory without a project file, in which the test stands, and its runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return RunStore(tmp_path / "runs")


def run_of(store: RunStore, *payloads: bytes, flags: dict[str, str] | None = None) -> Run:
    run = make_run(store, flags=flags)
    (run.path / NAME).write_bytes(records(version(), *payloads))
    record(run)
    return run


def exported(run: Run, form: str, **settings: Any) -> Path:
    (done,) = export_runs([run], run.path.parents[1] / f"out-{form}", form, **settings)
    return done.path


# TensorBoard --------------------------------------------------------------------------------------


def in_tensorboard(directory: Path) -> dict[str, Any]:
    """Return what TensorBoard reads below a directory, run by run, moments in ms.

    Scalars have one name for both of their forms, which it shows alike.
    """
    directories = sorted({path.parent for path in directory.rglob("*tfevents*")})
    return {each.relative_to(directory).as_posix(): one_run(each) for each in directories}


def one_run(directory: Path) -> dict[str, Any]:
    reader = EventAccumulator(str(directory), EVERYTHING, purge_orphaned_data=False).Reload()
    found: dict[str, Any] = {}
    for kind, items in (
        ("scalars", reader.Scalars),
        ("images", reader.Images),
        ("audio", reader.Audio),
        ("histograms", reader.Histograms),
    ):
        for tag in reader.Tags()[kind]:
            found[f"{kind}: {tag}"] = [plain(event) for event in items(tag)]
    for tag in reader.Tags()["tensors"]:
        metadata = reader.summary_metadata.get(tag)
        plugin = "" if metadata is None else metadata.plugin_data.plugin_name
        found[f"{plugin}: {tag}"] = [plain(event) for event in reader.Tensors(tag)]
        if plugin != "scalars":
            found[f"{plugin}: {tag}"].append(metadata)
    if reader.Tags()["graph"]:
        found["graph"] = reader.Graph()
    return found


def plain(event: Any) -> tuple[Any, ...]:
    """Return step, moment in ms and value; a tensor of one number is that number."""
    step, moment = event.step, round(event.wall_time * 1000)
    if hasattr(event, "value"):
        return step, moment, repr(event.value)
    if hasattr(event, "tensor_proto"):
        return step, moment, number_in(event.tensor_proto)
    return step, moment, event.__dict__ | {"wall_time": moment}


def number_in(tensor: Any) -> Any:
    try:
        value = make_ndarray(tensor)
    except TypeError:  # bfloat16, which write.py writes one of
        return repr(5.25)
    return repr(float(value.item())) if value.size == 1 and value.dtype.kind in "fiu" else tensor


@pytest.mark.parametrize("writer", WRITERS)
def test_tensorboard_reads_the_same_as_in_the_original(store: RunStore, writer: str) -> None:
    run = golden_run(store, writer)
    original, copy = in_tensorboard(run.path), in_tensorboard(exported(run, "tensorboard"))
    assert copy == original


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The inplace keyword")
def test_tbparse_reads_the_same_as_in_the_original(store: RunStore) -> None:
    from tbparse import SummaryReader

    def scalars(directory: Path) -> list[tuple[Any, ...]]:
        reader = SummaryReader(
            str(directory), event_types={"scalars"}, extra_columns={"dir_name", "wall_time"}
        )
        frame = reader.scalars
        columns = (frame["dir_name"], frame["tag"], frame["step"], frame["value"])
        moments = [round(each * 1000) for each in frame["wall_time"]]
        return list(zip(*columns, moments, strict=True))

    run = golden_run(store, "tensorboardx")
    out = exported(run, "tensorboard")
    original = run.path.parents[1] / "original"
    shutil.copytree(run.path, original, ignore=shutil.ignore_patterns("gl.d"))
    assert [repr(row) for row in scalars(out)] == [repr(row) for row in scalars(original)]


@pytest.mark.parametrize("writer", WRITERS)
def test_guildlite_reads_the_same_as_in_the_original(store: RunStore, writer: str) -> None:
    run = golden_run(store, writer)
    again = make_run(store, "again")
    shutil.copytree(exported(run, "tensorboard"), again.path, dirs_exist_ok=True)
    record(again)
    with run.read() as ours, again.read() as theirs:
        for each in ours.summaries():
            # A mean is rounded by the batches it is made of.
            again_one = theirs.summary(each.key)
            assert again_one is not None and again_one._replace(mean=each.mean) == each
            assert repr(theirs.series(each.key)) == repr(ours.series(each.key))
        for series in ours.media():
            pairs = zip(theirs.items(series.key), ours.items(series.key), strict=True)
            for copy, item in pairs:
                assert (copy.step, copy.time) == (item.step, item.time)
                assert theirs.content(copy) == ours.content(item)
        assert theirs.sessions() == ours.sessions()


def test_records_of_what_is_no_scalar_are_copied_byte_for_byte(store: RunStore) -> None:
    run = golden_run(store, "torch")
    out = exported(run, "tensorboard")
    originals = b"".join(path.read_bytes() for path in run.path.glob("*tfevents*"))
    with run.read() as reader:
        (item,) = reader.items("image")
        payload = reader.record(item)
    written = next(out.glob("*tfevents*")).read_bytes()
    assert payload in originals and payload in written
    assert len(payload) > 50


def test_scalars_of_a_record_with_images_are_written_once(store: RunStore) -> None:
    image = Summary.Value(tag="picture")
    image.image.encoded_image_string = b"\x89PNG\r\n"
    loss = Summary.Value(tag="loss", simple_value=0.5)
    run = run_of(store, summary(3, 1.5, loss, image), summary(4, 2.5, image, loss))
    (found,) = in_tensorboard(exported(run, "tensorboard")).values()
    assert found["scalars: loss"] == [(3, 1500, "0.5"), (4, 2500, "0.5")]
    assert [each[0] for each in found["images: picture"]] == [3, 4]


def test_steps_that_go_back_nan_and_infinities_stay(store: RunStore) -> None:
    points = [(0, 1.0), (5, math.nan), (3, math.inf), (3, -math.inf), (-7, 0.0), (2**62, 2.0)]
    run = run_of(store, *(scalar("loss", step, value) for step, value in points))
    (found,) = in_tensorboard(exported(run, "tensorboard")).values()
    assert found["scalars: loss"] == [(step, 1500, repr(value)) for step, value in points]


def test_keys_come_back_under_their_directory_and_tag(store: RunStore) -> None:
    run = run_of(store, scalar("train/loss", 0, 1.0), scalar("train/acc", 0, 2.0))
    (run.path / "train").mkdir()
    (run.path / "train" / NAME).write_bytes(records(version(), scalar("loss", 1, 3.0)))
    record(run)
    found = in_tensorboard(exported(run, "tensorboard"))
    assert found == {
        ".": {
            "scalars: train/acc": [(0, 1500, "2.0")],
            "scalars: train/loss": [(0, 1500, "1.0")],
        },
        "train": {"scalars: loss": [(1, 1500, "3.0")]},
    }


def add(run: Run, key: str, *points: Point) -> None:
    with RunDb(run.paths.db) as db:
        db.write([Reading(None, {key: list(points)})])
        db.seal({})


def test_numbers_from_elsewhere_are_rounded_to_what_tensorboard_shows(store: RunStore) -> None:
    run = run_of(store)
    add(run, "sys/cpu/util", Point(0, 5, 0.1), Point(1, None, 0.5), Point(2, 7, math.nan))
    add(run, "huge", Point(0, None, 1e300))
    (found,) = in_tensorboard(exported(run, "tensorboard")).values()
    # The moment nobody saw is that of the point before, or of the start.
    assert found["scalars: sys/cpu/util"] == [
        (0, 5, "0.10000000149011612"),
        (1, 5, "0.5"),
        (2, 7, "nan"),
    ]
    assert found["scalars: huge"] == [(0, 1_795_196_701_000, "1e+300")]


def hparams_of(directory: Path) -> dict[str, Any]:
    path = next(directory.glob("*tfevents*"))
    reader = EventAccumulator(str(path)).Reload()
    contents = reader.PluginTagToContent("hparams")
    return {
        tag.rpartition("/")[2]: HParamsPluginData.FromString(data) for tag, data in contents.items()
    }


def test_flags_are_hparams(store: RunStore) -> None:
    flags = {"lr": "1e-3", "epochs": "5", "name": "a b", "amp": "true", "none": "", "x": "no"}
    run = run_of(store, scalar("loss", 0, 1.0), flags=flags)
    found = hparams_of(exported(run, "tensorboard"))
    start = found["session_start_info"].session_start_info
    kinds = {name: value.WhichOneof("kind") for name, value in start.hparams.items()}
    assert {name: getattr(start.hparams[name], kind) for name, kind in kinds.items()} == {
        "lr": 0.001, "epochs": 5.0, "name": "a b", "amp": True, "none": "", "x": "no",
    }  # fmt: skip
    assert start.start_time_secs == 1_795_196_701
    assert found["session_end_info"].session_end_info.status == 1


def test_hparams_of_the_script_stand_before_flags(store: RunStore) -> None:
    run = golden_run(store, "torch", {"other": "1"})
    out = exported(run, "tensorboard")
    start = hparams_of(out / "hparams")["session_start_info"].session_start_info
    assert sorted(start.hparams) == ["lr", "name"]
    path = next(out.glob("*tfevents*"))
    assert "_hparams_/session_start_info" not in EventAccumulator(str(path)).Reload().Tags()


def test_embeddings_are_copied_with_their_files(store: RunStore) -> None:
    run = make_run(store)
    (run.path / "emb").mkdir()
    (run.path / "emb/t.tsv").write_text("1\t2\n3\t4\n")
    (run.path / "emb/m.tsv").write_text("a\nb\n")
    (run.path / "projector_config.pbtxt").write_text(
        'embeddings { tensor_name: "e" tensor_path: "emb/t.tsv" metadata_path: "emb/m.tsv" }'
    )
    record(run)
    out = exported(run, "tensorboard")
    for name in ("projector_config.pbtxt", "emb/t.tsv", "emb/m.tsv"):
        assert (out / name).read_bytes() == (run.path / name).read_bytes()


def test_graphs_are_there(store: RunStore) -> None:
    run = golden_run(store, "tf1")
    assert in_tensorboard(exported(run, "tensorboard"))["."]["graph"].node


# Tables -------------------------------------------------------------------------------------------


def test_csv_is_one_long_table_a_kind(store: RunStore) -> None:
    run = golden_run(store, "torch", {"lr": "0.1", "note": 'a,"b"\nc'})
    out = exported(run, "csv")
    assert sorted(path.name for path in out.iterdir()) == [
        "attrs.csv", "files", "files.csv", "flags.csv", "histograms.csv", "hparams.csv",
        "pr_curves.csv", "scalars.csv", "texts.csv",
    ]  # fmt: skip
    expected = json.loads(
        (Path(__file__).parent / "golden/events/torch/expected.json").read_text()
    )["events.out.tfevents.2.host"]["scalars"]
    rows = read_csv(out / "scalars.csv")
    assert list(rows[0]) == ["key", "step", "time", "value", "segment"]
    for tag, points in expected.items():
        mine = [row for row in rows if row["key"] == tag]
        assert [(int(row["step"]), repr(float(row["value"]))) for row in mine] == [
            (step, repr(float(value))) for step, _, value in points
        ]
    back = [row["segment"] for row in rows if row["key"] == "goes back"]
    assert back == ["0", "1"]
    assert read_csv(out / "flags.csv")[1] == {"name": "note", "value": 'a,"b"\nc'}
    (text,) = read_csv(out / "texts.csv")
    assert (text["key"], text["text"]) == ("words/text_summary", "some *text*")
    (image,) = read_csv(out / "files.csv")
    assert (out / image["path"]).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_pandas_reads_the_table_as_it_is(store: RunStore) -> None:
    pandas = pytest.importorskip("pandas")
    run = run_of(store)
    values = [0.1, math.nan, math.inf, -math.inf, 1e-300]
    add(run, "loss", *(Point(n, 1500 + n, value) for n, value in enumerate(values)))
    add(run, "mixed", Point(-3, None, 2.0))
    frame = pandas.read_csv(exported(run, "csv") / "scalars.csv", parse_dates=["time"])
    assert [repr(each) for each in frame["value"].tolist()] == [repr(v) for v in [*values, 2.0]]
    assert frame["step"].tolist() == [0, 1, 2, 3, 4, -3]
    assert frame["time"][0] == pandas.Timestamp("1970-01-01T00:00:01.500Z")
    assert frame["time"].isna().tolist() == [False] * 5 + [True]


def test_json_lines_are_strict_json(store: RunStore) -> None:
    run = run_of(store, flags={"größe": "1"})
    values = [0.1, math.nan, math.inf, -math.inf]
    add(run, "loss", *(Point(n, 1500, value) for n, value in enumerate(values)))
    out = exported(run, "jsonl")
    rows = [
        json.loads(line, parse_constant=lambda word: pytest.fail(word))
        for line in (out / "scalars.jsonl").read_text().splitlines()
    ]
    assert [row["value"] for row in rows] == [0.1, None, "Infinity", "-Infinity"]
    assert rows[0] == {
        "key": "loss", "step": 0, "time": "1970-01-01T00:00:01.500Z", "value": 0.1, "segment": 0,
    }  # fmt: skip
    assert json.loads((out / "flags.jsonl").read_text()) == {"name": "größe", "value": "1"}


def test_every_table_is_in_the_docs() -> None:
    page = (Path(__file__).parents[1] / "docs/how-to/export.md").read_text()
    for name, columns in COLUMNS.items():
        shown = ", ".join(f"`{column}`" for column in columns)
        assert f"| `{name}` | {shown} |" in page


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_196_701_007, "2026-11-20T17:45:01.007Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (None, None),
        (2**62, None),
        (-(2**62), None),
    ],
)
def test_moments_are_iso_8601(at: int | None, text: str | None) -> None:
    assert iso_moment(at) == text


# All forms ----------------------------------------------------------------------------------------


each_form = pytest.mark.parametrize("form", FORMS)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@each_form
def test_the_same_run_gives_the_same_bytes(store: RunStore, form: str) -> None:
    run = golden_run(store, "torch", dict.fromkeys("hgfedcba", "1"))
    first = contents(exported(run, form))
    (again,) = export_runs([run], Path("again"), form)
    assert contents(again.path) == first


@each_form
def test_series_are_chosen_by_an_expression(store: RunStore, form: str) -> None:
    run = golden_run(store, "tensorboardx")
    out = exported(run, form, series="^loss$|word")
    if form == "tensorboard":
        (found,) = in_tensorboard(out).values()
        assert sorted(found) == ["scalars: loss", "text: words/text_summary"]
    else:
        assert {path.stem for path in out.iterdir()} == {"attrs", "scalars", "texts"}
        assert "group" not in (out / f"scalars.{form}").read_text()


@each_form
def test_several_runs_get_a_directory_each(store: RunStore, form: str) -> None:
    runs = [run_of(store, scalar("loss", 0, 1.0)), golden_run(store, "tf2")]
    answer = call("export", *(run.id for run in runs), "--to", "out", "--as", form)
    assert answer.status == 0, answer.err
    assert answer.out.split() == [f"out/{run.id}" for run in runs]
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(run.id for run in runs)


@each_form
def test_a_run_without_series_is_exported_too(store: RunStore, form: str) -> None:
    make_run(store, flags={"lr": "1"})
    assert call("export", "latest", "--to", "out", "--as", form).status == 0
    assert any(Path("out").iterdir())


@each_form
def test_values_whose_file_is_gone_are_named(store: RunStore, form: str) -> None:
    run = golden_run(store, "tensorboardx")
    next(run.path.glob("*tfevents*")).unlink()
    answer = call("export", "latest", "--to", "out", "--as", form)
    assert answer.status == 1
    assert "lost: image `image` at step 0: " in answer.err
    if form == "tensorboard":
        (found,) = in_tensorboard(Path("out")).values()
        assert len(found["scalars: loss"]) == 30
    else:
        assert len(Path(f"out/scalars.{form}").read_text().splitlines()) >= 62


@each_form
def test_nothing_is_overwritten(store: RunStore, form: str) -> None:
    run_of(store, scalar("loss", 0, 1.0))
    Path("out").mkdir()
    Path("out/mine").write_text("precious")
    answer = call("export", "latest", "--to", "out", "--as", form)
    assert answer.status == 2
    assert answer.err.splitlines() == [
        "error: `out` is not empty",
        "hint: name a directory that is not there yet",
    ]
    assert contents(Path("out")) == {"mine": b"precious"}
    Path("out/mine").unlink()
    assert call("export", "latest", "--to", "out", "--as", form).status == 0
    assert call("export", "latest", "--to", "out/scalars.csv/x").status == (
        2 if form == "csv" else 0
    )


@each_form
@pytest.mark.parametrize("word", [".", "here", "link"])
def test_an_empty_directory_is_filled_and_stays_the_one_it_is(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, word: str
) -> None:
    run = run_of(store, scalar("loss", 0, 1.0))
    place = tmp_path / "place"
    for each in (place, place / "here", tmp_path / "linked"):
        each.mkdir()
    (place / "link").symlink_to(tmp_path / "linked")
    monkeypatch.chdir(place / "here" if word == "." else place)
    before = Path(word).stat().st_ino
    export_runs([run], Path(word), form)
    assert Path(word).stat().st_ino == before
    assert any(path.stat().st_size for path in Path(word).iterdir())
    assert not list(tmp_path.rglob(".gl-export-*"))


def test_not_into_a_run(store: RunStore) -> None:
    run = run_of(store, scalar("loss", 0, 1.0))
    with pytest.raises(UsageError, match="inside the run"):
        export_runs([run], run.path / "deep" / "out", "csv")
    assert not (run.path / "deep").exists()


def test_bad_words(store: RunStore) -> None:
    run_of(store, scalar("loss", 0, 1.0))
    assert call("export", "latest", "--to", "out", "--series", "(").status == 2
    assert call("export", "latest", "--to", "out", "--as", "xml").status == 2
    assert call("export", "latest").status == 2
    assert not Path("out").exists()


@each_form
def test_a_full_disk_is_one_sentence_and_leaves_nothing(store: RunStore, form: str) -> None:
    run = run_of(store, *(scalar("loss", step, step / 3) for step in range(2000)))
    # A limit on the size of a file does to a process what a full disk does.
    done = subprocess.run(
        ["sh", "-c", f"ulimit -f 16; exec {sys.executable} -m guildlite export {run.id}"
         f" --to out/here --as {form}"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr == "error: `out/here` could not be written: file too large\n"
    assert list(Path("out").iterdir()) == []


def test_a_run_that_cannot_be_read(store: RunStore) -> None:
    run = make_run(store)
    run.paths.db.write_bytes(b"not a database, and long enough to be looked at" * 10)
    answer = call("export", "latest", "--to", "out")
    assert answer.status == 1 and answer.err.startswith("error: ")
    assert not Path("out").exists()


def test_paths_of_a_foreign_run_db_lead_nowhere_else(store: RunStore, tmp_path: Path) -> None:
    run = run_of(store, scalar("loss", 0, 1.0))
    connection = sqlite3.connect(run.paths.db)
    with connection:
        connection.execute("UPDATE source SET path = '../../../x/tfevents'")
        connection.execute("UPDATE series_key SET key = '../../../x/loss'")
    connection.close()
    out = exported(run, "tensorboard")
    assert [path.parent for path in out.rglob("*tfevents*")] == [out]
    assert not (tmp_path / "x").exists() and not (tmp_path.parent / "x").exists()


# Two trials in one directory, as in torch-media, are imported as two runs.
@pytest.mark.parametrize("writer", [each for each in WRITERS if each != "torch-media"])
def test_an_export_imported_is_the_same_run(
    store: RunStore, writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {"lr": "0.001", "name": "a b", "amp": "True", "epochs": "10"}
    run = golden_run(store, writer, flags)
    out = exported(run, "tensorboard")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert call("import", str(out)).status == 0
    (imported,) = RunStore(tmp_path / "elsewhere" / "runs").list()
    assert call("verify").status == 0
    with run.read() as ours, imported.read() as theirs:
        assert [each.key for each in theirs.summaries()] == [each.key for each in ours.summaries()]
        for each in ours.summaries():
            assert repr(theirs.series(each.key)) == repr(ours.series(each.key))
        # torch wrote hparams itself, and these are the flags of what is imported.
        said = {name: str(v) for one in ours.sessions() for name, v in one.values.items()}
        assert theirs.flags() == (said or flags)


def test_events_we_write_are_events(store: RunStore) -> None:
    from guildlite.tfevents import RecordReader

    out = exported(golden_run(store, "torch", {"a": "1"}), "tensorboard")
    for path in out.rglob("*tfevents*"):
        with path.open("rb") as file:
            reader = RecordReader(file)
            while (payload := reader.read()) is not None:
                Event.FromString(payload)
            assert reader.offset == path.stat().st_size
