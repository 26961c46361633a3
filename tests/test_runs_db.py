"""RunDb: what went in comes out, whatever the cuts, faults and values."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guildlite.errors import RunUnreadable
from guildlite.runs import RunReader
from guildlite.runs.db import RunDb
from guildlite.runs.reader import BUCKET_POINTS
from guildlite.series import MAX_STEP, MIN_STEP, Cursor, OutputLine, Point, Reading

TABLES = ("attr", "flag", "output", "source", "series_key", "series", "segment", "bucket")


@pytest.fixture
def db(tmp_path: Path) -> Iterable[RunDb]:
    with RunDb(tmp_path / "run.db") as opened:
        yield opened


def rows(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Ask with plain sqlite3, not with our reader."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


def content(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    return {table: sorted(rows(path, f"SELECT * FROM {table}"), key=repr) for table in TABLES}


def scalars(name: str, *values: float, kind: str = "tfevents", path: str = "events.1") -> Reading:
    cursor = Cursor(path, kind, "digest", len(values))
    return Reading(cursor, {name: [Point(step, step, value) for step, value in enumerate(values)]})


# --- Any cut gives the same tables -------------------------------------------------------------

VALUES = st.floats() | st.sampled_from([-0.0, 0.0, 1.7976931348623157e308, -1.7976931348623157e308])
POINTS = st.tuples(
    st.sampled_from(["loss", "train/acc", "λ"]),
    st.sampled_from(["events.a", "events.b", ""]),
    st.integers(-3, 3) | st.sampled_from([MIN_STEP, MAX_STEP]),
    st.none() | st.integers(0, 10**13),
    VALUES,
)
Told = tuple[str, str, int, "int | None", float]


def readings_of(told: Sequence[Told]) -> list[Reading]:
    """Return one reading for each point, in order; a source without name is a live measurement."""
    made = []
    for name, source, step, time, value in told:
        cursor = Cursor(source, "tfevents", "d", 1) if source else None
        made.append(Reading(cursor, {name: [Point(step, time, value)]}))
    return made


def merged(readings: Sequence[Reading]) -> list[Reading]:
    """Join neighbours of one source, as a collector that reads larger pieces would."""
    joined: list[Reading] = []
    for reading in readings:
        before = joined[-1] if joined else None
        if before is not None and before.cursor == reading.cursor:
            for name, points in reading.points.items():
                before.points.setdefault(name, []).extend(points)
        else:
            copies = {name: list(points) for name, points in reading.points.items()}
            joined.append(Reading(reading.cursor, copies))
    return joined


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(POINTS, max_size=40), st.lists(st.integers(1, 8), min_size=1), st.booleans())
def test_cuts_do_not_show(
    tmp_path_factory: pytest.TempPathFactory, told: list[Told], cuts: list[int], reopen: bool
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    readings = readings_of(told)
    with RunDb(folder / "whole.db") as whole:
        whole.write(merged(readings))
    part = RunDb(folder / "parts.db")
    at = turn = 0
    while at < len(readings):
        size = cuts[turn % len(cuts)]
        part.write(readings[at : at + size])
        at, turn = at + size, turn + 1
        if reopen:
            part.close()
            part = RunDb(folder / "parts.db")
    part.close()
    first, second = content(folder / "whole.db"), content(folder / "parts.db")
    # Sums in another order differ in the last bits of a mean; it is checked below.
    for tables in (first, second):
        tables["series_key"] = [row[:8] + row[9:] for row in tables["series_key"]]
    assert repr(first) == repr(second)
    check_against_plain_python(folder / "parts.db", told)
    shutil.rmtree(folder)


def check_against_plain_python(path: Path, told: Sequence[Told]) -> None:
    for name in {point[0] for point in told}:
        written = [point for point in told if point[0] == name]
        stored = rows(
            path,
            "SELECT step, time, value, segment, source_id FROM series"
            " JOIN series_key ON id = key_id"
            " JOIN segment USING (key_id, segment) WHERE key = ? ORDER BY seq",
            name,
        )
        values = [math.nan if value is None else value for _, _, value, _, _ in stored]
        # SQLite stores -0.0 as 0.0, and a NaN of either sign as NULL.
        assert repr(values) == repr(
            [abs(p[4]) if not p[4] or p[4] != p[4] else p[4] for p in written]
        )
        assert [row[:2] for row in stored] == [(point[2], point[3]) for point in written]
        check_segments(stored, written)
        check_summary(path, name, written)


def check_segments(stored: Sequence[tuple[Any, ...]], written: Sequence[Told]) -> None:
    """Within a segment one source and no step back; a new one only for a reason."""
    last: dict[str, tuple[int, int]] = {}
    numbers: list[int] = []
    for (step, _, _, segment, source_id), (_, source, *_) in zip(stored, written, strict=True):
        assert (source_id is None) == (source == "")
        goes_on = source in last and step >= last[source][1]
        expected = last[source][0] if goes_on else len(numbers)
        if not goes_on:
            numbers.append(expected)
        assert segment == expected
        last[source] = (segment, step)


def check_summary(path: Path, name: str, written: Sequence[Told]) -> None:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    key = dict(connection.execute("SELECT * FROM series_key WHERE key = ?", (name,)).fetchone())
    connection.close()
    finite = [point for point in written if math.isfinite(point[4])]
    times = [point[3] for point in written if point[3] is not None]
    assert key["count"] == len(written)
    assert key["nan"] == sum(math.isnan(point[4]) for point in written)
    assert key["infinite"] == sum(math.isinf(point[4]) for point in written)
    for column, point in (("first", written[0]), ("last", written[-1])):
        assert key[column] == (None if math.isnan(point[4]) else point[4])
        assert key[f"{column}_step"] == point[2]
    assert key["first_time"] == (times[0] if times else None)
    assert key["last_time"] == (times[-1] if times else None)
    least = min(finite, key=lambda point: point[4], default=None)
    most = max(finite, key=lambda point: point[4], default=None)
    assert (key["min"], key["min_step"]) == ((least[4], least[2]) if least else (None, None))
    assert (key["max"], key["max_step"]) == ((most[4], most[2]) if most else (None, None))
    if not finite:
        assert key["mean"] is None
        return
    scale = max(abs(point[4]) for point in finite) or 1.0
    mean = float(sum(Fraction(point[4]) for point in finite) / len(finite))
    # Next to zero doubles are all 5e-324 apart, so a share of one may round by that much.
    nearly = max(1e-13 * scale, 1e-322 * len(finite))
    assert key["mean"] == pytest.approx(mean, rel=1e-12, abs=nearly)


@pytest.mark.parametrize("piece", [1, 7, 1000, 1024, 1025, 5000])
def test_buckets_are_the_extremes_of_every_1024_points(tmp_path: Path, piece: int) -> None:
    values = [math.sin(n) * n if n % 97 else (math.nan, math.inf)[n % 2] for n in range(2500)]
    points = [Point(n, None if n % 5 else n * 10, value) for n, value in enumerate(values)]
    with RunDb(tmp_path / "run.db") as db:
        for start in range(0, len(points), piece):
            db.write([Reading(Cursor("e", "tfevents", "d"), {"a": points[start : start + piece]})])
    expected = []
    for number in range(3):
        chunk = points[number * 1024 : (number + 1) * 1024]
        finite = [point for point in chunk if math.isfinite(point.value)]
        least = min(finite, key=lambda point: point.value)
        most = max(finite, key=lambda point: point.value)
        expected.append(
            (
                *(1, number, len(chunk), chunk[0].step, chunk[-1].step),
                *(least.value, least.step, most.value, most.step, chunk[0].time, chunk[-1].time),
            )
        )
    assert rows(tmp_path / "run.db", "SELECT * FROM bucket ORDER BY bucket") == expected
    assert BUCKET_POINTS == 1024


# --- Values and names at the edge --------------------------------------------------------------


def test_means_of_the_largest_doubles_do_not_overflow(db: RunDb) -> None:
    big = 1.7976931348623157e308
    for value in (-big, big, big, big):
        db.write([Reading(None, {"a": [Point(0, 0, value)], "b": [Point(0, 0, big)] * 3})])
    found = dict(rows(db.path, "SELECT key, mean FROM series_key"))
    assert found == {"a": pytest.approx(big / 2), "b": big}


def test_numbers_beyond_64_bits(db: RunDb) -> None:
    points = [
        Point(2**63, 1, 1.0),
        Point(MAX_STEP, 2**70, 10**400),
        Point(MIN_STEP, -5, -(10**400)),
    ]
    db.write([Reading(None, {"a": points, "none": [Point(-(2**63) - 1, 0, 1.0)]})])
    assert rows(db.path, "SELECT step, time, value FROM series ORDER BY seq") == [
        (MAX_STEP, None, math.inf),
        (MIN_STEP, -5, -math.inf),
    ]
    assert rows(db.path, "SELECT key FROM series_key") == [("a",)]


def test_text_that_sqlite_or_its_shell_cannot_take(db: RunDb) -> None:
    odd = "a\udcffb\0c"
    db.write_start({odd: odd}, {odd: odd})
    db.write_attrs({f"x{odd}": odd})
    db.write([Reading(Cursor(odd, "csv", "d"), {odd: [Point(0, 0, 1.0)]})])
    db.write([Reading(lines=[OutputLine(0, 1, odd, odd)], attrs={f"y{odd}": odd})])
    safe = "a\\udcffb\\x00c"
    assert rows(db.path, "SELECT * FROM flag") == [(safe, safe)]
    assert dict(rows(db.path, "SELECT * FROM attr")) == {n + safe: safe for n in ("", "x", "y")}
    assert rows(db.path, "SELECT path FROM source") == [(safe,)]
    assert rows(db.path, "SELECT key FROM series_key") == [(safe,)]
    assert rows(db.path, "SELECT text, op FROM output") == [(safe, safe)]


def test_attributes_are_set_replaced_and_removed(db: RunDb) -> None:
    db.write_start({"id": "one", "host": "a"}, {"lr": "0.5", "a": "1"})
    db.write_start({"id": "two"}, {"lr": "9"})
    db.write_attrs({"host": None, "gone": None, "exit": "0"})
    assert rows(db.path, "SELECT * FROM attr ORDER BY rowid") == [("id", "one"), ("exit", "0")]
    assert rows(db.path, "SELECT * FROM flag ORDER BY rowid") == [("lr", "0.5"), ("a", "1")]
    assert db.attr("id") == "one" and db.attr("host") is None


# --- A failed write leaves everything as before ------------------------------------------------


def faulty(db: RunDb, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next statement that begins with `word` fail, as a disk would."""
    real = db._connection

    class Faulty:
        armed = True

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def _check(self, sql: str) -> None:
            if self.armed and sql.startswith(word):
                Faulty.armed = False
                raise sqlite3.OperationalError("disk I/O error")

        def execute(self, sql: str, *values: Any) -> Any:
            self._check(sql)
            return real.execute(sql, *values)

        def executemany(self, sql: str, *values: Any) -> Any:
            self._check(sql)
            return real.executemany(sql, *values)

    monkeypatch.setattr(db, "_connection", Faulty())


