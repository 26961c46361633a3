"""TensorBoard event files, read live and losslessly; a library that knows nothing of runs.

    from guildlite.tfevents import LogDir, read_content

    logdir = LogDir("logs")
    for chunk in logdir.look():          # again and again while files grow
        for tag, columns in chunk.columns.items():
            columns.steps, columns.wall_times, columns.values    # arrays of one length
        for value in chunk.others:       # images, text, histograms...: tag, kind, step, place
            with open(f"logs/{chunk.cursor.path}", "rb") as file:
                content = read_content(file, value)
        save(chunk.cursor)               # LogDir("logs", cursors=saved) goes on from here

Three layers, each usable by itself: `RecordReader` frames bytes and verifies both checksums,
`EventDecoder` turns a record into `ScalarValue`s and `OtherValue`s, `LogDir` finds and follows
the files below a directory. `FileTree` and `open_regular` are what it looks for them with.

Reader and decoder together are the plain reader (`plain`), the reference. `LogDir` reads scalars
by `templates` and large files by `blocks`, which give the same and are several times faster.

Nothing is imported until a name is used; protobuf not before a record that is no plain scalar,
NumPy not before there is a megabyte to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guildlite.tfevents.columns import Columns, Reference, StoredValue
    from guildlite.tfevents.contents import (
        BadContent,
        Content,
        ContentLost,
        Metadata,
        parse_hparams,
        parse_metadata,
        parse_projector_config,
        read_content,
        read_record,
    )
    from guildlite.tfevents.event import (
        EventDecoder,
        OtherValue,
        ScalarValue,
        SessionStart,
        UnreadableEvent,
    )
    from guildlite.tfevents.logdir import Chunk, Cursor, LogDir
    from guildlite.tfevents.record import BadFraming, BadPayload, RecordReader
    from guildlite.tfevents.tree import FileTree, FoundFile, Signature, Watch, open_regular

__all__ = [
    "BadContent",
    "BadFraming",
    "BadPayload",
    "Chunk",
    "Columns",
    "Content",
    "ContentLost",
    "Cursor",
    "EventDecoder",
    "FileTree",
    "FoundFile",
    "LogDir",
    "Metadata",
    "OtherValue",
    "RecordReader",
    "Reference",
    "ScalarValue",
    "SessionStart",
    "Signature",
    "StoredValue",
    "UnreadableEvent",
    "Watch",
    "open_regular",
    "parse_hparams",
    "parse_metadata",
    "parse_projector_config",
    "read_content",
    "read_record",
]

_HOMES = {
    "record": ("BadFraming", "BadPayload", "RecordReader"),
    "columns": ("Columns", "Reference", "StoredValue"),
    "contents": (
        "BadContent",
        "Content",
        "ContentLost",
        "Metadata",
        "parse_hparams",
        "parse_metadata",
        "parse_projector_config",
        "read_content",
        "read_record",
    ),
    "event": ("EventDecoder", "OtherValue", "ScalarValue", "SessionStart", "UnreadableEvent"),
    "logdir": ("Chunk", "Cursor", "LogDir"),
    "tree": ("FileTree", "FoundFile", "Signature", "Watch", "open_regular"),
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
