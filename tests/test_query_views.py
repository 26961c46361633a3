"""SQL over all runs and over one: what can be asked, and all that cannot."""

from __future__ import annotations

import csv
import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import call
from support.run_dirs import START, make_run

import guildlite
from guildlite.errors import FilterError, GuildliteError, RunUnreadable
from guildlite.index import Index
from guildlite.query.views import VIEWS, ask_all, ask_one, iter_csv, stream_all
from guildlite.runs import Run, RunStore

FORBIDDEN = [
    "delete from runs",
    "update run set label = 'x'",
    "insert into meta values ('a', 1)",
    "drop table run",
    "create table t (x)",
    "create temp table t (x)",
    "attach '/tmp/x.db' as x",
    "detach main",
    "pragma journal_mode",
    "pragma user_version = 7",
    "vacuum",
    "vacuum into '/tmp/x.db'",
    "begin",
    "commit",
    "rollback",
    "reindex",
    "analyze",
    "select load_extension('/tmp/x.so')",
    "select * from run",
    "select name from meta",
    "select sql from sqlite_master",
    "select (select label from run)",
    "with x as (select seen from run) select * from x",
    "explain select * from run",
]


@pytest.fixture
def index(store: RunStore) -> Iterator[Index]:
    series = {"loss": [0.5, 0.25, 0.75], "sys/cpu/util": [0.5]}
    make_run(store, flags={"lr": "1e-3", "opt": "adam"}, series=series, label="baseline")
    make_run(store, "intro", started=START + 60, ended=False, alive=True)
    make_run(store, "intro", started=START + 120, code=1)
    with Index(store.root) as index:
        index.refresh()
        yield index


def rows(index: Index, sql: str) -> list[tuple[object, ...]]:
    return ask_all(index, sql).rows


def test_the_views_join_by_the_runs_name(index: Index) -> None:
    assert rows(
        index,
        "select model, status, flags.value, flags.text, last, min_step, system from runs"
        " join flags on flags.run = id and name = 'lr' join metrics on metrics.run = id"
        " order by key",
    ) == [
        ("expert", "completed", 0.001, "1e-3", 0.75, 1, 0),
        ("expert", "completed", 0.001, "1e-3", 0.5, 0, 1),
    ]
    assert rows(index, "select status, exit_code from runs order by id") == [
        ("completed", 0), ("running", None), ("failed", 1),
    ]  # fmt: skip
    assert rows(index, "select distinct text from attributes where name = 'host'") == [("tower",)]


def test_times_are_what_sqlites_date_functions_read(index: Index) -> None:
    sql = "select started, julianday(stopped) - julianday(started) from runs order by id limit 1"
    took = pytest.approx(64 / 86400, rel=1e-6)
    assert rows(index, sql) == [("2026-11-20T17:45:01.000Z", took)]


def test_each_view_has_its_columns(index: Index) -> None:
    for name, (_, columns, _) in VIEWS.items():
        assert ask_all(index, f"select * from {name}").columns == [*columns]
        assert ask_all(index, f"select count(*) from {name}").rows[0][0] > 0  # type: ignore[operator]


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_nothing_can_be_changed_and_nothing_else_seen(index: Index, sql: str) -> None:
    before = index.check()
    with pytest.raises(FilterError):
        ask_all(index, sql)
    assert index.check() == before == []
    assert not os.path.exists("/tmp/x.db")


@pytest.mark.parametrize("sql", FORBIDDEN[:18])
def test_nothing_can_be_changed_in_a_run(store: RunStore, index: Index, sql: str) -> None:
    path = store.list()[2].paths.db
    before = path.read_bytes()
    with pytest.raises(FilterError):
        ask_one(path, sql.replace("runs", "attr").replace(" run", " attr"))
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.glob("run.db*")) == ["run.db"]


