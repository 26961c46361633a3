"""What values other than scalars hold: images, audio, text, histograms and the rest, as plain data.

Such values stay in their event file. Reading one gives a `StoredValue`, a few dozen bytes that say
where it lies; `read_content` goes there, verifies that the bytes are still the same, and returns
one of the classes below. Both of TensorBoard's forms, the old protos and the tensors, come out
alike. Nothing here needs NumPy; images and audio stay encoded as they were written.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, BinaryIO, NamedTuple

from guildlite.errors import GuildliteError
from guildlite.tfevents.columns import Reference, StoredValue
from guildlite.tfevents.event import TENSOR_TYPES, EventDecoder, UnreadableEvent
from guildlite.tfevents.record import BadFraming, BadPayload, RecordReader


class ContentLost(GuildliteError):
    """The file no longer holds the bytes that were read; show that the value is gone."""


class BadContent(GuildliteError):
    """The value is not what its kind should be; show its tag and this message."""


@dataclass(slots=True)
class Tensor:
    """Numbers, row by row, or byte strings; `dtype` is TensorFlow's number of the type."""

    dtype: int
    shape: tuple[int, ...]
    values: list[float] | list[bytes]


@dataclass(slots=True)
class Images:
    """Images of one step, encoded (PNG, JPEG, GIF). Sizes in pixels, 0 where not stated."""

    images: list[bytes]
    width: int = 0
    height: int = 0


@dataclass(slots=True)
class Audio:
    """Audio clips of one step, encoded, usually WAV; `labels` are as many, or none."""

    clips: list[bytes]
    labels: list[str] = field(default_factory=list)
    content_type: str = "audio/wav"


@dataclass(slots=True)
class Text:
    """Markdown texts; of a matrix row by row, with its `shape`."""

    texts: list[str]
    shape: tuple[int, ...] = ()


@dataclass(slots=True)
class Histogram:
    """Buckets as (left edge, right edge, count), edges rising."""

    buckets: list[tuple[float, float, float]]


@dataclass(slots=True)
class PrCurve:
    """Counts and rates, one for each threshold; thresholds rise from 0 to 1 in equal steps."""

    true_positives: list[float]
    false_positives: list[float]
    true_negatives: list[float]
    false_negatives: list[float]
    precision: list[float]
    recall: list[float]


@dataclass(slots=True)
class Mesh:
    """One part of a mesh or point cloud: `part` is vertex, face or color.

    `numbers` are of shape (batch, items, 3). `config` is the camera and scene, as JSON text.
    """

    name: str
    part: str
    shape: tuple[int, ...]
    numbers: list[float]
    config: str = ""


@dataclass(slots=True)
class Graph:
    """A graph, serialised; `form` is graph_def, meta_graph_def, run_metadata or keras (JSON)."""

    form: str
    data: bytes


@dataclass(slots=True)
class HParamsExperiment:
    """What an experiment varies and judges: hparam name → its domain; (group, tag) of metrics."""

    hparams: dict[str, list[object] | tuple[float, float] | None]
    metrics: list[tuple[str, str]]
    name: str = ""
    description: str = ""


@dataclass(slots=True)
class HParamsStart:
    """The hparams of a session. Moments in seconds since the epoch."""

    hparams: dict[str, object]
    group: str = ""
    started_at: float = 0.0


@dataclass(slots=True)
class HParamsEnd:
    """How a session ended: unknown, success, failure or running."""

    status: str
    ended_at: float = 0.0


@dataclass(slots=True)
class Chart:
    """A chart of a layout: regular expressions of tags, or (value, lower, upper) for margins."""

    title: str
    tags: list[str] = field(default_factory=list)
    margins: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Layout:
    """Custom scalars: (category, its charts) in order."""

    categories: list[tuple[str, list[Chart]]]


@dataclass(slots=True)
class Other:
    """A value of a plugin nobody here knows: its tensor, and the plugin's own bytes."""

    tensor: Tensor | None
    plugin_content: bytes = b""


Content = (
    Images | Audio | Text | Histogram | PrCurve | Mesh | Graph
    | HParamsExperiment | HParamsStart | HParamsEnd | Layout | Other
)  # fmt: skip


