"""What values other than scalars hold, from golden files whose script says what was written."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from support.event_files import DT_FLOAT, DT_STRING, records, scalar, summary, tensor, version
from tensorboard.compat.proto.event_pb2 import Event, TaggedRunMetadata
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams import summary_v2 as hparams_summary_v2
from tensorboard.plugins.mesh import metadata as mesh_metadata
from tensorboard.plugins.mesh.plugin_data_pb2 import MeshPluginData

from guildlite.tfevents import (
    BadContent,
    Content,
    ContentLost,
    Cursor,
    LogDir,
    StoredValue,
    parse_projector_config,
    read_content,
)
from guildlite.tfevents.contents import (
    Audio,
    Chart,
    Embedding,
    Graph,
    Histogram,
    HParamsEnd,
    HParamsExperiment,
    HParamsStart,
    Images,
    Layout,
    Mesh,
    Other,
    PrCurve,
    Text,
    parse_tensor,
)

GOLDEN = Path(__file__).parent / "golden" / "events"


def contents(root: Path, tag: str | None = None) -> list[Content]:
    """Return what the values of `tag` hold, or all values."""
    found = []
    for chunk in LogDir(root).look(everything=True):
        with (root / chunk.cursor.path).open("rb") as file:
            for value in chunk.others:
                if tag is None or value.tag == tag:
                    found.append(read_content(file, value))
    return found


def written(tmp_path: Path, *payloads: bytes) -> list[Content]:
    (tmp_path / "tfevents").write_bytes(records(version(), scalar("loss", 1, 0.5), *payloads))
    return contents(tmp_path)


def shape(*sizes: int) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])


def png_size(data: bytes) -> tuple[int, int]:
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


# Golden files: `tests/golden/events/write.py` says what was written -------------------------------


@pytest.mark.parametrize("writer", ["torch", "tensorboardx", "tf1", "tf2"])
def test_images(writer: str):
    tag = {"tf1": "image/image/0"}.get(writer, "image")
    found = contents(GOLDEN / writer, tag) or contents(GOLDEN / writer, "image/0")
    (images,) = found
    assert isinstance(images, Images)
    assert [png_size(each) for each in images.images] == [(4, 4)]
    assert (images.width, images.height) == (4, 4)


@pytest.mark.parametrize("writer", ["torch", "tensorboardx", "tf1", "tf2"])
def test_histograms(writer: str):
    (found,) = contents(GOLDEN / writer, "weights")
    assert isinstance(found, Histogram)
    assert sum(count for _, _, count in found.buckets) == 50
    edges = [edge for left, right, _ in found.buckets for edge in (left, right)]
    assert edges == sorted(edges)
    occupied = [each for each in found.buckets if each[2]]
    assert -1.2 < occupied[0][0] <= -1.0 <= occupied[0][1]
    assert occupied[-1][0] <= 1.0 <= occupied[-1][1] < 1.2


@pytest.mark.parametrize("writer", ["torch", "tensorboardx", "tf2"])
def test_text(writer: str):
    tag = "words" if writer == "tf2" else "words/text_summary"
    (found,) = contents(GOLDEN / writer, tag)
    assert isinstance(found, Text) and found.texts == ["some *text*"]


def test_pr_curve():
    (found,) = contents(GOLDEN / "torch", "pr")
    # Labels 0 1 1, predictions 0.1 0.8 0.4, thresholds 0 0.25 0.5 0.75 1: counted by hand.
    assert isinstance(found, PrCurve)
    assert found.true_positives == [2, 2, 1, 1, 0]
    assert found.false_positives == [1, 0, 0, 0, 0]
    assert found.true_negatives == [0, 1, 1, 1, 1]
    assert found.false_negatives == [0, 0, 1, 1, 2]
    assert found.recall == [1, 1, 0.5, 0.5, 0]
    assert found.precision[:4] == pytest.approx([2 / 3, 1, 1, 1])


def test_mesh():
    assert [
        (found.name, found.part, found.shape, found.numbers)
        for found in contents(GOLDEN / "torch")
        if isinstance(found, Mesh)
    ] == [("mesh", "vertex", (1, 3, 3), [0.0] * 9)]


def test_layout():
    (found,) = (each for each in contents(GOLDEN / "torch") if isinstance(each, Layout))
    assert found == Layout([("both", [Chart("loss", ["loss"])])])


def test_hparams_of_torch():
    found = contents(GOLDEN / "torch" / "hparams")
    experiment, start, end = found
    assert isinstance(experiment, HParamsExperiment) and isinstance(start, HParamsStart)
    assert experiment.metrics == [("", "hparam/accuracy")]
    assert sorted(experiment.hparams) == ["lr", "name"]
    assert start.hparams == {"lr": 0.1, "name": "a"}
    assert isinstance(end, HParamsEnd) and end.status == "success"


def test_graphs():
    (graph,) = (each for each in contents(GOLDEN / "tf1") if isinstance(each, Graph))
    assert graph.form == "graph_def"
    assert "weights" in {node.name for node in GraphDef.FromString(graph.data).node}
    forms = {each.form: each for each in contents(GOLDEN / "keras") if isinstance(each, Graph)}
    assert json.loads(forms["keras"].data)["class_name"] == "Sequential"


@pytest.mark.parametrize("writer", ["keras", "tensorboardx", "tf1", "tf2", "torch"])
def test_every_value_of_the_golden_files_can_be_read(writer: str):
    assert contents(GOLDEN / writer)


# By hand -----------------------------------------------------------------------------------------


def test_images_and_audio_in_both_forms(tmp_path: Path):
    gif = tensor("i", TensorProto(dtype=DT_STRING, string_val=[b"3", b"2", b"GIF89a", b"GIF87a"]))
    gif.tensor.tensor_shape.CopyFrom(shape(4))
    gif.metadata.plugin_data.plugin_name = "images"
    pairs = TensorProto(
        dtype=DT_STRING, tensor_shape=shape(2, 2), string_val=[b"RIFF1", b"one", b"RIFF2", b"two"]
    )
    audio = Summary.Audio(encoded_audio_string=b"fLaC", content_type="audio/flac")
    image = Summary.Image(encoded_image_string=b"\xff\xd8", width=5, height=6)
    values = [
        gif,
        Summary.Value(tag="old", image=image),
        tensor("a", pairs, "audio"),
        Summary.Value(tag="old audio", audio=audio),
    ]
    assert written(tmp_path, summary(2, 3.5, *values)) == [
        Images([b"GIF89a", b"GIF87a"], 3, 2),
        Images([b"\xff\xd8"], 5, 6),
        Audio([b"RIFF1", b"RIFF2"], ["one", "two"]),
        Audio([b"fLaC"], [], "audio/flac"),
    ]


def test_old_histograms_end_where_the_values_do(tmp_path: Path):
    histo = HistogramProto(min=-0.5, max=7.0, bucket_limit=[0.0, 1.0, 1e308], bucket=[1, 0, 4])
    assert written(tmp_path, summary(0, 1.0, Summary.Value(tag="h", histo=histo))) == [
        Histogram([(-0.5, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 7.0, 4.0)])
    ]


def hparams(data: plugin_data_pb2.HParamsPluginData) -> bytes:
    value = Summary.Value(tag="_hparams_", tensor=hparams_metadata.NULL_TENSOR)
    value.metadata.CopyFrom(hparams_metadata.create_summary_metadata(data))
    return summary(0, 1.0, value)


def test_hparams_of_tensorboard_s_own_writers(tmp_path: Path):
    metric = api_pb2.MetricInfo(name=api_pb2.MetricName(group="validation", tag="acc"))
    info = api_pb2.HParamInfo(name="lr")
    info.domain_interval.min_value, info.domain_interval.max_value = 0.25, 1.0
    other = api_pb2.HParamInfo(name="opt")
    other.domain_discrete.extend(["sgd", "adam"])
    experiment = api_pb2.Experiment(
        description="why", hparam_infos=[info, other], metric_infos=[metric]
    )
    start = hparams_summary_v2.hparams_pb(
        {"lr": 0.5, "deep": True, "opt": "sgd"}, trial_id="g", start_time_secs=12.5
    )
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_FAILURE, end_time_secs=13.5)
    payloads = [
        hparams(plugin_data_pb2.HParamsPluginData(experiment=experiment)),
        Event(wall_time=1.0, summary=start).SerializeToString(),
        hparams(plugin_data_pb2.HParamsPluginData(session_end_info=end)),
    ]
    assert written(tmp_path, *payloads) == [
        HParamsExperiment(
            {"lr": (0.25, 1.0), "opt": ["sgd", "adam"]}, [("validation", "acc")], "", "why"
        ),
        HParamsStart({"lr": 0.5, "deep": True, "opt": "sgd"}, "g", 12.5),
        HParamsEnd("failure", 13.5),
    ]


def test_graphs_of_events(tmp_path: Path):
    tagged = TaggedRunMetadata(tag="step1", run_metadata=b"meta")
    found = written(
        tmp_path,
        Event(wall_time=1.0, graph_def=b"graph").SerializeToString(),
        Event(wall_time=1.0, meta_graph_def=b"more").SerializeToString(),
        Event(wall_time=1.0, tagged_run_metadata=tagged).SerializeToString(),
    )
    assert found == [
        Graph("graph_def", b"graph"),
        Graph("meta_graph_def", b"more"),
        Graph("run_metadata", b"meta"),
    ]


def test_an_unknown_plugin_keeps_its_tensor_and_its_data(tmp_path: Path):
    value = tensor("t", TensorProto(dtype=DT_FLOAT, float_val=[2.0]), "theirs")
    value.metadata.plugin_data.content = b"data"
    (found,) = written(tmp_path, summary(0, 1.0, value))
    assert isinstance(found, Other) and found.plugin_content == b"data"
    assert found.tensor is not None and found.tensor.values == [2.0]


# Where values lie -------------------------------------------------------------------------------


def mesh(step: int, *, states: bool) -> bytes:
    numbers = TensorProto(dtype=DT_FLOAT, tensor_shape=shape(1, 1, 3), float_val=[step])
    value = tensor("m_FACE", numbers)
    if states:
        value.metadata.CopyFrom(
            mesh_metadata.create_summary_metadata(
                "m", "m_FACE", MeshPluginData.FACE, 0, shape=[1, 1, 3], json_config="{}"
            )
        )
    return summary(step, 1.0, value)


def test_metadata_of_a_first_value_survives_a_restart(tmp_path: Path):
    path = tmp_path / "tfevents"
    path.write_bytes(records(version(), mesh(0, states=True)))
    (first,) = LogDir(tmp_path).look()
    stored = json.loads(json.dumps(first.cursor.state))
    cursor = Cursor(first.cursor.path, first.cursor.digest, first.cursor.offset, stored)
    path.write_bytes(path.read_bytes() + records(mesh(7, states=False)))
    (second,) = LogDir(tmp_path, [cursor]).look()
    (value,) = second.others
    with path.open("rb") as file:
        found = read_content(file, value)
    # A tensor with fewer values than elements repeats the last one.
    assert found == Mesh("m", "face", (1, 1, 3), [7.0, 7.0, 7.0], "{}")


def one_image(tmp_path: Path) -> tuple[Path, StoredValue]:
    path = tmp_path / "tfevents"
    image = Summary.Value(tag="i", image=Summary.Image(encoded_image_string=b"png"))
    path.write_bytes(records(version(), summary(4, 2.5, image)))
    (chunk,) = LogDir(tmp_path).look()
    (value,) = chunk.others
    return path, value


def test_a_reference_is_the_record_s_place(tmp_path: Path):
    path, value = one_image(tmp_path)
    assert value[:5] == ("i", "images", "image", 4, 2.5)
    data = path.read_bytes()
    offset, length, checksum, nth = value.reference
    assert offset == len(records(version())) and nth == 0
    assert struct.unpack_from("<Q", data, offset) == (length,)
    assert struct.unpack_from("<I", data, offset + 12 + length) == (checksum,)
    assert offset + 12 + length + 4 == len(data)


@pytest.mark.parametrize("change", ["cut", "flipped", "replaced"])
def test_bytes_that_changed_are_not_shown(tmp_path: Path, change: str):
    path, value = one_image(tmp_path)
    data = bytearray(path.read_bytes())
    if change == "cut":
        del data[-1:]
    elif change == "flipped":
        data[-6] ^= 1
    else:
        image = Summary.Value(tag="i", image=Summary.Image(encoded_image_string=b"gif"))
        data = bytearray(records(version(), summary(4, 2.5, image)))
    path.write_bytes(data)
    with path.open("rb") as file, pytest.raises(ContentLost):
        read_content(file, value)


@pytest.mark.parametrize("plugin", ["images", "audio", "text", "histograms", "pr_curves", "mesh"])
def test_a_tensor_that_does_not_fit_its_plugin_is_bad_content(tmp_path: Path, plugin: str):
    proto = TensorProto(dtype=DT_FLOAT, tensor_shape=shape(2, 2), float_val=[1.0])
    with pytest.raises(BadContent):
        written(tmp_path, summary(0, 1.0, tensor("t", proto, plugin)))


@pytest.mark.parametrize(
    "proto",
    [
        TensorProto(dtype=DT_FLOAT, tensor_shape=shape(1 << 40)),
        TensorProto(dtype=DT_FLOAT, tensor_shape=shape(-1)),
        TensorProto(dtype=DT_FLOAT, tensor_shape=shape(3), tensor_content=b"1234"),
        TensorProto(dtype=DT_FLOAT, tensor_shape=shape(1), float_val=[1.0, 2.0]),
        TensorProto(dtype=9999),
    ],
)
def test_tensors_that_cannot_be(proto: TensorProto):
    with pytest.raises(BadContent):
        parse_tensor(proto)


def test_half_and_bfloat16_in_both_places():
    for dtype, bits in ((14, 0x40A8), (19, 0x4540)):  # 5.25 by IEEE 754, written out by hand
        content = bits.to_bytes(2, "little") * 2
        stored = TensorProto(dtype=dtype, tensor_shape=shape(2), tensor_content=content)
        assert parse_tensor(stored).values == [5.25, 5.25]
        fields = TensorProto(dtype=dtype, tensor_shape=shape(2), half_val=[bits])
        assert parse_tensor(fields).values == [5.25, 5.25]


def test_projector_config():
    text = """
    model_checkpoint_path: "x"
    embeddings { tensor_name: "e:0" tensor_path: "e/tensors.tsv" metadata_path: "e/metadata.tsv"
      sprite { image_path: "e/sprite.png" single_image_dim: 8 single_image_dim: 9 } }
    embeddings { tensor_name: "f" tensor_shape: 2 tensor_shape: 3 unknown_field: 1 }
    """
    assert parse_projector_config(text) == [
        Embedding("e:0", "e/tensors.tsv", "e/metadata.tsv", "e/sprite.png", (8, 9)),
        Embedding("f", shape=(2, 3)),
    ]
    with pytest.raises(BadContent):
        parse_projector_config(text[:90])
