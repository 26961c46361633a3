"""Scalar records recognised by their bytes: no protobuf, and exact.

Records of one writer repeat byte for byte but for wall time, step, tag and value. The first of them
is walked field by field (`parse_template`) and leaves a `Template`: where tag and value lie, and
all other bytes. A later record with the same bytes around the same gaps must parse the same way,
so only the gaps are read. Whatever does not match, and whatever the walk does not expect, goes to
protobuf.

The walk is strict rather than complete: fields known and in order, each once, text valid, lengths
exact. An `Event` it accepts is one for which protobuf gives the same scalar; the tag alone may be
text that is not UTF-8, which comes out as `repair` spells it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from guildlite.tfevents.event import (
    DATA_CLASS_SCALAR,
    EventDecoder,
    ScalarValue,
    Value,
    content_format,
)

#: An event begins with its wall time, 9 bytes; then comes the step, or at step 0 the summary.
WALL_TIME_KEY, STEP_KEY, VERSION_KEY, SUMMARY_KEY = 0x09, 0x10, 0x1A, 0x2A
WALL_TIME_AT = 1
STEP_AT = 10
#: Templates kept at most. A file with more than this, as where each tag has a description of its
#: own, is read at the pace of protobuf.
MOST_TEMPLATES = 200_000

_WALL_TIME = struct.Struct("<d")


class Template(NamedTuple):
    """A scalar's record but for its wall time, step, tag and value.

    `rest_at` is the offset in the payload of what follows wall time and step. Behind that, the tag
    is at `tag_at` up to `tag_end`, the value at `value_at`, of struct format `format`. `plugin` is
    what the record states, if anything, and `simple` says that the value is a number whatever the
    plugin.
    """

    tag: str
    rest_at: int
    tag_at: int
    tag_end: int
    value_at: int
    format: str
    plugin: str
    simple: bool


class _Unexpected(Exception):
    """The walk met something it leaves to protobuf."""


def step_of(payload: bytes) -> tuple[int, int] | None:
    """Return an event's step and the offset behind it; None if it does not begin as scalars do."""
    if len(payload) < 12 or payload[0] != WALL_TIME_KEY:
        return None
    if payload[9] == SUMMARY_KEY:
        return 0, 9
    if payload[9] != STEP_KEY:
        return None
    step = payload[10]
    if step < 0x80:
        return step, 11
    step, shift, at = step & 0x7F, 7, 11
    while at < len(payload):
        byte = payload[at]
        step |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
        if shift > 63:
            return None
    else:
        return None
    if shift == 70:  # ten bytes: a negative number, whose last byte is 1
        return (step - 2**64, at) if byte == 1 else None
    return step, at


def parse_template(payload: bytes) -> Template | None:
    """Return the template of a payload that is one scalar and nothing else, else None."""
    found = step_of(payload)
    if found is None:
        return None
    try:
        return _walk_event(payload, found[1])
    except (_Unexpected, UnicodeDecodeError, IndexError):
        return None


def _is_version(payload: bytes) -> bool:
    """Tell whether the payload is the record that every file begins with."""
    if len(payload) < 11 or payload[9] != VERSION_KEY or payload[0] != WALL_TIME_KEY:
        return False
    text = payload[11:]
    return len(text) < 0x80 and payload[10] == len(text) and text.isascii()


def decode_tag(text: bytes) -> str:
    """Return a tag's bytes as text, each that is not UTF-8 as in `\\xff`."""
    return text.decode("utf-8", "backslashreplace")


# The walk ------------------------------------------------------------------------------------

#: A field: its key (number and wire type), where its content begins and ends, its integer.
_Field = tuple[int, int, int, int]


def _walk_event(payload: bytes, rest_at: int) -> Template:
    at = rest_at
    for key in (SUMMARY_KEY, 0x0A):  # Event.summary, Summary.value: each alone and to the end
        if payload[at] != key:
            raise _Unexpected
        size, at = _varint(payload, at + 1)
        if at + size != len(payload):
            raise _Unexpected
    tag_at = tag_end = rest_at
    plugin, value = "", None
    for key, start, end, _ in _fields(payload, at, len(payload), (0x0A, 0x15, 0x42, 0x4A)):
        if key == 0x0A:
            tag_at, tag_end = start, end
        elif key == 0x4A:
            plugin = _stated_plugin(payload, start, end)
        elif value is not None:
            raise _Unexpected
        elif key == 0x15:
            value = (start, "<f", True)
        else:
            value = (*_tensor_value(payload, start, end), False)
    if value is None:
        raise _Unexpected
    value_at, format, simple = value
    tag = decode_tag(payload[tag_at:tag_end])
    tag_at, tag_end, value_at = tag_at - rest_at, tag_end - rest_at, value_at - rest_at
    return Template(tag, rest_at, tag_at, tag_end, value_at, format, plugin, simple)