class Metadata(NamedTuple):
    """What a tag's first value says of all of them; `content` is the plugin's own bytes."""

    plugin: str
    display_name: str = ""
    description: str = ""
    content: bytes = b""


def parse_metadata(stated: bytes) -> Metadata:
    """Return a serialised SummaryMetadata, as `StoredValue.stated` has it."""
    from tensorboard.compat.proto.summary_pb2 import SummaryMetadata

    proto = SummaryMetadata.FromString(stated)
    plugin = proto.plugin_data
    return Metadata(
        plugin.plugin_name, proto.display_name, proto.summary_description, plugin.content
    )


def read_content(file: BinaryIO, stored: StoredValue, plugin_content: bytes = b"") -> Content:
    """Return what a value of this file holds; raise `ContentLost` or `BadContent`.

    `plugin_content` is what the tag's first value stated, for a caller that keeps it himself.
    """
    event = _read_event(file, stored.reference)
    if event.WhichOneof("what") != "summary":
        return _event_graph(event)
    value = _summary_value(event, stored.reference)
    plugin_content = value.metadata.plugin_data.content or plugin_content
    if not plugin_content and stored.metadata is not None:
        first = _summary_value(_read_event(file, stored.metadata), stored.metadata)
        plugin_content = first.metadata.plugin_data.content
    parse = _PARSERS.get(stored.kind, _other)
    try:
        return parse(value, plugin_content)
    except BadContent:
        raise
    except Exception as error:  # protobuf's and struct's errors differ by implementation
        raise BadContent(f"`{stored.tag}` is no {stored.kind}: {error}") from error


def read_record(file: BinaryIO, reference: Reference) -> bytes:
    """Return the payload of the record that holds a value, as written; raise `ContentLost`."""
    reader = RecordReader(file, reference.offset)
    try:
        payload = reader.read()
    except (BadFraming, BadPayload) as error:
        raise ContentLost(f"the file changed: {error.message}") from error
    if payload is None or (len(payload), reader.checksum) != reference[1:3]:
        raise ContentLost(f"the file changed at byte {reference.offset}")
    return payload


def _read_event(file: BinaryIO, reference: Reference) -> Any:
    try:
        return EventDecoder().parse(read_record(file, reference))
    except UnreadableEvent as error:
        raise ContentLost(f"the record at byte {reference.offset} is {error.message}") from error


def _summary_value(event: Any, reference: Reference) -> Any:
    try:
        return event.summary.value[reference.nth]
    except IndexError:
        raise ContentLost(f"there is no value {reference.nth} at byte {reference.offset}")


# Tensors -------------------------------------------------------------------------------------

_DT_STRING = 7
#: Elements believed of a tensor that repeats its last value; more than any histogram or mesh.
_MOST_ELEMENTS = 1 << 26


def parse_tensor(proto: Any) -> Tensor:
    """Return a TensorProto's elements; raise `BadContent`.

    Fewer values than the shape has elements mean that the last one repeats, as in TensorFlow.
    """
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    size = prod(shape)
    if size < 0 or size > _MOST_ELEMENTS:
        raise BadContent(f"a tensor of shape {list(shape)}")
    if proto.dtype == _DT_STRING:
        return Tensor(proto.dtype, shape, _filled(list(proto.string_val), size, b""))
    kind = TENSOR_TYPES.get(proto.dtype)
    if kind is None:
        raise BadContent(f"a tensor of type {proto.dtype}")
    if proto.tensor_content:
        return Tensor(proto.dtype, shape, _unpacked(kind.format, proto.tensor_content, size))
    values = list(getattr(proto, kind.field))
    if kind.field == "half_val":
        content = b"".join((each & 0xFFFF).to_bytes(2, "little") for each in values)
        values = _unpacked(kind.format, content, len(values))
    return Tensor(proto.dtype, shape, _filled([float(each) for each in values], size, 0.0))


def _unpacked(format: str, content: bytes, size: int) -> list[float]:
    if format == "bfloat16":  # each is the upper half of a float32
        halves = (content[at : at + 2] for at in range(0, len(content), 2))
        format, content = "<f", b"".join(b"\0\0" + half for half in halves)
    try:
        return list(map(float, struct.unpack(f"<{size}{format[1]}", content)))
    except struct.error as error:
        raise BadContent(f"a tensor of {len(content)} bytes for {size} elements") from error


