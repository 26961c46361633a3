"""TensorBoard event files, read live and losslessly; a library that knows nothing of runs.

    from guildlite.tfevents import LogDir

    logdir = LogDir("logs")
    for chunk in logdir.look():          # again and again while files grow
        for tag, step, wall_time, value in chunk.scalars:
            ...
        save(chunk.cursor)               # LogDir("logs", cursors=saved) goes on from here

Three layers, each usable by itself: `RecordReader` frames bytes and verifies both checksums,
`EventDecoder` turns a record into `ScalarValue`s and `OtherValue`s, `LogDir` finds and follows
the files below a directory. `FileTree` and `open_regular` are what it looks for them with.

Nothing is imported until a name is used, and protobuf not before the first record is decoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guildlite.tfevents.event import EventDecoder, OtherValue, ScalarValue, UnreadableEvent
    from guildlite.tfevents.logdir import Chunk, Cursor, LogDir
    from guildlite.tfevents.record import BadFraming, BadPayload, RecordReader
    from guildlite.tfevents.tree import FileTree, FoundFile, Signature, open_regular

__all__ = [
    "BadFraming",
    "BadPayload",
    "Chunk",
    "Cursor",
    "EventDecoder",
    "FileTree",
    "FoundFile",
    "LogDir",
    "OtherValue",
    "RecordReader",
    "ScalarValue",
    "Signature",
    "UnreadableEvent",
    "open_regular",
]

_HOMES = {
    "record": ("BadFraming", "BadPayload", "RecordReader"),
    "event": ("EventDecoder", "OtherValue", "ScalarValue", "UnreadableEvent"),
    "logdir": ("Chunk", "Cursor", "LogDir"),
    "tree": ("FileTree", "FoundFile", "Signature", "open_regular"),
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
