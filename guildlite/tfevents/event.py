"""From a record's bytes to typed values.

Scalars come in two forms: `simple_value`, and a tensor of one element whose tag belongs to the
plugin `scalars` (or has the data class scalar). Writers may state a tag's plugin on its first value
only, so the decoder remembers it; `EventDecoder.plugins` is that memory, and whoever resumes a
file hands it on.

A tag that is not UTF-8 is kept, its odd bytes spelt out: see `repair`. protobuf is imported with
the first record decoded. NumPy is not used.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from guildlite.errors import GuildliteError
from guildlite.tfevents.repair import repair_event


class ScalarValue(NamedTuple):
    """One number. `wall_time` is in seconds since the epoch, as written."""

    tag: str
    step: int
    wall_time: float
    value: float


class OtherValue(NamedTuple):
    """Something that is not a number over time.

    `plugin` is what the writer named, or empty; `kind` is one of image, audio, text, histogram,
    pr_curve, mesh, graph, embedding, hparams, layout, other. `nth` says which value of its record
    it is. `states` tells that it brings its tag's plugin data, which later values may leave out.
    `stated` is the serialised SummaryMetadata of the first value of its tag that has one, and of
    every hparams value, whose content it is; see `contents.parse_metadata`.
    """

    tag: str
    plugin: str
    kind: str
    step: int = 0
    wall_time: float = 0.0
    nth: int = 0
    states: bool = False
    stated: bytes = b""


class SessionStart(NamedTuple):
    """The mark of a session that begins, or begins again, at `step`: what was written of that step
    and later ones, in this file and before the mark, is written anew."""

    step: int


Value = ScalarValue | OtherValue | SessionStart


class UnreadableEvent(GuildliteError):
    """The record is framed well but is not an event; skip it."""


#: What each plugin's values are.
_KINDS = {
    "images": "image",
    "audio": "audio",
    "text": "text",
    "histograms": "histogram",
    "distributions": "histogram",
    "pr_curves": "pr_curve",
    "mesh": "mesh",
    "graphs": "graph",
    "graph_run_metadata": "graph",
    "graph_run_metadata_graph": "graph",
    "graph_keras_model": "graph",
    "projector": "embedding",
    "hparams": "hparams",
    "custom_scalars": "layout",
}
#: Values from before plugins say what they are by their field.
_FIELD_PLUGINS = {"image": "images", "audio": "audio", "histo": "histograms"}
_GRAPH_FIELDS = {"graph_def", "meta_graph_def", "tagged_run_metadata"}

DATA_CLASS_SCALAR = 1
_SESSION_START = 1


class EventDecoder:
    """Decodes the records of one file, in order.

    `plugins` maps tag to plugin as learnt from values that stated it; pass the mapping of an
    earlier decoder to continue its file.
    """

    def __init__(self, plugins: dict[str, str] | None = None) -> None:
        self.plugins = dict(plugins or {})
        self._parse: Callable[[bytes], Any] | None = None

    def decode(self, payload: bytes) -> list[Value]:
        """Return the values of one record; raise `UnreadableEvent`.

        The first record, the file's version, gives no values. A `SessionStart` comes alone.
        """
        event = self.parse(payload)
        what = event.WhichOneof("what")
        if what == "summary":
            step, wall_time = event.step, event.wall_time
            return [
                self._value(value, step, wall_time, index)
                for index, value in enumerate(event.summary.value)
            ]
        if what in _GRAPH_FIELDS:
            tag = event.tagged_run_metadata.tag if what == "tagged_run_metadata" else ""
            return [OtherValue(tag, "graphs", "graph", event.step, event.wall_time)]
        if what == "session_log" and event.session_log.status == _SESSION_START:
            return [SessionStart(event.step)]
        return []

    def parse(self, payload: bytes) -> Any:
        """Return the record as TensorBoard's `Event` message; raise `UnreadableEvent`."""
        if self._parse is None:
            # 35 ms and 10 MB, which a script without event files need not pay.
            from tensorboard.compat.proto.event_pb2 import Event

            self._parse = Event.FromString
        try:
            return self._parse(payload)
        except Exception as error:  # DecodeError; the pure-Python parser raises others as well
            repaired = repair_event(payload)
            if repaired is None:
                raise UnreadableEvent(f"not an event: {error}") from error
        try:
            return self._parse(repaired)
        except Exception as error:
            raise UnreadableEvent(f"not an event: {error}") from error

    def _value(
        self, value: Any, step: int, wall_time: float, index: int
    ) -> ScalarValue | OtherValue:
        field = value.WhichOneof("value")
        tag = value.tag
        if field == "simple_value":
            return ScalarValue(tag, step, wall_time, value.simple_value)
        is_known = tag in self.plugins
        plugin = self._plugin(tag, value) or _FIELD_PLUGINS.get(field, "")
        if plugin == "scalars" and field == "tensor":
            number = tensor_number(value.tensor)
            if number is not None:
                return ScalarValue(tag, step, wall_time, number)
        kind = _KINDS.get(plugin, "other")
        states, stated = False, b""
        if value.HasField("metadata"):
            states = bool(value.metadata.plugin_data.content)
            if not is_known or kind == "hparams":
                stated = value.metadata.SerializeToString()
        return OtherValue(tag, plugin, kind, step, wall_time, index, states, stated)

    def _plugin(self, tag: str, value: Any) -> str:
        """Return the tag's plugin: as first stated, which is how TensorBoard reads it."""
        known = self.plugins.get(tag)
        if known is not None or not value.HasField("metadata"):
            return known or ""
        metadata = value.metadata
        scalar = metadata.data_class == DATA_CLASS_SCALAR
        plugin = "scalars" if scalar else str(metadata.plugin_data.plugin_name)
        if plugin:
            self.plugins[tag] = plugin
        return plugin