def _filled(values: list[Any], size: int, empty: object) -> list[Any]:
    if len(values) > size:
        raise BadContent(f"a tensor of {len(values)} values for {size} elements")
    return values + [values[-1] if values else empty] * (size - len(values))


def _strings(value: Any) -> tuple[tuple[int, ...], list[Any]]:
    """Return the shape of a tensor of byte strings, and these."""
    tensor = parse_tensor(value.tensor)
    if tensor.dtype != _DT_STRING:
        raise BadContent("a tensor of numbers where byte strings belong")
    return tensor.shape, tensor.values


def _numbers(value: Any, rank: int) -> tuple[tuple[int, ...], list[Any]]:
    """Return the shape of a tensor of numbers, and these."""
    tensor = parse_tensor(value.tensor)
    if len(tensor.shape) != rank or tensor.dtype == _DT_STRING:
        raise BadContent(f"a tensor of shape {list(tensor.shape)}")
    return tensor.shape, tensor.values


# Kinds ---------------------------------------------------------------------------------------


def _images(value: Any, _: bytes) -> Content:
    if value.WhichOneof("value") == "image":
        image = value.image
        return Images([image.encoded_image_string], image.width, image.height)
    width, height, *images = _strings(value)[1]
    return Images(images, int(width), int(height))


def _audio(value: Any, _: bytes) -> Content:
    if value.WhichOneof("value") == "audio":
        audio = value.audio
        return Audio([audio.encoded_audio_string], [], audio.content_type or "audio/wav")
    shape, values = _strings(value)
    if len(shape) == 2:  # pairs of clip and label
        return Audio(values[::2], list(map(_text_of, values[1::2])))
    return Audio(values)


def _text(value: Any, _: bytes) -> Content:
    shape, values = _strings(value)
    return Text(list(map(_text_of, values)), shape)


def _text_of(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _histogram(value: Any, _: bytes) -> Content:
    if value.WhichOneof("value") == "histo":
        histo = value.histo
        if len(histo.bucket) != len(histo.bucket_limit):
            raise BadContent(f"{len(histo.bucket)} buckets and {len(histo.bucket_limit)} limits")
        inner = list(histo.bucket_limit)[:-1]  # the ends are what was seen, not the outer limits
        buckets = zip([histo.min, *inner], [*inner, histo.max], histo.bucket, strict=False)
        # Writers put an empty bucket before the smallest value, which ends before it begins.
        return Histogram([each for each in buckets if each[0] < each[1] or each[2]])
    shape, numbers = _numbers(value, 2)
    if shape[1] != 3:
        raise BadContent(f"a tensor of shape {list(shape)}")
    return Histogram(list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)))


def _pr_curve(value: Any, _: bytes) -> Content:
    shape, numbers = _numbers(value, 2)
    if shape[0] != 6:
        raise BadContent(f"a tensor of shape {list(shape)}")
    return PrCurve(*(numbers[row * shape[1] : (row + 1) * shape[1]] for row in range(6)))


_MESH_PARTS = {1: "vertex", 2: "face", 3: "color"}


def _mesh(value: Any, plugin_content: bytes) -> Content:
    from tensorboard.plugins.mesh.plugin_data_pb2 import MeshPluginData

    data = MeshPluginData.FromString(plugin_content)
    shape, numbers = _numbers(value, 3)
    part = _MESH_PARTS.get(data.content_type, "")
    return Mesh(data.name, part, shape, numbers, data.json_config)


_GRAPH_FORMS = {
    "graph_run_metadata": "run_metadata",
    "graph_run_metadata_graph": "run_metadata",
    "graph_keras_model": "keras",
}


def _graph(value: Any, _: bytes) -> Content:
    (data,) = _strings(value)[1]
    plugin = value.metadata.plugin_data.plugin_name
    return Graph(_GRAPH_FORMS.get(plugin, "graph_def"), data)


def _event_graph(event: Any) -> Graph:
    what = event.WhichOneof("what")
    if what == "tagged_run_metadata":
        return Graph("run_metadata", event.tagged_run_metadata.run_metadata)
    return Graph(what, getattr(event, what))