def _tensor_value(payload: bytes, start: int, end: int) -> tuple[int, str]:
    """Return where the one number of a rank-0 TensorProto lies, and its format."""
    fields = list(_fields(payload, start, end, (0x08, 0x12, 0x22, 0x2A, 0x32)))
    if len(fields) < 2 or fields[0][0] != 0x08:
        raise _Unexpected
    if any(key != 0x12 or at != behind for key, at, behind, _ in fields[1:-1]):
        raise _Unexpected  # a shape with dimensions, or two values
    dtype, (key, at, behind, _) = fields[0][3], fields[-1]
    format = {
        0x22: content_format(dtype),
        0x2A: "<f" if dtype == 1 else None,
        0x32: "<d" if dtype == 2 else None,
    }.get(key)
    if format is None or struct.calcsize(format) != behind - at:
        raise _Unexpected
    return at, format


def _stated_plugin(payload: bytes, start: int, end: int) -> str:
    """Return the plugin a SummaryMetadata names, as `EventDecoder` would."""
    plugin, data_class = "", 0
    for key, at, behind, number in _fields(payload, start, end, (0x0A, 0x12, 0x1A, 0x20)):
        if key == 0x0A:
            plugin = _plugin_name(payload, at, behind)
        elif key == 0x20:
            data_class = number
        else:
            payload[at:behind].decode()  # must be text
    return "scalars" if data_class == DATA_CLASS_SCALAR else plugin


def _plugin_name(payload: bytes, start: int, end: int) -> str:
    name = ""
    for key, at, behind, _ in _fields(payload, start, end, (0x0A, 0x12)):
        if key == 0x0A:
            name = payload[at:behind].decode()
    return name


def _fields(payload: bytes, at: int, end: int, keys: tuple[int, ...]) -> Iterator[_Field]:
    """Yield a message's fields, which must be of `keys` and in order, each at most once."""
    last = 0
    while at < end:
        key = payload[at]
        if key <= last or key not in keys:
            raise _Unexpected
        last, number = key, 0
        wire_type = key & 7
        if wire_type == 5:
            start, at = at + 1, at + 5
        elif wire_type == 2:
            size, start = _varint(payload, at + 1)
            at = start + size
        else:
            start = at + 1
            number, at = _varint(payload, start)
        if at > end:
            raise _Unexpected
        yield key, start, at, number


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    """Return a small unsigned integer and the offset behind it."""
    number = shift = 0
    while True:
        byte = payload[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
        if shift > 28:
            raise _Unexpected


# Decoding ------------------------------------------------------------------------------------


class _Gaps(NamedTuple):
    """The templates that have tag and value in the same places, by the bytes around those."""

    tag_at: int
    tag_end: int
    value_at: int
    value_end: int
    number: struct.Struct
    templates: dict[bytes, Template]


class TemplateDecoder:
    """Decodes the records of one file, in order, exactly as `EventDecoder` does.

    `plugins` is as there. protobuf is imported only when a record needs it.
    """

    def __init__(self, plugins: dict[str, str] | None = None) -> None:
        self._decoder = EventDecoder(plugins)
        self.plugins = self._decoder.plugins
        #: By the number of bytes behind the step.
        self._gaps: dict[int, list[_Gaps]] = {}
        self._count = 0

    def decode(self, payload: bytes) -> list[Value]:
        """Return the values of one record; raise `UnreadableEvent`."""
        found = step_of(payload)
        if found is not None:
            step, at = found
            rest = payload[at:]
            for tag_at, tag_end, value_at, end, number, templates in self._gaps.get(len(rest), ()):
                template = templates.get(rest[:tag_at] + rest[tag_end:value_at] + rest[end:])
                if template is not None:
                    tag = self._tag(rest[tag_at:tag_end], template)
                    if tag is None:
                        break
                    (wall_time,) = _WALL_TIME.unpack_from(payload, WALL_TIME_AT)
                    value = float(number.unpack_from(rest, value_at)[0])
                    return [ScalarValue(tag, step, wall_time, value)]
            else:
                if self._learn(payload):
                    return self.decode(payload)
        elif _is_version(payload):
            return []
        return self._decoder.decode(payload)

    def restore(self, plugins: dict[str, str]) -> None:
        """Go back to what was known when `plugins` was all that records had stated."""
        self.plugins.clear()
        self.plugins.update(plugins)

    def _tag(self, text: bytes, template: Template) -> str | None:
        """Return the tag if its values of this form are scalars, by what is known by now."""
        tag = decode_tag(text)
        if template.simple:
            return tag
        known = self.plugins.get(tag)
        if known is None and template.plugin == "scalars":
            self.plugins[tag] = known = "scalars"
        return tag if known == "scalars" else None

    def _learn(self, payload: bytes) -> bool:
        """Keep the template of a scalar; False if the payload is not one."""
        template = parse_template(payload)
        if template is None or self._count >= MOST_TEMPLATES:
            return False
        rest = payload[template.rest_at :]
        _, _, tag_at, tag_end, value_at, format, _, _ = template
        number = struct.Struct(format)
        end = value_at + number.size
        around = rest[:tag_at] + rest[tag_end:value_at] + rest[end:]
        self._templates(len(rest), (tag_at, tag_end, value_at, end), number)[around] = template
        self._count += 1
        return True

    def _templates(
        self, size: int, places: tuple[int, int, int, int], number: struct.Struct
    ) -> dict[bytes, Template]:
        alike = self._gaps.setdefault(size, [])
        for gaps in alike:
            if (gaps[:4], gaps.number.format) == (places, number.format):
                return gaps.templates
        alike.append(_Gaps(*places, number, {}))
        return alike[-1].templates
