"""The one definition of the tables of run.db.

`schema.sql` beside this file is compiled from it (`python -m guildlite.runs.schema`) and is what
`db.py` executes, so that no command waits for SQLAlchemy; a test holds the two equal. Steps from
older files to this one are in `migrations.py`.

Times are milliseconds since the epoch; NULL means nobody saw the moment. `comment`s become the
column descriptions of docs/reference/run-db.md.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

metadata = MetaData()

attr = Table(
    "attr",
    metadata,
    Column("name", Text, primary_key=True, nullable=False, comment="as in `git.commit`"),
    Column("value", Text, comment="text; lists and mappings as JSON"),
    comment="facts about the run that are not numbers over time",
)

flag = Table(
    "flag",
    metadata,
    Column("name", Text, primary_key=True, nullable=False, comment="rows are in project order"),
    Column("value", Text, comment="as the project wrote it, so `$RUNDIR` stays symbolic"),
    comment="input values of the run's own operation",
)

output = Table(
    "output",
    metadata,
    Column("id", Integer, primary_key=True, comment="order of arrival"),
    Column("time", Integer, comment="ms when the line was seen"),
    Column("stream", Integer, nullable=False, comment="1 stdout, 2 stderr"),
    Column("text", Text, nullable=False, comment="without line end; of a redrawn line the last"),
    Column("op", Text, comment="NULL for the run's own operation, else as `2-evaluate`"),
    comment="lines the script printed; the bytes themselves are in stdout.log and stderr.log",
)

source = Table(
    "source",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", Text, nullable=False, comment="relative to the run directory"),
    Column(
        "kind", Text, nullable=False, comment="tfevents, projector, csv, jsonl, output or samples"
    ),
    Column("digest", Text, nullable=False, comment="of the first record; never an inode"),
    Column("offset", Integer, nullable=False, comment="bytes taken so far"),
    Column("state", Text, comment="what else the reader remembers, JSON"),
    Column("error", Text, comment="damage that ended the file, if any"),
    Index("source_path", "path", "digest", unique=True),
    comment="files the points and lines were read from, and how far",
)

series_key = Table(
    "series_key",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False, unique=True, comment="as in `train/loss`"),
    Column("kind", Text, nullable=False, comment="scalar, image, text and so on"),
    Column("count", Integer, nullable=False, comment="points in all, NaN included"),
    Column("first", Float, comment="value of the first point; NULL is NaN"),
    Column("last", Float, comment="value of the last point; NULL is NaN"),
    Column("min", Float, comment="smallest finite value"),
    Column("max", Float, comment="largest finite value"),
    Column("mean", Float, comment="of the finite values"),
    Column("first_step", Integer),
    Column("last_step", Integer),
    Column("min_step", Integer, comment="step of `min`, the first such"),
    Column("max_step", Integer, comment="step of `max`, the first such"),
    Column("first_time", Integer, comment="ms"),
    Column("last_time", Integer, comment="ms"),
    Column("nan", Integer, nullable=False, comment="points that are NaN"),
    Column("infinite", Integer, nullable=False, comment="points that are plus or minus infinity"),
    Column("segments", Integer, nullable=False, comment="rows of `segment` for this series"),
    comment="one row a series, kept current in the same transaction as its points",
)

series = Table(
    "series",
    metadata,
    Column("key_id", Integer, nullable=False, comment="`series_key.id`"),
    Column("seq", Integer, nullable=False, comment="order of writing, from 0"),
    Column("step", Integer, nullable=False),
    Column("time", Integer, comment="ms"),
    Column("value", Float, comment="NULL is NaN; infinities are kept"),
    Column("segment", Integer, nullable=False, comment="`segment.segment`"),
    PrimaryKeyConstraint("key_id", "seq"),
    sqlite_with_rowid=False,
    comment="every point ever written",
)

segment = Table(
    "segment",
    metadata,
    Column("key_id", Integer, nullable=False, comment="`series_key.id`"),
    Column("segment", Integer, nullable=False, comment="from 0"),
    Column("source_id", Integer, comment="`source.id`; NULL for our own measurements"),
    Column("last_step", Integer, nullable=False),
    Column("ended", Integer, comment="1 when its writer then began anew at an earlier step"),
    PrimaryKeyConstraint("key_id", "segment"),
    sqlite_with_rowid=False,
    comment="a stretch of a series from one file in which the step never goes back",
)

bucket = Table(
    "bucket",
    metadata,
    Column("key_id", Integer, nullable=False, comment="`series_key.id`"),
    Column("bucket", Integer, nullable=False, comment="`seq / 1024`"),
    Column("count", Integer, nullable=False),
    Column("first_step", Integer, nullable=False),
    Column("last_step", Integer, nullable=False),
    Column("min", Float, comment="smallest finite value"),
    Column("min_step", Integer),
    Column("max", Float, comment="largest finite value"),
    Column("max_step", Integer),
    Column("first_time", Integer, comment="ms"),
    Column("last_time", Integer, comment="ms"),
    PrimaryKeyConstraint("key_id", "bucket"),
    sqlite_with_rowid=False,
    comment="extremes of each 1,024 points, for charts of long series",
)

media = Table(
    "media",
    metadata,
    Column("key_id", Integer, nullable=False, comment="`series_key.id`"),
    Column("seq", Integer, nullable=False, comment="order of writing, from 0"),
    Column("step", Integer, nullable=False),
    Column("time", Integer, comment="ms"),
    Column("segment", Integer, nullable=False, comment="`segment.segment`"),
    Column("source_id", Integer, nullable=False, comment="`source.id`, the file it lies in"),
    Column("offset", Integer, nullable=False, comment="where its record begins in the file"),
    Column("length", Integer, nullable=False, comment="bytes of the record's payload"),
    Column("checksum", Integer, nullable=False, comment="masked CRC32C of the payload"),
    Column("nth", Integer, nullable=False, comment="place in the record, from 0"),
    PrimaryKeyConstraint("key_id", "seq"),
    sqlite_with_rowid=False,
    comment="every value ever written that is no scalar; its bytes stay in the event file",
)

media_key = Table(
    "media_key",
    metadata,
    Column("key_id", Integer, primary_key=True, comment="`series_key.id`"),
    Column("plugin", Text, nullable=False, comment="of TensorBoard, as its writer named it"),
    Column("display_name", Text, nullable=False, comment="empty where not stated"),
    Column("description", Text, nullable=False, comment="Markdown; empty where not stated"),
    Column("content", Integer, comment="`blob.id`: the plugin's own bytes of the first value"),
    comment="what the first value of a series that is no scalar says of all of them",
)

blob = Table(
    "blob",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", Text, nullable=False, unique=True, comment="BLAKE2b, 16 bytes, as hex"),
    Column("data", LargeBinary, nullable=False),
    comment="bytes that are kept here rather than in a file, each once",
)

file = Table(
    "file",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", Text, nullable=False, unique=True, comment="relative to the run directory"),
    Column("size", Integer, nullable=False, comment="bytes, when last looked at"),
    Column("modified", Integer, nullable=False, comment="ms, when last looked at"),
    comment="files that embeddings consist of",
)

embedding = Table(
    "embedding",
    metadata,
    Column("key_id", Integer, primary_key=True, comment="`series_key.id`"),
    Column("source_id", Integer, nullable=False, comment="`source.id` of projector_config.pbtxt"),
    Column("name", Text, nullable=False, comment="of the tensor"),
    Column("tensor", Integer, comment="`file.id`: one vector a line, tabs between numbers"),
    Column("metadata", Integer, comment="`file.id`: one label a line"),
    Column("sprite", Integer, comment="`file.id`: an image of all thumbnails"),
    Column("bookmarks", Integer, comment="`file.id`: saved views, JSON"),
    Column("shape", Text, nullable=False, comment="of the tensor, JSON; empty where not stated"),
    Column("sprite_size", Text, nullable=False, comment="[width, height] of a thumbnail, JSON"),
    comment="embeddings, as projector_config.pbtxt lists them by now",
)

hparam_session = Table(
    "hparam_session",
    metadata,
    Column("session", Text, primary_key=True, nullable=False, comment="directory in the run or ''"),
    Column("group_name", Text, comment="sessions of one group repeat the same trial"),
    Column("status", Text, comment="unknown, success, failure or running; NULL before the end"),
    Column("started", Integer, comment="ms"),
    Column("ended", Integer, comment="ms"),
    comment="trials that the script told TensorBoard's HParams plugin of",
)

hparam = Table(
    "hparam",
    metadata,
    Column("session", Text, nullable=False, comment="`hparam_session.session`"),
    Column("name", Text, nullable=False),
    Column("value", Text, nullable=False, comment="as a flag would be written"),
    Column("type", Text, nullable=False, comment="float, str or bool"),
    PrimaryKeyConstraint("session", "name"),
    comment="hyperparameters of those trials",
)

hparam_experiment = Table(
    "hparam_experiment",
    metadata,
    Column("directory", Text, primary_key=True, nullable=False, comment="in the run, or ''"),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("hparams", Text, nullable=False, comment="JSON: name to values, interval or null"),
    Column("metrics", Text, nullable=False, comment="JSON: pairs of group and tag"),
    comment="what the script told TensorBoard's HParams plugin that it varies and judges",
)

SQL_FILE = Path(__file__).with_name("schema.sql")


def compile_sql() -> str:
    """Return the text of schema.sql: the CREATE statements of all tables, in order."""
    dialect = sqlite.dialect()
    lines = ["-- Compiled from schema.py by `python -m guildlite.runs.schema`; do not edit."]
    for table in metadata.tables.values():
        lines.append(str(CreateTable(table).compile(dialect=dialect)).strip() + ";")
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            lines.append(str(CreateIndex(index).compile(dialect=dialect)).strip() + ";")
    return "\n\n".join(lines).replace("\t", "  ").replace(" \n", "\n") + "\n"


if __name__ == "__main__":
    SQL_FILE.write_text(compile_sql(), encoding="utf-8")
