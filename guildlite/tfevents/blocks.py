"""Whole blocks of scalar records at once, by NumPy; for catching up on large files.

A block is framed by its lengths alone. Its records are sorted by size, and those whose bytes
outside wall time, step and value are the bytes of a known template are decoded as columns, their
payload checksum included: CRC32C is linear, so it is the checksum of the template xor one table
entry for each byte that varies. The header, with its checksum, is part of the template. Where
nearly every record is of another tag, the tag is one more part that varies. Every other record,
and the first of each template, goes through the plain path in file order; the first one whose
framing is wrong ends the block there, whatever was found behind it.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import google_crc32c
import numpy as np

from guildlite.tfevents.columns import Batch, Columns, Reference
from guildlite.tfevents.event import ScalarValue, SessionStart, UnreadableEvent
from guildlite.tfevents.plain import add_values
from guildlite.tfevents.record import (
    FOOTER_BYTES,
    HEADER_BYTES,
    WRONG_CHECKSUM,
    BadFraming,
    masked_crc32c,
    payload_size,
)
from guildlite.tfevents.templates import (
    STEP_AT,
    STEP_KEY,
    SUMMARY_KEY,
    WALL_TIME_AT,
    WALL_TIME_KEY,
    Template,
    TemplateDecoder,
    decode_tag,
    parse_template,
)

_Array = Any  # numpy.ndarray; its type parameters would say nothing here

_FRAME_BYTES = HEADER_BYTES + FOOTER_BYTES
#: Payloads of other sizes are no scalars, or none worth columns.
_LEAST_PAYLOAD, _MOST_PAYLOAD = 20, 2000
#: Fewer records of one size than this are decoded one by one.
_LEAST_RECORDS = 16
#: Records in a block for each new template, on average, that make it worth keeping; with fewer the
#: tag is taken to vary.
_LEAST_REPEATS = 4
#: Records alike in size that turn out to be no scalars before the others are not tried.
_MOST_FAILURES = 8
#: Templates kept of one shape; tags beyond are decoded one by one.
_MOST_TEMPLATES = 200_000
#: Longest encoding of a step: 64 bits by seven.
_STEP_BYTES = 10

_CHECKSUM = struct.Struct("<I")
#: Odd multipliers, one for each eight bytes of a record, for the hash that tells templates apart.
_MULTIPLIERS = np.random.default_rng(1).integers(
    1, 2**63, (_MOST_PAYLOAD + _FRAME_BYTES) // 8 + 2, np.uint64
) | np.uint64(1)


class BlockDecoder:
    """Decodes blocks of one file, in order; `decoder` decodes what is not columns."""

    def __init__(self, decoder: TemplateDecoder) -> None:
        self._decoder = decoder
        self._shapes: dict[tuple[int, int], list[_Shape]] = {}

    def decode(self, block: bytes, offset: int, starts: Sequence[int]) -> tuple[Batch, int]:
        """Return what the complete records of `block` give, and the offset behind them.

        `block` begins with the record at `offset` of the file; `starts` is its `frame`.
        """
        plugins = dict(self._decoder.plugins)
        try:
            return self._decode(block, offset, starts, columns=True)
        except _Contradiction:
            self._shapes.clear()
            self._decoder.restore(plugins)
            return self._decode(block, offset, starts, columns=False)

    def _decode(
        self, block: bytes, offset: int, starts: Sequence[int], *, columns: bool
    ) -> tuple[Batch, int]:
        count = len(starts) - 1
        fast = _Fast(self._decoder.plugins, self._shapes, block, starts) if columns else None
        slow = _Slow(block, offset, self._decoder)
        for index in range(count) if fast is None else fast.rest():
            if not slow.take(index, starts[index]):
                count = index
                break
        if fast is not None:
            if not fast.confirm(slow, count):
                self._shapes.clear()
            fast.merge(slow, count)
        return slow.batch, offset + starts[count]


class _Contradiction(Exception):
    """A record decoded by itself is not what its template promised."""


class _Slow:
    """Decodes single records of a block, in order, and remembers which record gave what."""

    def __init__(self, block: bytes, offset: int, decoder: TemplateDecoder) -> None:
        self._block, self._offset, self._decoder = block, offset, decoder
        self.batch = Batch()
        #: Tag → numbers of the records that gave its scalars.
        self.records: dict[str, list[int]] = {}
        #: Session starts that the block begins with.
        self._starts = 0

    def take(self, index: int, start: int) -> bool:
        """Decode record `index`, which begins at `start`; False if the block ends before it.

        It does where the framing is damaged, and where a session begins behind other records.
        """
        body = start + HEADER_BYTES
        try:
            end = body + payload_size(self._block[start:body], self._offset + start)
        except BadFraming as error:
            self.batch.framing = error
            return False
        payload = self._block[body:end]
        checksum = masked_crc32c(payload)
        if checksum != _CHECKSUM.unpack_from(self._block, end)[0]:
            self.batch.skip(self._offset + start, WRONG_CHECKSUM)
            return True
        try:
            values = self._decoder.decode(payload)
        except UnreadableEvent as error:
            self.batch.skip(self._offset + start, error.message)
            return True
        if values and isinstance(values[0], SessionStart):
            if index != self._starts:
                return False
            self._starts += 1
            self.batch.restart_at(values[0].step)
        record = Reference(self._offset + start, len(payload), checksum, 0)
        add_values(self.batch, values, record)
        for value in values:
            if isinstance(value, ScalarValue):
                self.records.setdefault(value.tag, []).append(index)
        return True


class _Shape:
    """The templates of one payload size, step width and place of the value.

    If `open`, they are for any tag of the same length; it lies at `tag_at` up to `tag_end`.
    """

    def __init__(self, size: int, template: Template, *, open: bool) -> None:
        self.size, self.open = size, open
        self.format = template.format
        self.gap = gap_of(template, open=open)
        self._tag_at, self._tag_end = (
            HEADER_BYTES + template.rest_at + at for at in (template.tag_at, template.tag_end)
        )
        self._value_at = HEADER_BYTES + template.rest_at + template.value_at
        self._value_end = self._value_at + struct.calcsize(template.format)
        wall_time, step = HEADER_BYTES + WALL_TIME_AT, HEADER_BYTES + STEP_AT
        self._steps = range(step, HEADER_BYTES + template.rest_at)
        varying = [
            *range(wall_time, wall_time + 8),
            *self._steps,
            *(range(self._tag_at, self._tag_end) if open else ()),
            *range(self._value_at, self._value_end),
        ]
        mask: _Array = np.zeros(record_bytes(size), np.uint8)
        mask[: HEADER_BYTES + size] = 0xFF
        mask[varying] = 0
        self._mask = mask.view("<u8")
        self._varying = np.array(varying)
        self._tables = _crc_tables(size)[size - 1 + HEADER_BYTES - self._varying].ravel()
        self._hashes = np.empty(0, np.uint64)
        self._ids = np.empty(0, np.intp)
        self._images = np.empty((0, len(self._mask)), np.uint64)
        self._crcs = np.empty(0, np.uint32)
        self.templates: list[Template] = []

    def masked(self, rows: _Array) -> tuple[_Array, _Array]:
        """Return what of each record belongs to its template, and a hash of that."""
        words = rows.view("<u8") & self._mask
        return words, (words * _MULTIPLIERS[: words.shape[1]]).sum(axis=1, dtype=np.uint64)

    def find(self, words: _Array, hashes: _Array) -> _Array:
        """Return the number of each record's template, -1 where there is none."""
        if not self.templates:
            return np.full(len(words), -1)
        places: _Array = np.searchsorted(self._hashes, hashes)
        places[places == len(self._hashes)] = 0
        ids: _Array = self._ids[places]
        ids[(self._images[ids] != words).any(axis=1)] = -1
        return ids

    def add(
        self, words: _Array, hashes: _Array, rows: _Array, templates: Sequence[Template]
    ) -> None:
        """Add templates, each with the record it was learnt from."""
        rows = rows[:, HEADER_BYTES : HEADER_BYTES + self.size].copy()
        rows[:, self._varying - HEADER_BYTES] = 0
        crcs = [google_crc32c.value(row.tobytes()) for row in rows]
        self._images = np.concatenate([self._images, words])
        self._crcs = np.concatenate([self._crcs, np.array(crcs, np.uint32)])
        ids = np.concatenate([self._ids, np.arange(len(templates)) + len(self.templates)])
        hashes = np.concatenate([self._hashes, hashes])
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._ids = hashes[order], ids[order]
        self.templates += templates

    def tags(self, rows: _Array) -> _Array:
        """Return the bytes of each record's tag."""
        return _column(rows, self._tag_at, self._tag_end, f"S{self._tag_end - self._tag_at}")

    def sound(self, rows: _Array, ids: _Array) -> _Array:
        """Return whether each record's payload has the checksum it states."""
        entries = rows[:, self._varying] + np.arange(0, len(self._tables), 256, dtype=np.intp)
        crc = self._crcs[ids] ^ np.bitwise_xor.reduce(self._tables[entries], axis=1)
        masked = (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(0xA282EAD8)
        end = HEADER_BYTES + self.size
        return masked == _column(rows, end, end + FOOTER_BYTES, "<u4")

    def columns(self, rows: _Array) -> tuple[_Array, _Array, _Array]:
        """Return steps, wall times and values."""
        steps = np.zeros(len(rows), np.uint64)
        for number, at in enumerate(self._steps):
            steps |= (rows[:, at] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * number)
        wall_time = HEADER_BYTES + WALL_TIME_AT
        values = _column(rows, self._value_at, self._value_end, self.format)
        with np.errstate(invalid="ignore"):  # a signalling NaN is no warning
            numbers = values.astype(np.float64)
        return steps.view(np.int64), _column(rows, wall_time, wall_time + 8, "<f8"), numbers


def record_bytes(size: int) -> int:
    """Return the bytes of a record, up to a multiple of eight."""
    return (size + _FRAME_BYTES + 7) // 8 * 8


def _column(rows: _Array, start: int, end: int, format: str) -> _Array:
    """Return the numbers that lie at one place of each record."""
    kind = np.dtype(_NUMPY_TYPES.get(format, format))
    return np.ascontiguousarray(rows[:, start:end]).view(kind)[:, 0]


#: The struct formats of `templates` in NumPy's words.
_NUMPY_TYPES = {
    "<f": "<f4", "<d": "<f8", "<e": "<f2", "<b": "i1", "<B": "u1", "<h": "<i2", "<H": "<u2",
    "<i": "<i4", "<I": "<u4", "<q": "<i8", "<Q": "<u8",
}  # fmt: skip


def _crc_tables(size: int) -> _Array:
    """Return, by distance from the end, what each byte adds to the CRC32C of `size` bytes."""
    return _crc_tables_of((size + 255) // 256 * 256)


@lru_cache(maxsize=8)
def _crc_tables_of(size: int) -> _Array:
    tables: _Array = np.empty((size, 256), np.uint32)
    table: _Array = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    tables[0] = table
    for distance in range(1, size):
        before = tables[distance - 1]
        tables[distance] = (before >> 8) ^ table[before & 0xFF]
    return tables


class _Fast:
    """The records of a block that match templates, as columns."""

    def __init__(
        self,
        plugins: dict[str, str],
        shapes: dict[tuple[int, int], list[_Shape]],
        block: bytes,
        starts: Sequence[int],
    ) -> None:
        self._plugins, self._shapes = plugins, shapes
        #: Padded so that the last record may be read in words of eight bytes.
        self._block = block + bytes(8)
        self._starts = np.array(starts, np.int64)
        count = len(starts) - 1
        #: Number of a tag in `_tags` for each record that is decoded here, else -1.
        self._tag_of = np.full(count, -1, np.int32)
        self._numbers: dict[str, int] = {}
        self._steps = np.zeros(count, np.int64)
        self._wall_times = np.zeros(count)
        self._values = np.zeros(count)
        #: Tag → the first record with a template that relies on what that record states.
        self._claims: list[tuple[str, int]] = []
        #: The same of templates for any tag. These records are decoded here.
        self._open_claims: list[tuple[str, int]] = []
        #: The records templates were learnt from, which must prove themselves.
        self._firsts: list[int] = []
        self._sort(np.diff(self._starts) - _FRAME_BYTES)
        self._tag_of[self._firsts] = -1

    def rest(self) -> list[int]:
        """Return the records that must be decoded one by one."""
        rest: list[int] = np.flatnonzero(self._tag_of < 0).tolist()
        return rest

    def confirm(self, slow: _Slow, count: int) -> bool:
        """Raise `_Contradiction` if a template is not for scalars after all.

        Return whether all are proven; those learnt behind the first `count` records are not.
        """
        for tag, record in self._claims:
            if record < count and record not in slow.records.get(tag, ()):
                raise _Contradiction
        self._confirm_open(slow, count)
        return all(record < count for record in self._firsts)

    def _confirm_open(self, slow: _Slow, count: int) -> None:
        """State the plugins of tags never seen before; the other records must agree."""
        claims = {tag for tag, record in self._open_claims if record < count}
        if not claims.isdisjoint(value.tag for value in slow.batch.others):
            raise _Contradiction
        for tag in claims:
            if self._plugins.setdefault(tag, "scalars") != "scalars":
                raise _Contradiction

    def merge(self, slow: _Slow, count: int) -> None:
        """Add the scalars of the first `count` records to the batch, in order within each tag."""
        tag_of = self._tag_of[:count]
        if len(self._numbers) < 2**15:
            tag_of = tag_of.astype(np.int16)  # which is sorted several times faster
        order = np.argsort(tag_of, kind="stable")
        order = order[np.searchsorted(tag_of[order], 0) :]
        bounds = np.searchsorted(tag_of[order], np.arange(len(self._numbers) + 1)).tolist()
        # Sliced as arrays of the standard library: NumPy takes microseconds for each small piece,
        # which a hundred thousand tags would feel.
        steps = array("q", self._steps[order].tobytes())
        wall_times = array("d", self._wall_times[order].tobytes())
        values = array("d", self._values[order].tobytes())
        records = order.tolist()
        found: list[tuple[int, str, Columns]] = []
        slowly = slow.batch.columns
        for tag, start, end in zip(self._numbers, bounds, bounds[1:], strict=False):
            if start == end:
                continue
            columns = Columns(steps[start:end], wall_times[start:end], values[start:end])
            first = records[start]
            if tag in slowly:
                columns = _joined(slowly.pop(tag), slow.records[tag], columns, records[start:end])
                first = min(first, slow.records[tag][0])
            found.append((first, tag, columns))
        found += [(slow.records[tag][0], tag, each) for tag, each in slow.batch.columns.items()]
        found.sort(key=lambda each: each[0])
        slow.batch.columns = {tag: columns for _, tag, columns in found}
        slow.batch.points += len(order)

    # Sorting records by template ------------------------------------------------------------

    def _sort(self, sizes: _Array) -> None:
        if not len(sizes):
            return
        order = np.argsort(sizes, kind="stable")
        distinct, firsts = np.unique(sizes[order], return_index=True)
        for size, records in zip(distinct.tolist(), np.split(order, firsts[1:]), strict=True):
            if _LEAST_PAYLOAD <= size <= _MOST_PAYLOAD and len(records) >= _LEAST_RECORDS:
                self._sort_size(size, records)

    def _sort_size(self, size: int, records: _Array) -> None:
        width = record_bytes(size)
        places = len(self._block) - width + 1
        windows = np.ndarray((places,), f"V{width}", self._block, strides=(1,))
        rows = windows[self._starts[records]].view(np.uint8).reshape(-1, width)
        widths = _step_widths(rows)
        for step_width in np.unique(widths).tolist():
            if step_width < 0:
                continue
            here = widths == step_width
            everything = bool(here.all())
            self._sort_alike(
                self._shapes.setdefault((size, step_width), []),
                size,
                rows if everything else rows[here],
                records if everything else records[here],
            )

    def _sort_alike(self, shapes: list[_Shape], size: int, rows: _Array, records: _Array) -> None:
        """Take the records of one size and step width that match a template, known or new."""
        for known in shapes:
            rows, records = self._take(known, rows, records)
        open = False
        failures = 0
        while len(rows) and failures < _MOST_FAILURES:
            template = self._parse(size, rows[0])
            if template is None:
                failures += 1
                rows, records = rows[1:], records[1:]
                continue
            gap = gap_of(template, open=open)
            shape = next((each for each in shapes if each.gap == gap), None)
            if shape is None:
                shape = _Shape(size, template, open=open)
            if not self._learn(shape, rows, records):
                if open or template.tag_at == template.tag_end:
                    return
                open = True
                continue
            if shape not in shapes:
                shapes.append(shape)
            before = len(rows)
            rows, records = self._take(shape, rows, records)
            if len(rows) == before:  # two templates of one hash, or as many as are kept
                failures += 1
                rows, records = rows[1:], records[1:]

    def _parse(self, size: int, row: _Array) -> Template | None:
        """Return the template of a record if its values are scalars."""
        template = parse_template(row[HEADER_BYTES : HEADER_BYTES + size].tobytes())
        if template is None or template.simple:
            return template
        plugin = self._plugins.get(template.tag, template.plugin)
        return template if plugin == "scalars" else None

    def _learn(self, shape: _Shape, rows: _Array, records: _Array) -> bool:
        """Add the templates of these records that have their value where `shape` has it.

        False, and none added, if so many differ that one by one is faster.
        """
        words, hashes = shape.masked(rows)
        _, firsts = np.unique(hashes, return_index=True)
        if len(firsts) * _LEAST_REPEATS > len(rows):
            return False
        kept, templates = [], []
        for first in np.sort(firsts)[: _MOST_TEMPLATES - len(shape.templates)].tolist():
            template = self._parse(shape.size, rows[first])
            if template is None or gap_of(template, open=shape.open) != shape.gap:
                continue
            if shape.open and not _is_framed(rows[first]):
                continue
            kept.append(first)
            templates.append(template)
            if shape.open:
                continue
            self._firsts.append(int(records[first]))
            if not template.simple and template.tag not in self._plugins:
                self._claims.append((template.tag, int(records[first])))
        shape.add(words[kept], hashes[kept], rows[kept], templates)
        return True

    def _take(self, shape: _Shape, rows: _Array, records: _Array) -> tuple[_Array, _Array]:
        """Decode the records with a template of `shape`; return the others."""
        ids = shape.find(*shape.masked(rows))
        known = ids >= 0
        if not known.any():
            return rows, records
        others = rows[~known], records[~known]
        if not known.all():
            rows, records, ids = rows[known], records[known], ids[known]
        sound = shape.sound(rows, ids)
        if not sound.all():
            rows, records, ids = rows[sound], records[sound], ids[sound]
        self._tag_of[records] = self._numbered(shape, rows, records, ids)
        self._steps[records], self._wall_times[records], self._values[records] = shape.columns(rows)
        return others

    def _numbered(self, shape: _Shape, rows: _Array, records: _Array, ids: _Array) -> _Array:
        """Return the number of each record's tag, -1 where it must be decoded by itself."""
        numbers = np.full(len(shape.templates), -1, np.int32)
        used = np.flatnonzero(np.bincount(ids)).tolist()
        if not shape.open:
            for each in used:
                numbers[each] = self._number(shape.templates[each].tag)
            return numbers[ids]
        found = np.full(len(rows), -1, np.int32)
        for each in used:
            here = np.flatnonzero(ids == each)
            texts, firsts, places = np.unique(
                shape.tags(rows[here]), return_index=True, return_inverse=True
            )
            template, firsts = shape.templates[each], records[here[firsts]]
            size = template.tag_end - template.tag_at
            numbers = np.array(
                [
                    self._number_of(text.ljust(size, b"\0"), template, first)
                    for text, first in zip(texts.tolist(), firsts.tolist(), strict=True)
                ],
                np.int32,
            )
            found[here] = numbers[places]
        return found

    def _number(self, tag: str) -> int:
        return self._numbers.setdefault(tag, len(self._numbers))

    def _number_of(self, text: bytes, template: Template, first: int) -> int:
        """Return the number of a tag that `template` was not made for, -1 if it is not for it."""
        tag = decode_tag(text)
        if not template.simple:
            if self._plugins.get(tag, template.plugin) != "scalars":
                return -1
            if tag not in self._plugins:
                self._open_claims.append((tag, first))
        return self._number(tag)


def _is_framed(row: _Array) -> bool:
    """Tell whether a record's header has the checksum it states."""
    try:
        payload_size(row[:HEADER_BYTES].tobytes())
    except BadFraming:
        return False
    return True


def _joined(
    one: Columns, one_records: list[int], other: Columns, other_records: list[int]
) -> Columns:
    """Return the scalars of both in order of their records."""
    if not other_records or one_records[-1] < other_records[0]:  # as where a tag begins
        return Columns(
            one.steps + other.steps, one.wall_times + other.wall_times, one.values + other.values
        )
    order = np.argsort(np.array(one_records + other_records), kind="stable")
    steps, wall_times, values = (
        np.concatenate(pair)[order].tobytes()
        for pair in (
            (one.steps, other.steps),
            (one.wall_times, other.wall_times),
            (one.values, other.values),
        )
    )
    return Columns(array("q", steps), array("d", wall_times), array("d", values))


def gap_of(template: Template, *, open: bool) -> tuple[object, ...]:
    """Return where the value of a template lies, and if `open` where the tag does."""
    tag = (template.tag_at, template.tag_end) if open else ()
    return template.rest_at, template.value_at, template.format, *tag


def _step_widths(rows: _Array) -> _Array:
    """Return how many bytes each record's step takes, -1 where a record begins unlike a scalar."""
    step = HEADER_BYTES + STEP_AT
    begins = rows[:, HEADER_BYTES] == WALL_TIME_KEY
    widths = np.where(begins & (rows[:, step - 1] == SUMMARY_KEY), 0, -1).astype(np.int8)
    more = begins & (rows[:, step - 1] == STEP_KEY)
    widths[more] = 1
    for number in range(_STEP_BYTES):
        more = more & (rows[:, step + number] >= 0x80)
        if not more.any():
            return widths
        widths[more] += 1
    widths[widths > _STEP_BYTES] = -1
    # A negative step ends in 1; other ten-byte numbers are left to protobuf.
    widths[(widths == _STEP_BYTES) & (rows[:, step + _STEP_BYTES - 1] != 1)] = -1
    return widths