@pytest.mark.parametrize(
    "word",
    ["BEGIN", "INSERT INTO source", "UPDATE source", "INSERT INTO series_key",
     "INSERT INTO series ",
     "INSERT OR REPLACE INTO segment", "INSERT OR REPLACE INTO bucket", "UPDATE series_key",
     "INSERT INTO output", "INSERT INTO attr", "DELETE FROM series", "COMMIT"],
)  # fmt: skip
def test_a_fault_in_any_statement_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    before = [scalars("output/loss", 1.0, kind="output", path="log"), scalars("old", 1.0, 2.0)]
    more = [
        scalars("train/loss", 0.5, path="events.2"),
        scalars("old", 3.0, -1.0),
        Reading(lines=[OutputLine(1, 1, "x")], attrs={"a": "b"}),
    ]
    with RunDb(tmp_path / "run.db") as db, RunDb(tmp_path / "right.db") as right:
        for each in (db, right):
            each.write(before)
        kept = content(db.path)
        faulty(db, word, monkeypatch)
        with pytest.raises(sqlite3.OperationalError):
            db.write(more)
        assert content(db.path) == kept
        for each in (db, right):
            each.write(more)
        assert content(db.path) == content(right.path)


def test_a_full_disk_keeps_what_was_committed(tmp_path: Path) -> None:
    with RunDb(tmp_path / "run.db") as db:
        db.write([scalars("a", *range(100))])
        pages = db._connection.execute("PRAGMA page_count").fetchone()[0]
        db._connection.execute(f"PRAGMA max_page_count={pages + 2}")
        kept = content(db.path)
        long = Reading(
            Cursor("log", "output", "log", 10**6), lines=[OutputLine(0, 1, "x" * 1000)] * 100
        )
        with pytest.raises(sqlite3.OperationalError, match="full"):
            db.write([scalars("b", 1.0, path="events.2"), long])
        assert content(db.path) == kept
        db._connection.execute("PRAGMA max_page_count=1000000")
        db.write([scalars("b", 1.0, path="events.2"), long])
    assert rows(tmp_path / "run.db", "SELECT count(*) FROM output") == [(100,)]
    assert rows(tmp_path / "run.db", "PRAGMA integrity_check") == [("ok",)]


