"""What is no scalar: from real event files into run.db and back, against TensorBoard's reading."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.event_files import (
    DT_FLOAT,
    DT_STRING,
    records,
    scalar,
    start,
    summary,
    tensor,
    version,
)
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.mesh import metadata as mesh_metadata

from guildlite.collect.events import EventFiles
from guildlite.runs import RunReader
from guildlite.runs.db import RunDb
from guildlite.runs.media import HParamSession
from guildlite.series import (
    Cursor,
    FileSeen,
    Item,
    Items,
    Point,
    Reading,
    SeriesMetadata,
    group_scalars,
)
from guildlite.tfevents import ContentLost
from guildlite.tfevents.contents import (
    Audio,
    Graph,
    Images,
    Layout,
    Mesh,
    Other,
    Text,
)
from guildlite.tfevents.logdir import CATCH_UP_BYTES

GOLDEN = Path(__file__).parent / "golden" / "events"
WRITERS = sorted(path.parent.name for path in GOLDEN.glob("*/media.json"))


def collect(root: Path, db: Path, *, logdir: bool = True) -> None:
    """Read what is new below `root` into a run.db, as a new process would."""
    with RunDb(db) as opened:
        if logdir:
            opened.write_attrs({"logdir": str(root)})
        for reading in EventFiles(root, opened.cursors()).sample(final=True):
            opened.write([reading])


@pytest.fixture
def read(tmp_path: Path) -> Iterable[Any]:
    """Return a reader of a run.db with what is below a directory."""
    opened: list[RunReader] = []

    def open_(root: Path) -> RunReader:
        path = tmp_path / "read.db"
        collect(root, path)
        opened.append(RunReader(path))
        return opened[-1]

    yield open_
    for reader in opened:
        reader.close()


def first_bytes(content: object) -> str:
    """Return what write.py digested of a value, where it is bytes."""
    if isinstance(content, Images):
        data = content.images[0]
    elif isinstance(content, Audio):
        data = content.clips[0]
    else:
        return ""
    return hashlib.sha256(data).hexdigest()[:16]


# --- Files of real writers ---------------------------------------------------------------------


def test_there_are_golden_files_of_every_writer():
    assert WRITERS == ["tensorboardx-media", "tf1-media", "tf2-media", "torch-media"]


@pytest.mark.parametrize("writer", WRITERS)
def test_golden_files_value_for_value(writer: str, read: Any):
    reader = read(GOLDEN / writer)
    expected = json.loads((GOLDEN / writer / "media.json").read_text(encoding="utf-8"))
    series = {each.key: each for each in reader.media()}
    compared = 0
    for path, tags in expected.items():
        for tag, (plugin, steps, digest) in tags.items():
            directory = path.rpartition("/")[0]
            key = f"{directory}/{tag}" if directory else tag
            if reader.summary(key) is not None:  # a scalar has the name
                key = f"{key}:histogram"
            found = series[key]
            items = reader.items(key)
            assert (found.plugin, [item.step for item in items]) == (plugin, steps)
            assert [item.path for item in items] == [path] * len(steps)
            content = reader.content(items[0])
            # Of these TensorBoard keeps the very bytes, in the old form.
            if isinstance(content, (Images, Audio)) and not path.endswith(".v2"):
                compared += 1
                assert first_bytes(content) == digest
    assert compared or writer == "tf2-media"
    for found in series.values():
        if found.kind == "embedding":
            continue
        items = reader.items(found.key)
        assert found.count == len(items)
        assert found.first_step == items[0].step and found.last_step == items[-1].step
        for item in items:
            reader.content(item)


def kinds_of(reader: RunReader) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in reader.media():
        found.setdefault(each.kind, []).append(each.key)
    return found


def test_what_torch_writes(read: Any):
    reader: RunReader = read(GOLDEN / "torch-media")
    assert kinds_of(reader) == {
        "audio": ["audio"],
        "embedding": ["words:00004"],
        "graph": ["graph", "step1"],
        "histogram": ["raw", "same name:histogram"],
        "hparams": [
            f"{run}/_hparams_/{name}"
            for run in "01"
            for name in ("experiment", "session_end_info", "session_start_info")
        ],
        "image": ["boxes", "image", "images"],
        "layout": ["custom_scalars__config__"],
        "mesh": ["mesh_COLOR", "mesh_FACE", "mesh_VERTEX"],
        "pr_curve": ["pr"],
        "text": ["text/text_summary"],
    }
    assert reader.summary("same name") is not None
    (graph,), (trace,) = reader.items("graph"), reader.items("step1")
    forms = [getattr(reader.content(each), "form", "") for each in (graph, trace)]
    assert forms == ["graph_def", "run_metadata"]
    face = reader.content(reader.items("mesh_FACE")[0])
    assert isinstance(face, Mesh)
    assert (face.part, face.numbers, json.loads(face.config)["camera"]["fov"]) == (
        "face", [0, 1, 2, 1, 2, 3], 75,
    )  # fmt: skip
    layout = reader.content(reader.items("custom_scalars__config__")[0])
    assert isinstance(layout, Layout)
    assert [chart.title for chart in layout.categories[0][1]] == ["both", "band"]
    assert layout.categories[0][1][1].margins == [("v", "l", "u")]


def test_hparams_are_rows(read: Any):
    reader: RunReader = read(GOLDEN / "torch-media")
    values = {"lr": 0.1, "layers": 3.0, "name": "a", "on": True}
    first, second = reader.sessions()
    assert first == HParamSession("0", None, "success", None, None, values)
    assert second.values == {"lr": 0.2, "layers": 4.0, "name": "b", "on": False}
    assert [each.metrics for each in reader.experiments()] == [[["", "acc"]]] * 2
    rows = reader._connection.execute("SELECT name, value, type FROM hparam WHERE session = '0'")
    assert sorted(rows) == [
        ("layers", "3", "float"), ("lr", "0.1", "float"), ("name", "a", "str"), ("on", "1", "float")
    ]  # fmt: skip


def test_hparams_of_tensorflow(read: Any):
    reader: RunReader = read(GOLDEN / "tf2-media")
    (trial,) = reader.sessions()
    assert (trial.session, trial.started) == ("trial", 100_000)
    assert trial.values == {"lr": 0.25, "kind": "a"}
    assert trial.group == "trial"
    (experiment,) = reader.experiments()
    assert experiment.hparams == {"lr": {"min": 0.0, "max": 1.0}, "kind": ["a"]}
    assert experiment.metrics == [["train", "loss"]]


def test_what_is_stated_once_is_kept(read: Any):
    reader: RunReader = read(GOLDEN / "tf2-media")
    image = reader.media_series("image")
    assert image is not None
    assert (image.description, image.plugin, image.count) == ("two *images*", "images", 2)
    unknown = reader.media_series("unknown")
    assert unknown is not None and (unknown.kind, unknown.plugin) == ("other", "greeter")
    content = reader.content(reader.items("unknown")[0])
    assert isinstance(content, Other) and content.tensor is not None
    assert (content.plugin_content, content.tensor.values) == (b"hello", [b"x"])


def test_graphs_of_tensorflow_1(read: Any):
    reader: RunReader = read(GOLDEN / "tf1-media")
    forms = [
        content.form
        for item in reader.items("graph")
        if isinstance(content := reader.content(item), Graph)
    ]
    assert forms == ["graph_def", "meta_graph_def"]
    trace = reader.content(reader.items("step 0")[0])
    assert isinstance(trace, Graph) and trace.form == "run_metadata"
    # The mark of a session that starts at step 5 stands before step 15.
    assert [item.segment for item in reader.items("weights")] == [0, 0, 1]
    assert [item.step for item in reader.items("weights")] == [0, 10, 15]


def test_a_video_is_an_animated_image(read: Any):
    reader: RunReader = read(GOLDEN / "tensorboardx-media")
    content = reader.content(reader.items("moving")[0])
    assert isinstance(content, Images)
    assert content.images[0].startswith(b"GIF89a")


def test_add_scalars_is_grouped(read: Any):
    reader: RunReader = read(GOLDEN / "torch-media")
    expected = {
        "losses": {"test": "losses_test/losses", "train": "losses_train/losses"},
        "deep/er": {"a": "deep_er_a/deep/er"},
    }
    assert group_scalars(each.key for each in reader.summaries()) == expected


def test_tensorboardx_groups_in_directories(read: Any):
    reader: RunReader = read(GOLDEN / "tensorboardx-media")
    expected = {"losses": {"test": "losses/test/losses", "train": "losses/train/losses"}}
    assert group_scalars(each.key for each in reader.summaries()) == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], {}),
        (["loss", "train/loss", "loss/train", "loss_a/accuracy", "loss_/loss"], {}),
        (["loss_a/loss", "loss_a/accuracy"], {}),
        (["runs/x/loss_a/loss"], {"runs/x/loss": {"a": "runs/x/loss_a/loss"}}),
        (["l_a_b/l", "l_a/b/l"], {"l": {"a/b": "l_a/b/l", "a_b": "l_a_b/l"}}),
        (["a_b_c/a/b"], {"a/b": {"c": "a_b_c/a/b"}}),
    ],
)
def test_what_add_scalars_made(keys: list[str], expected: dict[str, dict[str, str]]):
    assert group_scalars(keys) == expected


# --- Restarts, cuts, and names -----------------------------------------------------------------

#: Every table, by key rather than by number: what comes first depends on how much is read at once.
QUERIES = (
    "SELECT * FROM source",
    "SELECT * FROM series_key",
    "SELECT * FROM series",
    "SELECT * FROM segment",
    "SELECT * FROM media",
    "SELECT key_id, plugin, display_name, description, data FROM media_key"
    " LEFT JOIN blob ON blob.id = content",
    "SELECT * FROM hparam",
    "SELECT * FROM hparam_session",
    "SELECT * FROM hparam_experiment",
)


def content_of(path: Path) -> list[list[tuple[Any, ...]]]:
    with RunReader(path) as reader:
        query = reader._connection.execute
        keys = dict(query("SELECT id, key FROM series_key"))
        found = []
        for sql in QUERIES:
            rows = query(sql)
            by_key = rows.description[0][0] in ("key_id", "id") and "source" not in sql
            named = [(keys[row[0]], *row[1:]) if by_key else row for row in rows]
            found.append(sorted(named, key=repr))
        return found


FILES = sorted(path for writer in WRITERS for path in (GOLDEN / writer).rglob("*tfevents*"))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FILES), st.lists(st.floats(0, 1), max_size=4))
def test_bytes_cut_anywhere_give_the_same_rows(file: Path, cuts: list[float]):
    data = file.read_bytes()
    with TemporaryDirectory() as name:
        root, whole, cut = Path(name) / "root", Path(name) / "whole.db", Path(name) / "cut.db"
        root.mkdir()
        for end in [*sorted(int(each * len(data)) for each in cuts), len(data)]:
            (root / file.name).write_bytes(data[:end])
            collect(root, cut)
        collect(root, whole)
        assert content_of(cut) == content_of(whole)


def mesh(step: int, *, states: bool) -> bytes:
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=each) for each in (1, 1, 3)])
    value = tensor("mesh", TensorProto(dtype=1, tensor_shape=shape, float_val=[1.0, 2.0, 3.0]))
    if states:
        value.metadata.CopyFrom(
            mesh_metadata.create_summary_metadata("mesh", "", 1, 1, [1, 1, 3], json_config="{}")
        )
    return summary(step, 1.0, value)


def test_first_value_metadata_survives_a_restart(tmp_path: Path):
    path, db = tmp_path / "tfevents", tmp_path / "run.db"
    path.write_bytes(records(version(), mesh(0, states=True)))
    collect(tmp_path, db)
    path.write_bytes(path.read_bytes() + records(mesh(7, states=False)))
    collect(tmp_path, db)
    with RunReader(db) as reader:
        contents = [reader.content(item) for item in reader.items("mesh")]
        assert [isinstance(each, Mesh) and each.config for each in contents] == ["{}", "{}"]
        assert reader._connection.execute("SELECT count(*) FROM blob").fetchone() == (1,)


def image(tag: str, data: bytes = b"png", step: int = 0) -> bytes:
    return summary(
        step, 1.0, Summary.Value(tag=tag, image=Summary.Image(encoded_image_string=data))
    )


@pytest.mark.parametrize("scalar_first", [True, False])
def test_a_scalar_keeps_its_name_beside_another_kind(tmp_path: Path, scalar_first: bool):
    path, db = tmp_path / "tfevents", tmp_path / "run.db"
    values = [scalar("t", 1, 0.5), image("t")]
    for payload in values if scalar_first else reversed(values):
        with path.open("ab") as file:
            file.write(records(payload))
        collect(tmp_path, db)
    with path.open("ab") as file:
        file.write(records(image("t", step=2), scalar("t", 3, 1.5)))
    collect(tmp_path, db)
    with RunReader(db) as reader:
        assert [point.value for point in reader.series("t")] == [0.5, 1.5]
        assert [(each.key, each.count) for each in reader.media()] == [("t:image", 2)]
        assert [each.key for each in reader.summaries()] == ["t"]
        assert reader.media_series("t") is None and reader.summary("t:image") is None


def test_one_tag_of_two_kinds(tmp_path: Path):
    text = tensor("t", TensorProto(dtype=DT_STRING, string_val=[b"words"]))
    text.metadata.plugin_data.plugin_name = "text"
    payloads = [image("t"), summary(1, 1.0, text), image("t", step=2)]
    (tmp_path / "tfevents").write_bytes(records(*payloads))
    collect(tmp_path, tmp_path / "run.db")
    with RunReader(tmp_path / "run.db") as reader:
        # TensorBoard too takes a tag's first plugin for all of its values that state none.
        assert {each.key: each.kind for each in reader.media()} == {"t": "image", "t:text": "text"}


def test_a_session_that_starts_opens_a_segment(tmp_path: Path):
    path, db = tmp_path / "tfevents", tmp_path / "run.db"
    pieces = [
        [version(), start(0), scalar("often", 1, 1.0), scalar("often", 9, 1.0)],
        [scalar("seldom", 4, 1.0)],
        [start(5)],
        # 10 is later than 9, which was before the restart all the same.
        [scalar("often", 10, 1.0), scalar("seldom", 8, 1.0), start(20), scalar("often", 20, 1.0)],
    ]
    for piece in pieces:
        with path.open("ab") as file:
            file.write(records(*piece))
        collect(tmp_path, db)
    with RunReader(db) as reader:
        rows = reader._connection.execute(
            "SELECT key, step, segment FROM series JOIN series_key ON id = key_id ORDER BY 1, seq"
        ).fetchall()
    assert rows == [
        ("often", 1, 0), ("often", 9, 0), ("often", 10, 1), ("often", 20, 1),
        ("seldom", 4, 0), ("seldom", 8, 0),
    ]  # fmt: skip


def test_sessions_in_a_large_file(tmp_path: Path):
    """Read at once, which is by blocks, and as it grows, which is not."""
    root, path = tmp_path / "root", tmp_path / "root/tfevents"
    root.mkdir()
    data = [version()]
    for session in range(4):
        data.append(start(session * 5_000))
        for step in range(session * 5_000, session * 5_000 + 7_000):
            data.append(scalar("loss", step, step / 2, 100.0))
        data.append(image("sample", step=session * 5_000))
    written = records(*data)
    assert len(written) > CATCH_UP_BYTES
    for end in [*range(0, len(written), 300_000), len(written)]:
        path.write_bytes(written[:end])
        collect(root, tmp_path / "grown.db")
    collect(root, tmp_path / "whole.db")
    assert content_of(tmp_path / "grown.db") == content_of(tmp_path / "whole.db")
    with RunReader(tmp_path / "whole.db") as reader:
        found = reader.summary("loss")
        assert found is not None and (found.count, found.segments) == (28_000, 4)


def test_tags_of_any_script_and_of_none(tmp_path: Path):
    names = ["größe/损失", "", "a\0b", "x" * 5000]
    payloads = [image(name) for name in names]
    (tmp_path / "tfevents").write_bytes(records(*payloads))
    collect(tmp_path, tmp_path / "run.db")
    with RunReader(tmp_path / "run.db") as reader:
        assert {each.key for each in reader.media()} == {"größe/损失", "", "a\\x00b", "x" * 5000}
        for each in reader.media():
            assert reader.content(reader.items(each.key)[0]) == Images([b"png"])


# --- Pages, and what is gone -------------------------------------------------------------------


def test_items_come_in_pages(tmp_path: Path):
    steps = [0, 1, 2, 1, 2, 3]
    path = tmp_path / "tfevents"
    path.write_bytes(records(*(image("t", bytes([n]), step) for n, step in enumerate(steps))))
    collect(tmp_path, tmp_path / "run.db")
    with RunReader(tmp_path / "run.db") as reader:

        def seqs(**which: int) -> list[int]:
            return [item.seq for item in reader.items("t", **which)]

        assert seqs() == [0, 1, 2, 3, 4, 5]
        assert seqs(after=1, limit=2) == [2, 3]
        assert seqs(first_step=1, last_step=2) == [1, 2, 3, 4]
        assert [item.segment for item in reader.items("t")] == [0, 0, 0, 1, 1, 1]
        assert reader.items("nothing") == [] and reader.item("t", 6) is None
        item = reader.item("t", 4)
        assert item is not None and (item.step, item.time) == (2, 1000)
        assert reader.content(item) == Images([b"\x04"])
        event = Event.FromString(reader.record(item))
        assert event.summary.value[0].image.encoded_image_string == b"\x04"


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(records(version(), image("t")))


def test_a_file_that_changed_or_is_gone(tmp_path: Path):
    path = tmp_path / "sub" / "tfevents"
    write_image(path)
    collect(tmp_path, tmp_path / "run.db")
    with RunReader(tmp_path / "run.db") as reader:
        (item,) = reader.items("sub/t")
        data = bytearray(path.read_bytes())
        data[-6] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(ContentLost):
            reader.content(item)
        path.unlink()
        with pytest.raises(ContentLost):
            reader.record(item)


@pytest.mark.parametrize("link", ["file", "directory"])
def test_links_are_never_followed(tmp_path: Path, link: str):
    root, path = tmp_path / "root", tmp_path / "root/sub/tfevents"
    write_image(path)
    collect(root, tmp_path / "run.db")
    moved = path if link == "file" else path.parent
    shutil.move(moved, tmp_path / "elsewhere")
    moved.symlink_to(tmp_path / "elsewhere")
    with RunReader(tmp_path / "run.db") as reader:
        for read in (reader.content, reader.record):
            with pytest.raises(ContentLost):
                read(reader.items("sub/t")[0])


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "", ".", "sub/../../secret", "a\0b"])
def test_nothing_outside_the_root_is_opened(tmp_path: Path, name: str):
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    write_image(root / "sub/tfevents")
    collect(root, tmp_path / "run.db")
    with RunReader(tmp_path / "run.db") as reader, pytest.raises(ContentLost):
        reader.open_file(name)


def test_the_root_is_the_run_or_where_it_was_imported_from(tmp_path: Path):
    run, elsewhere = tmp_path / "run", tmp_path / "logs"
    db = run / "gl.d/run.db"
    db.parent.mkdir(parents=True)
    write_image(run / "tfevents")
    collect(run, db, logdir=False)
    with RunReader(db) as reader:
        assert reader.files_root == run
        assert reader.content(reader.items("t")[0]) == Images([b"png"])
    elsewhere.mkdir()
    shutil.move(run / "tfevents", elsewhere / "tfevents")
    (tmp_path / "link").symlink_to(elsewhere)
    with RunDb(db) as opened:
        opened.write_attrs({"logdir": str(tmp_path / "link")})
    with RunReader(db) as reader:
        assert reader.content(reader.items("t")[0]) == Images([b"png"])


@pytest.mark.skipif(os.name != "posix", reason="names are bytes")
def test_a_directory_whose_name_is_not_utf8(tmp_path: Path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/root/b\xe9"))
    try:
        write_image(path / "tfevents")
    except OSError:
        pytest.skip("this file system refuses such names")
    collect(tmp_path / "root", tmp_path / "run.db")
    with RunReader(tmp_path / "run.db") as reader:
        (series,) = reader.media()
        assert series.key == "b\\xe9/t"
        assert reader.content(reader.items(series.key)[0]) == Images([b"png"])


def test_schema_1_has_no_media(tmp_path: Path):
    path = shutil.copy(GOLDEN.parent / "runs/run-1.db", tmp_path / "run.db")
    with RunReader(path) as reader:
        assert reader.media() == reader.items("t") == reader.embeddings() == []
        assert reader.sessions() == reader.experiments() == []
        assert reader.media_series("t") is None


# --- Embeddings --------------------------------------------------------------------------------


def test_embeddings_of_torch(read: Any):
    reader: RunReader = read(GOLDEN / "torch-media")
    (found,) = reader.embeddings()
    assert (found.key, found.config) == ("words:00004", "projector_config.pbtxt")
    parts = (found.tensor, found.metadata, found.sprite)
    assert [part and (part.path, part.size) for part in parts] == [
        ("00004/words/tensors.tsv", 24),
        ("00004/words/metadata.tsv", 6),
        ("00004/words/sprite.png", 69),
    ]
    assert found.sprite_size == (2, 2) and found.bookmarks is None
    with reader.open_file("00004/words/tensors.tsv") as file:
        assert file.read().split() == [b"0.0", b"1.0", b"2.0", b"3.0", b"4.0", b"5.0"]


def config(*names: str) -> str:
    return "".join(
        f'embeddings {{ tensor_name: "{name}" tensor_path: "{name}.tsv" }}\n' for name in names
    )


def test_a_projector_configuration_is_read_when_it_is_rewritten(tmp_path: Path):
    root, db = tmp_path / "root", tmp_path / "run.db"
    path = root / "deep/projector_config.pbtxt"
    path.parent.mkdir(parents=True)

    def embeddings() -> dict[str, FileSeen | None]:
        collect(root, db)
        with RunReader(db) as reader:
            assert len(reader.media("embedding")) == len(reader.embeddings())
            return {each.key: each.tensor for each in reader.embeddings()}

    path.write_text(config("a", "b"))
    assert embeddings() == {"deep/a": None, "deep/b": None}
    (path.parent / "a.tsv").write_text("1\t2\n")
    found = embeddings()["deep/a"]
    assert found is not None and found[:2] == ("deep/a.tsv", 4)
    path.write_text(config("b", "c")[:-20])  # seen half-way
    assert embeddings().keys() == {"deep/a", "deep/b"}
    path.write_text(config("b", "c"))
    assert embeddings().keys() == {"deep/b", "deep/c"}
    path.write_text("")
    assert embeddings() == {}


def test_one_collector_sees_every_change_of_a_configuration(tmp_path: Path):
    collector = EventFiles(tmp_path)
    path = tmp_path / "projector_config.pbtxt"
    path.write_text(config("a"))
    (first,) = collector.sample(final=True)
    assert list(collector.sample(final=True)) == []
    (tmp_path / "a.tsv").write_text("1\n")
    (second,) = collector.sample(final=True)
    assert first.embeddings is not None and second.embeddings is not None
    assert first.embeddings[0].tensor is None and second.embeddings[0].tensor is not None


def test_embeddings_whose_configuration_is_deleted_go(tmp_path: Path):
    root, db = tmp_path / "root", tmp_path / "run.db"
    paths = [root / name / "projector_config.pbtxt" for name in ("live", "later", "stays")]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text(config("a"))
        (path.parent / "a.tsv").write_text("1\t2\n")

    def keys() -> list[str]:
        with RunReader(db) as reader:
            assert len(reader.media("embedding")) == len(reader.embeddings())
            return [each.key for each in reader.embeddings()]

    collector = EventFiles(root)
    with RunDb(db) as opened:
        opened.write(collector.sample(final=True))
        assert keys() == ["later/a", "live/a", "stays/a"]
        paths[0].unlink()  # under the eyes of one collector
        opened.write(collector.sample(final=True))
        assert list(collector.sample(final=True)) == []
    assert keys() == ["later/a", "stays/a"]
    shutil.rmtree(paths[1].parent)  # and before the next one comes
    collect(root, db)
    assert keys() == ["stays/a"]
    (paths[2].parent / "a.tsv").unlink()
    collect(root, db)
    with RunReader(db) as reader:
        assert [each.tensor for each in reader.embeddings()] == [None]
    root.rename(tmp_path / "away")  # a disk that is not there now tells nothing
    collect(root, db)
    assert keys() == ["stays/a"]
    (tmp_path / "away").rename(root)
    paths[0].write_text(config("b"))
    collect(root, db)
    assert keys() == ["live/b", "stays/a"]


@pytest.mark.parametrize("form", ["scalar", "tensor", "image", "text"])
def test_tags_that_are_not_utf8_are_kept(tmp_path: Path, form: str):
    text = TensorProto(dtype=DT_STRING, string_val=[b"hello"])
    number = TensorProto(dtype=DT_FLOAT, float_val=[0.5])
    payload = {
        "scalar": scalar("pr#cision", 1, 0.5),
        "tensor": summary(1, 1.5, tensor("pr#cision", number, "scalars")),
        "image": image("pr#cision", b"png", 1),
        "text": summary(1, 1.5, tensor("pr#cision", text, "text")),
    }[form].replace(b"#", b"\xe9")
    (tmp_path / "tfevents").write_bytes(records(version(), scalar("loss", 1, 2.0), payload))
    collect(tmp_path, tmp_path / "run.db")
    with RunReader(tmp_path / "run.db") as reader:
        assert [error for *_, error in reader.sources()] == [None]
        keys = {each.key for each in (*reader.summaries(), *reader.media())}
        assert keys == {"loss", "pr\\xe9cision"}
        if form in ("image", "text"):
            (item,) = reader.items("pr\\xe9cision")
            expected = Images([b"png"]) if form == "image" else Text(["hello"])
            assert reader.content(item) == expected
        else:
            (point,) = reader.series("pr\\xe9cision")
            assert (point.step, point.value) == (1, 0.5)


@pytest.mark.parametrize("path", ["../a.tsv", "/etc/passwd", "x/../../a.tsv"])
def test_an_embedding_may_not_lead_out_of_the_run(tmp_path: Path, path: str):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "a.tsv").write_text("1\n")
    text = f'embeddings {{ tensor_name: "a" tensor_path: "{path}" }}'
    (root / "projector_config.pbtxt").write_text(text)
    (reading,) = EventFiles(root).sample(final=True)
    assert reading.embeddings is not None and reading.embeddings[0].tensor is None
    assert reading.notices == [
        f"`projector_config.pbtxt` names `{path}`, which is not in the run and not read"
    ]


def test_only_some_directories(tmp_path: Path):
    for name in ("", "a", "a/b"):
        write_image(tmp_path / name / "tfevents")
        (tmp_path / name / "projector_config.pbtxt").write_text(config("e"))
    readings = list(EventFiles(tmp_path, directories=["", "a/b"]).sample(final=True))
    assert {reading.cursor.path for reading in readings if reading.cursor} == {
        "tfevents", "a/b/tfevents", "projector_config.pbtxt", "a/b/projector_config.pbtxt",
    }  # fmt: skip


# --- One transaction ---------------------------------------------------------------------------


def test_a_failed_write_leaves_media_as_they_were(tmp_path: Path):
    item = Item(1, 1, 0, 1, 1, 0)
    media = [Items("i", "image", "images", [item], SeriesMetadata("shown"))]
    with RunDb(tmp_path / "run.db") as db:
        db.write([Reading(Cursor("e", "tfevents", "d", 1), media=media)])
        db._connection.execute(
            "CREATE TEMP TRIGGER full BEFORE INSERT ON media WHEN NEW.step = 3"
            " BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        )
        more = [Items("i", "image", "images", [item._replace(step=step) for step in (2, 3)])]
        reading = Reading(Cursor("e", "tfevents", "d", 2), {"s": [Point(1, 1, 1.0)]}, media=more)
        with pytest.raises(Exception, match="full"):
            db.write([reading])
        db._connection.execute("DROP TRIGGER full")
        assert [cursor.offset for cursor in db.cursors()] == [1]
        db.write([reading])
    with RunReader(tmp_path / "run.db") as reader:
        assert [(each.seq, each.step) for each in reader.items("i")] == [(0, 1), (1, 2), (2, 3)]
        series = reader.media_series("i")
        assert series is not None and (series.count, series.display_name) == (3, "shown")
        assert len(reader.series("s")) == 1
