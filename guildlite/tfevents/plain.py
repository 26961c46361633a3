"""The plain reader: record by record, the reference that every faster way is compared with.

`read_plainly` with an `EventDecoder` is the whole of it: framing by `RecordReader`, decoding by
protobuf, nothing remembered but the tags' plugins. What `templates` and `blocks` give is by
definition what this gives, point for point, damage included.
"""

from __future__ import annotations

from typing import Protocol

from guildlite.tfevents.columns import Batch, Columns, Reference, StoredValue
from guildlite.tfevents.event import (
    OtherValue,
    ScalarValue,
    SessionStart,
    UnreadableEvent,
    Value,
)
from guildlite.tfevents.record import BadFraming, BadPayload, RecordReader


class Decoder(Protocol):
    """What turns a payload into values; raises `UnreadableEvent`."""

    def decode(self, payload: bytes) -> list[Value]: ...


def read_plainly(reader: RecordReader, decoder: Decoder, end: int, most_points: int) -> Batch:
    """Read records until one begins at `end` or later, or there are `most_points` values.

    Stops before the first record that is not complete, and before a session that begins behind
    other records; `reader` stands where to go on.
    """
    batch = Batch()
    first = reader.offset
    while reader.offset < end and batch.points + len(batch.others) < most_points:
        start = reader.offset
        try:
            payload = reader.read()
            if payload is None:
                break
            values = decoder.decode(payload)
        except BadPayload as error:
            batch.skip(start, error.reason)
        except UnreadableEvent as error:
            batch.skip(start, error.message)
        except BadFraming as error:
            batch.framing = error
            break
        else:
            if values and isinstance(values[0], SessionStart):
                if start != first:
                    reader.skip_to(start)
                    break
                batch.restart_at(values[0].step)
                first = reader.offset
            add_values(batch, values, Reference(start, len(payload), reader.checksum, 0))
    return batch


def add_values(batch: Batch, values: list[Value], record: Reference) -> None:
    """Add the scalars and other values of one record."""
    columns = batch.columns
    for value in values:
        if isinstance(value, ScalarValue):
            tag, step, wall_time, number = value
            if tag not in columns:
                columns[tag] = Columns()
            columns[tag].append(step, wall_time, number)
            batch.points += 1
        elif isinstance(value, OtherValue):
            batch.others.append(stored(value, record))


def stored(value: OtherValue, record: Reference) -> StoredValue:
    """Return a value by reference."""
    tag, plugin, kind, step, wall_time, nth, states, stated = value
    reference = record._replace(nth=nth)
    return StoredValue(tag, plugin, kind, step, wall_time, reference, states, None, stated)