def test_cursors_commit_with_their_points(tmp_path: Path) -> None:
    cursor = Cursor("train/events.1", "tfevents", "d", 77, {"step": 3}, "bad length at 77")
    with RunDb(tmp_path / "run.db") as db:
        db.write([Reading(cursor, {"a": [Point(0, 0, 1.0)]})])
        db.write([Reading(Cursor("train/events.1", "tfevents", "other", 5))])
    with RunDb(tmp_path / "run.db") as db:
        assert db.cursors() == [cursor, Cursor("train/events.1", "tfevents", "other", 5)]


# --- Numbers that were printed as well ---------------------------------------------------------

PRINTED = [
    scalars(f"output/{name}", 1.0, 2.0, kind="output", path="gl.d/stdout.log")
    for name in ("loss", "Train_Loss", "train/loss", "own", "table", "val", "f1", "lr")
]
FROM_FILES = [
    scalars("train/loss", 0.5, path="train/events.1"),
    scalars("output/own", 7.0, path="output/events.1"),
    scalars("VAL", 0.1, path="events.2"),
    scalars("output/table", 8.0, kind="csv", path="output/log.csv"),
    scalars("f1", 0.3, kind="csv", path="log.csv"),
    scalars("lr", 0.1, kind="jsonl", path="log.jsonl"),
    scalars("lr", 0.1, path="events.2"),
]