class _Type(NamedTuple):
    """How one number of a tensor type is stored: packed in tensor_content, or in a field."""

    format: str
    field: str


#: How numbers are stored, by TensorBoard's DataType numbers.
TENSOR_TYPES = {
    1: _Type("<f", "float_val"),
    2: _Type("<d", "double_val"),
    3: _Type("<i", "int_val"),
    4: _Type("<B", "int_val"),
    5: _Type("<h", "int_val"),
    6: _Type("<b", "int_val"),
    9: _Type("<q", "int64_val"),
    10: _Type("<?", "bool_val"),
    14: _Type("bfloat16", "half_val"),
    17: _Type("<H", "int_val"),
    19: _Type("<e", "half_val"),
    22: _Type("<I", "uint32_val"),
    23: _Type("<Q", "uint64_val"),
}


def content_format(dtype: int) -> str | None:
    """Return the struct format of one number of that type in `tensor_content`, if it has one."""
    kind = TENSOR_TYPES.get(dtype)
    return None if kind is None or kind.format in ("bfloat16", "<?") else kind.format


def tensor_number(tensor: Any) -> float | None:
    """Return the number a TensorProto of one element holds, or None if it is not such a tensor.

    A tensor with neither content nor values holds zero: that is how TensorFlow reads it.
    """
    kind = TENSOR_TYPES.get(tensor.dtype)
    if kind is None or any(dim.size != 1 for dim in tensor.tensor_shape.dim):
        return None
    content = tensor.tensor_content
    if content:
        return _unpack(kind.format, content)
    values = getattr(tensor, kind.field)
    if len(values) > 1:
        return None
    if not values:
        return 0.0
    if kind.field == "half_val":  # the 16 bits of the number, as an integer
        return _unpack(kind.format, (values[0] & 0xFFFF).to_bytes(2, "little"))
    return float(values[0])


def _unpack(format: str, content: bytes) -> float | None:
    if format == "bfloat16":  # the upper half of a float32
        format, content = "<f", b"\0\0" + content
    if len(content) != struct.calcsize(format):
        return None
    return float(struct.unpack(format, content)[0])
