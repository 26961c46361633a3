"""The tables of run.db: defined once, readable by old SQLite, every released schema still read."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from guildlite.errors import RunUnreadable
from guildlite.runs import RunReader, migrations, schema
from guildlite.runs.db import RunDb
from guildlite.runs.migrations import SCHEMA_SQL, VERSION, migrate
from guildlite.series import Cursor, Point, Reading

GOLDEN = Path(__file__).parent / "golden" / "runs"


def shape(path: Path) -> list[tuple[str, ...]]:
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()
    connection.close()
    return found


def test_the_checked_in_sql_is_compiled_from_the_definition() -> None:
    assert SCHEMA_SQL.read_text(encoding="utf-8") == schema.compile_sql()


def test_a_new_file_has_the_tables_of_the_definition(tmp_path: Path) -> None:
    RunDb(tmp_path / "run.db").close()
    connection = sqlite3.connect(tmp_path / "run.db")
    for table in schema.metadata.tables.values():
        columns = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
        assert [(name, kind) for _, name, kind, *_ in columns] == [
            (column.name, str(column.type)) for column in table.columns
        ]
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    connection.close()


def test_sqlite_3_31_can_read_it() -> None:
    text = SCHEMA_SQL.read_text(encoding="utf-8").upper()
    # STRICT is of 3.37, JSONB of 3.45; generated columns are of 3.31 itself.
    assert not re.search(r"\bSTRICT\b|JSONB|GENERATED|VIRTUAL|USING", text)
    assert "WITHOUT ROWID" in text


def test_the_five_tables_that_people_know_have_the_columns_of_the_contract() -> None:
    columns = {table.name: set(table.columns.keys()) for table in schema.metadata.tables.values()}
    assert columns["flag"] == {"name", "value"}
    assert columns["attr"] == {"name", "value"}
    assert columns["output"] >= {"id", "time", "stream", "text", "op"}
    assert columns["series"] == {"key_id", "seq", "step", "time", "value", "segment"}
    assert columns["series_key"] >= {
        "id", "key", "kind", "count", "first", "last", "min", "max", "mean", "last_step",
    }  # fmt: skip
    for table in schema.metadata.tables.values():
        assert table.comment, table.name


def test_there_is_a_golden_file_of_every_schema() -> None:
    assert [path.name for path in sorted(GOLDEN.glob("run-*.db"))] == [
        f"run-{number}.db" for number in range(1, VERSION + 1)
    ]


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("run-*.db")))
@pytest.mark.parametrize("written", [False, True], ids=["read", "brought-up"])
def test_golden_files(tmp_path: Path, name: str, written: bool) -> None:
    path = Path(shutil.copy(GOLDEN / f"{name}.db", tmp_path / "run.db"))
    expected = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    if written:
        with RunDb(path) as db:
            cursors = [(each.path, each.offset, each.error) for each in db.cursors()]
            assert cursors[:2] == [("train/events.1", 99, None), ("log.csv", 5, "row 9 is damaged")]
            more = Cursor("log.csv", "csv", "d2", 6)
            db.write([Reading(more, {"long": [Point(3000, None, -1.0)]})])
            db.seal({})
    before = path.read_bytes()
    with RunReader(path) as reader:
        assert reader.attrs() == expected["attrs"]
        assert reader.flags() == expected["flags"]
        points = reader.series("train/loss")
        assert [[point.step, point.time, str(point.value)] for point in points] == expected["loss"]
        summary = reader.summary("train/loss")
        assert summary is not None
        for column, value in expected["summary"].items():
            assert getattr(summary, column) == pytest.approx(value), column
        lines = [[line.time, line.stream, line.text, line.op] for line in reader.output()]
        assert lines == expected["output"]
        long = reader.summary("long")
        assert long is not None and long.segments == 1
        assert (long.count, long.min) == ((3001, -1.0) if written else (3000, 0.0))
        check_media(reader, expected)
    assert path.read_bytes() == before


def check_media(reader: RunReader, expected: dict[str, Any]) -> None:
    """Compare what is no scalar, which schema 1 did not hold."""
    found = {
        "media": reader.items("train/sample"),
        "sessions": reader.sessions(),
        "experiments": reader.experiments(),
        "embeddings": reader.embeddings(),
    }
    for name, values in found.items():
        assert json.loads(json.dumps(values)) == expected.get(name, []), name
    series = [list(each) for each in reader.media("image")]
    assert series == ([expected["series"]] if "series" in expected else [])


def test_a_file_brought_up_has_the_columns_of_a_new_one(tmp_path: Path) -> None:
    RunDb(tmp_path / "new.db").close()
    for path in GOLDEN.glob("run-*.db"):
        copy = Path(shutil.copy(path, tmp_path))
        RunDb(copy).close()
        for table in schema.metadata.tables:
            columns = []
            for each in (copy, tmp_path / "new.db"):
                connection = sqlite3.connect(each)
                rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
                columns.append(sorted(row[1:] for row in rows))
                connection.close()
            assert columns[0] == columns[1] != [], (path, table)


def test_a_file_of_a_newer_release_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    RunDb(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    for opened in (RunDb, RunReader):
        with pytest.raises(RunUnreadable, match=f"schema {VERSION + 1}") as caught:
            opened(path)
        assert caught.value.hint == "pip install --upgrade guildlite"


def test_steps_run_once_each_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.db"
    RunDb(path).close()

    def add_colour(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE flag ADD COLUMN colour TEXT")

    def paint(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO flag VALUES ('a', 'b', 'red')")

    steps = (*migrations.STEPS, add_colour, paint)
    monkeypatch.setattr(migrations, "STEPS", steps)
    monkeypatch.setattr(migrations, "VERSION", 1 + len(steps))
    for _ in range(2):
        connection = sqlite3.connect(path, isolation_level=None)
        migrate(connection)
        assert connection.execute("SELECT * FROM flag").fetchall() == [("a", "b", "red")]
        assert connection.execute("PRAGMA user_version").fetchone() == (1 + len(steps),)
        connection.close()


def test_a_step_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.db"
    RunDb(path).close()
    before = shape(path)

    def stumble(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE bucket")
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, stumble))
    monkeypatch.setattr(migrations, "VERSION", VERSION + 1)
    with pytest.raises(sqlite3.OperationalError):
        RunDb(path)
    assert shape(path) == before