_STATUSES = {1: "success", 2: "failure", 3: "running"}


def _hparams(_: Any, plugin_content: bytes) -> Content:
    return parse_hparams(plugin_content)


def parse_hparams(plugin_content: bytes) -> HParamsExperiment | HParamsStart | HParamsEnd:
    """Return what the plugin `hparams` states; raise `BadContent`."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    try:
        data = HParamsPluginData.FromString(plugin_content)
    except DecodeError as error:
        raise BadContent(f"these are no hparams: {error}") from error
    what = data.WhichOneof("data")
    if what == "session_start_info":
        start = data.session_start_info
        hparams = {name: _plain(value) for name, value in sorted(start.hparams.items())}
        return HParamsStart(hparams, start.group_name, start.start_time_secs)
    if what == "session_end_info":
        end = data.session_end_info
        return HParamsEnd(_STATUSES.get(end.status, "unknown"), end.end_time_secs)
    if what != "experiment":
        raise BadContent("neither an experiment nor a session")
    experiment = data.experiment
    return HParamsExperiment(
        {info.name: _domain(info) for info in experiment.hparam_infos},
        [(info.name.group, info.name.tag) for info in experiment.metric_infos],
        experiment.name,
        experiment.description,
    )


def _domain(info: Any) -> list[object] | tuple[float, float] | None:
    kind = info.WhichOneof("domain")
    if kind == "domain_discrete":
        return [_plain(value) for value in info.domain_discrete.values]
    if kind == "domain_interval":
        return info.domain_interval.min_value, info.domain_interval.max_value
    return None


def _plain(value: Any) -> object:
    """Return the number, text or truth value that a protobuf Value holds; None for others."""
    kind = value.WhichOneof("kind")
    return getattr(value, kind) if kind in ("number_value", "string_value", "bool_value") else None


def _layout(value: Any, _: bytes) -> Content:
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout as Proto

    (data,) = _strings(value)[1]
    return Layout(
        [
            (category.title, [_chart(chart) for chart in category.chart])
            for category in Proto.FromString(data).category
        ]
    )


def _chart(chart: Any) -> Chart:
    margins = [(each.value, each.lower, each.upper) for each in chart.margin.series]
    return Chart(chart.title, list(chart.multiline.tag), margins)


def _other(value: Any, plugin_content: bytes) -> Content:
    tensor = parse_tensor(value.tensor) if value.WhichOneof("value") == "tensor" else None
    return Other(tensor, plugin_content)


_PARSERS: dict[str, Callable[[Any, bytes], Content]] = {
    "image": _images,
    "audio": _audio,
    "text": _text,
    "histogram": _histogram,
    "pr_curve": _pr_curve,
    "mesh": _mesh,
    "graph": _graph,
    "hparams": _hparams,
    "layout": _layout,
}


# Embeddings ----------------------------------------------------------------------------------

#: The file that lists a directory's embeddings.
PROJECTOR_CONFIG = "projector_config.pbtxt"


@dataclass(slots=True)
class Embedding:
    """An entry of `projector_config.pbtxt`. Paths are as written, relative to that file."""

    name: str
    tensor_path: str = ""
    metadata_path: str = ""
    sprite_path: str = ""
    sprite_size: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    bookmarks_path: str = ""


def parse_projector_config(text: str) -> list[Embedding]:
    """Return the embeddings a `projector_config.pbtxt` lists; raise `BadContent`.

    Also while it is being rewritten, when it may be half there: the caller keeps what it had.
    """
    from google.protobuf import text_format  # type: ignore[import-untyped]
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    try:
        config = text_format.Parse(text, ProjectorConfig(), allow_unknown_field=True)
    except text_format.ParseError as error:
        raise BadContent(f"`{PROJECTOR_CONFIG}` cannot be read: {error}") from error
    return [_embedding(each) for each in config.embeddings]


def _embedding(each: Any) -> Embedding:
    sizes: Sequence[int] = each.sprite.single_image_dim
    return Embedding(
        each.tensor_name, each.tensor_path, each.metadata_path, each.sprite.image_path,
        tuple(sizes), tuple(each.tensor_shape), each.bookmarks_path,
    )  # fmt: skip