@settings(max_examples=30, deadline=None)
@given(st.permutations([*PRINTED, *FROM_FILES]), st.booleans(), st.booleans())
def test_a_printed_number_gives_way_to_an_event_file_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[Reading], at_once: bool, reopen: bool
) -> None:
    path = tmp_path_factory.mktemp("db") / "run.db"
    db = RunDb(path)
    for batch in [order] if at_once else [[reading] for reading in order]:
        db.write(batch)
        if reopen:
            db.close()
            db = RunDb(path)
    db.close()
    found = dict(rows(path, "SELECT key, count FROM series_key"))
    # A file below `output/` is a file: its points stay, those printed go. A table elsewhere takes
    # nothing away.
    assert found == {
        "train/loss": 1, "output/own": 1, "VAL": 1, "output/table": 1, "f1": 1, "output/f1": 2,
        "lr": 2,
    }  # fmt: skip
    for table in ("series", "segment", "bucket"):
        orphans = f"SELECT * FROM {table} WHERE key_id NOT IN (SELECT id FROM series_key)"
        assert rows(path, orphans) == []


def test_a_number_that_was_only_printed_stays(db: RunDb) -> None:
    db.write([PRINTED[0], scalars("loss/train", 1.0), scalars("gpu_loss", 1.0)])
    db.write([Reading(None, {"sys/loss": [Point(0, 0, 1.0)]})])
    assert ("output/loss",) in rows(db.path, "SELECT key FROM series_key")
    db.write([scalars("evaluate/output/loss", 1.0, kind="output", path="gl.d/ops/2/stdout.log")])
    assert ("output/loss",) in rows(db.path, "SELECT key FROM series_key")


# --- The file ----------------------------------------------------------------------------------