@pytest.mark.parametrize(
    ("sql", "message", "hint"),
    [
        ("select * from rums", "there is no table `rums`", "did you mean `runs`?"),
        ("select nme from runs", "there is no column `nme`", None),
        ("selec 1", 'near "selec": syntax error', None),
        ("select 1; select 2", "one statement at a time", None),
        ("", "there is nothing to select", None),
        ("-- nothing", "there is nothing to select", None),
        ("select * from run", "this may not be asked",
         "only SELECT, over `runs`, `flags`, `metrics`, `attributes`"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(index: Index, sql: str, message: str, hint: str | None) -> None:
    with pytest.raises(FilterError) as caught:
        ask_all(index, sql)
    assert caught.value.message.endswith(f"`{sql}`: {message}")
    assert caught.value.hint == hint


def test_an_endless_question_is_given_up(index: Index) -> None:
    endless = "with recursive t(x) as (select 1 union all select x + 1 from t) select max(x) from t"
    with pytest.raises(GuildliteError, match=r"more than 0\.05 seconds"):
        ask_all(index, endless, timeout_s=0.05)
    assert rows(index, "select count(*) from runs") == [(3,)]


def test_one_run_is_asked_by_its_own_tables(store: RunStore, index: Index) -> None:
    run = store.list()[2]
    sql = "select key, value from series join series_key on id = key_id where seq = 1"
    assert ask_one(run.paths.db, sql).rows == [("loss", 0.25)]
    run.paths.db.write_bytes(b"rubbish" * 100)
    with pytest.raises(RunUnreadable):
        ask_one(run.paths.db, sql)


def test_csv_keeps_any_text(index: Index) -> None:
    table = ask_all(index, "select 'a,\"b' || char(10) as x, null as y, 0.1 as z")
    assert [*csv.reader("\n".join(iter_csv(table)).splitlines(keepends=True))] == [
        ["x", "y", "z"], ['a,"b\n', "", "0.1"],
    ]  # fmt: skip


# Commands -----------------------------------------------------------------------------------------


@pytest.fixture
def here(store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return make_run(store, flags={"lr": "0.5"}, series={"loss": [0.25]})


def test_gl_query_prints_a_table_json_or_csv(here: Run) -> None:
    sql = "select model, last, null as gone from runs join metrics on run = id"
    answer = call("query", sql)
    assert (answer.status, answer.err) == (0, "")
    assert [line.split() for line in answer.out.splitlines()] == [
        ["model", "last", "gone"], ["expert", "0.25"],
    ]  # fmt: skip
    assert call("query", sql, "--json").out == '[{"model":"expert","last":0.25,"gone":null}]\n'
    assert call("query", sql, "--csv").out == "model,last,gone\nexpert,0.25,\n"
    assert call("query", sql, "--csv", "--json").status == 2
    one = call("query", "select value from flag", "--run", "latest")
    assert one.out.split() == ["value", "0.5"]


def test_gl_query_refuses_with_status_2(here: Run) -> None:
    answer = call("query", "drop table runs")
    assert (answer.status, answer.out) == (2, "")
    assert "this may not be asked" in answer.err


def test_gl_index_says_where_it_is_checks_and_rebuilds(here: Run) -> None:
    answer = call("index")
    assert answer.status == 0
    path = answer.out.split()[1]
    assert "1, of which" in answer.out
    assert call("index", "--check").status == 0
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE run SET label = 'wrong'")
    connection.close()
    checked = call("index", "--check")
    assert checked.status == 1
    assert checked.out == f"{here.id}  label is '', the index has 'wrong'\n"
    assert "`gl index --rebuild` makes it right" in checked.err
    assert "indexed 1 run in" in call("index", "--rebuild").err
    assert call("index", "--check").status == 0
    assert call("index", "--check", "--rebuild").status == 2


def test_gl_index_works_where_nothing_can_be_cached(
    here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GUILDLITE_CACHE", str(tmp_path / "file"))
    assert "in memory" in call("index").out
    assert call("query", "select count(*) from runs", "--csv").out == "count(*)\n1\n"
    shutil.rmtree(here.path.parent)
    assert call("query", "select count(*) from runs", "--csv").out == "count(*)\n0\n"


def test_rows_come_one_after_the_other(index: Index) -> None:
    endless = "with recursive t(n) as (select 1 union all select n + 1 from t) select n from t"

    def first_five(columns: list[str], rows: Iterator[tuple[object, ...]]) -> list[object]:
        time.sleep(0.3)  # reading slowly costs no patience
        return [columns, *(row[0] for row in itertools.islice(rows, 2500, 2503))]

    assert stream_all(index, endless, first_five, 0.2) == [["n"], 2501, 2502, 2503]
    # The connection is free again.
    assert ask_all(index, "select count(*) from runs").rows == [(3,)]


def test_the_end_of_patience_may_come_between_rows(index: Index) -> None:
    endless = (
        "with recursive t(n) as (select 1 union all select n + 1 from t)"
        " select n from t where n < 1500 or n % 100000000000 = 0"
    )
    taken: list[object] = []
    with pytest.raises(GuildliteError, match=r"took more than 0\.2 seconds"):
        stream_all(index, endless, lambda _, rows: taken.extend(row[0] for row in rows), 0.2)
    assert taken[:2] == [1, 2]


@pytest.mark.parametrize("run", [[], ["--run", "latest"]])
def test_ctrl_c_ends_a_long_question_at_once(store: RunStore, index: Index, run: list[str]) -> None:
    endless = (
        "with recursive t(n) as (select 1 union all select n + 1 from t) select count(*) from t"
    )
    code = "from guildlite.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "-C", store.root.parent, "query", endless, *run],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(guildlite.__file__).parents[1])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    time.sleep(1.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert (stdout, stderr.strip()) == (b"", b"")
    assert process.returncode == 130


@pytest.mark.skipif(sys.version_info < (3, 11), reason="SQLite's limits are set since Python 3.11")
def test_one_text_cannot_take_all_memory(index: Index) -> None:
    with pytest.raises(FilterError, match="too big"):
        ask_all(index, "select hex(zeroblob(40000000))")