def test_a_point_takes_some_34_bytes(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with RunDb(path) as db:
        db.write([Reading(attrs={"a": "b"})])
        db.seal({})
    empty = path.stat().st_size
    start, count = 1_795_196_701_000, 100_000
    with RunDb(path) as db:
        points = [Point(n, start + 73 * n, math.sin(n)) for n in range(count)]
        for at in range(0, count, 5000):
            db.write([Reading(Cursor("e", "tfevents", "d"), {"loss": points[at : at + 5000]})])
        db.seal({})
    assert 28 <= (path.stat().st_size - empty) / count <= 36


def test_sealed_it_is_one_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with RunDb(path) as db:
        db.write([scalars("a", 1.0)])
        assert rows(path, "PRAGMA journal_mode") == [("wal",)]
        db.seal({"exit_code": "0"})
        assert [entry.name for entry in tmp_path.iterdir()] == ["run.db"]
    # Bytes 18 and 19 of the header are 1 for DELETE mode, 2 for WAL (sqlite.org/fileformat2).
    assert path.read_bytes()[18:20] == b"\1\1"
    assert rows(path, "SELECT value FROM attr WHERE name = 'exit_code'") == [("0",)]


def test_a_reader_in_the_middle_delays_the_seal_but_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with RunDb(path) as db:
        db.write([scalars("a", 1.0)])
        with RunReader(path) as reader:
            reader.summaries()
            db.seal({"end": "1"})
            assert reader.attrs()["end"] == "1"
    with RunDb(path) as db:
        db.seal({})
    assert path.read_bytes()[18:20] == b"\1\1"


def test_network_file_systems_get_no_wal(tmp_path: Path) -> None:
    with RunDb(tmp_path / "run.db", network=True) as db:
        db.write([scalars("a", 1.0)])
        assert rows(db.path, "PRAGMA journal_mode") == [("delete",)]


@pytest.mark.parametrize(
    "data", [b"", b"no database at all" * 400, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_garbage_is_reported_and_left_alone(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "run.db"
    path.write_bytes(data)
    with pytest.raises(RunUnreadable):
        RunReader(path)
    if data:
        with pytest.raises(sqlite3.DatabaseError):
            RunDb(path)
        assert path.read_bytes() == data


@pytest.mark.skipif(not shutil.which("sqlite3"), reason="needs the sqlite3 shell")
def test_the_sqlite3_shell_makes_sense_of_it_during_the_run(tmp_path: Path) -> None:
    with RunDb(tmp_path / "run.db") as db:
        db.write_start({"id": "r"}, {"datadir": "./data", "rundir": "$RUNDIR", "lr": "0.5"})
        db.write([scalars("loss", 1.5, math.nan, math.inf, -2.0)])

        def ask(sql: str) -> list[str]:
            done = subprocess.run(
                ["sqlite3", "run.db", sql], cwd=tmp_path, capture_output=True, text=True, check=True
            )
            return done.stdout.splitlines()

        assert set(" ".join(ask(".tables")).split()) >= {
            "attr", "flag", "output", "series_key", "series",
        }  # fmt: skip
        assert ask("select * from flag") == ["datadir|./data", "rundir|$RUNDIR", "lr|0.5"]
        assert ask("select * from series limit 3") == [
            "1|0|0|0|1.5|0", "1|1|1|1||0", "1|2|2|2|Inf|0",
        ]  # fmt: skip


def test_states_survive_as_json(db: RunDb) -> None:
    db.write([Reading(Cursor("a", "csv", "d", 1, {"x": [1, "ü\udc80"]}))])
    assert json.loads(rows(db.path, "SELECT state FROM source")[0][0]) == {"x": [1, "ü\udc80"]}


def test_a_state_is_written_only_when_it_changes(db: RunDb) -> None:
    def states() -> list[str]:
        return [state for (state,) in rows(db.path, "SELECT state FROM source")]

    def write(offset: int, state: dict[str, object]) -> None:
        db.write([Reading(Cursor("a", "tfevents", "d", offset, state))])

    write(1, {"plugins": {"scalars": ["loss"]}})
    with sqlite3.connect(db.path) as other:
        other.execute("UPDATE source SET state = '{}'")
    other.close()
    write(2, {"plugins": {"scalars": ["loss"]}})
    assert states() == ["{}"]
    assert rows(db.path, 'SELECT "offset" FROM source') == [(2,)]
    write(3, {"plugins": {"scalars": ["loss", "acc"]}})
    assert states() == ['{"plugins": {"scalars": ["loss", "acc"]}}']
    write(4, {})
    assert states() == [None]


def test_a_state_that_was_rolled_back_is_written_again(
    db: RunDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reading(state: int) -> Reading:
        return Reading(Cursor("a", "tfevents", "d", 1, {"n": state}), {"loss": [Point(1, 1, 1.0)]})

    db.write([reading(1)])
    with monkeypatch.context() as patch:
        faulty(db, "UPDATE series_key", patch)
        with pytest.raises(sqlite3.Error):
            db.write([reading(2)])
    db.write([reading(2)])
    assert db.cursors()[0].state == {"n": 2}


def test_without_durability_there_is_one_file_all_along(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with RunDb(path, durable=False) as db:
        db.write([scalars("loss", 1.0, 2.0)])
        assert [each.name for each in tmp_path.iterdir()] == ["run.db"]
    with RunDb(path) as db:
        db.write([scalars("loss", 3.0, path="events.2")])
    assert rows(path, "SELECT value FROM series ORDER BY seq") == [(1.0,), (2.0,), (3.0,)]
