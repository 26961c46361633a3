"""The index is right after whatever happens to runs, to its own file and beside it."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.many_runs import flags_of, make_many, metrics_of
from support.run_dirs import START, make_run

import guildlite
from guildlite.cache import cache_dir
from guildlite.index import Index
from guildlite.index.reading import Examined
from guildlite.index.schema import FORMAT
from guildlite.platform import FileLock
from guildlite.query import FoundRun, find_runs
from guildlite.runs import Run, RunStore
from guildlite.runs.db import RunDb
from guildlite.runs.facts import write_fact
from guildlite.runs.paths import CHANGED_LIST
from guildlite.series import Point, Reading

LONG_AGO = START - 86_400


@pytest.fixture
def index(store: RunStore) -> Iterator[Index]:
    with Index(store.root) as index:
        yield index


def rest(root: Path, at: float = LONG_AGO) -> None:
    """Let everything under the runs root look as if nobody had touched it for a day."""
    for directory, _, files in os.walk(root):
        for name in files:
            os.utime(os.path.join(directory, name), (at, at))
        os.utime(directory, (at, at))


def ids(index: Index, text: str = "") -> list[str]:
    index.refresh()
    return [row.record.id for row in find_runs(index, text).rows]


def count_read(index: Index) -> int:
    """Refresh and return how many runs are read for it."""
    read = [0]
    index.refresh(progress=lambda done, total: read.append(total))
    return read[-1]


# What it says -----------------------------------------------------------------------------------


def test_it_says_what_the_directories_say(store: RunStore, index: Index) -> None:
    make_many(store.root, 12)
    broken = store.create("broken", now=START)
    broken.paths.lock.touch()  # so it is none that is just being made
    labelled = make_run(store, label="baseline", flags={"lr": "1e-3"}, started=START + 1)
    make_run(store, started=START + 2, code=None, signal=9)
    make_run(store, started=START + 3, ended=False, alive=True, series={"loss": [2.0, 0.5]})
    index.refresh()
    assert index.check() == []
    rows = find_runs(index).rows
    assert [row.record.id for row in rows] == [run.id for run in store.list()]
    assert [row.path for row in rows] == [str(run.path) for run in store.list()]
    by_id = {row.record.id: row.record for row in rows}
    assert by_id[broken.id].status == "unreadable"
    assert by_id[broken.id].error == "gl.d/meta/manifest.json is missing"
    assert by_id[labelled.id].flags == {"lr": "1e-3"}
    assert rows[0].record.status == "running"
    assert rows[0].record.series["loss"].last == 0.5
    first = rows[-1].record
    assert dict(first.flags) == flags_of(0)
    assert {key: each[1:6] for key, each in first.series.items()} == metrics_of(0)


def test_the_order_and_the_numbers_are_those_of_the_store(store: RunStore, index: Index) -> None:
    for moment in (START, START, START + 0.2, START - 50):
        make_run(store, started=moment)
    (store.root / "20261120T174501Z-other").mkdir()
    shutil.copytree(store.list()[0].path, store.root / "named by hand")
    listed = [run.id for run in store.list()]
    assert ids(index) == listed
    found = find_runs(index, "expert", sort="id")
    assert {row.record.id: row.position for row in found.rows} == {
        name: place for place, name in enumerate(listed, 1) if "expert" in name or "hand" in name
    }


@pytest.mark.parametrize("text, sort", [("", ""), ("optimizer = adam", ""), ("", "-train/loss")])
def test_an_answer_in_pages_is_the_answer(
    store: RunStore, index: Index, text: str, sort: str
) -> None:
    make_many(store.root, 30)
    index.refresh()
    whole = find_runs(index, text, sort=sort).rows
    pages = [
        find_runs(index, text, sort=sort, limit=7, offset=start, count=True)
        for start in range(0, 35, 7)
    ]
    assert [row for page in pages for row in page.rows] == whole
    assert {page.total for page in pages} == {len(whole)}


def test_more_runs_than_a_statement_takes_are_read(store: RunStore, index: Index) -> None:
    from guildlite.index.rows import read_records

    make_many(store.root, 40)
    index.refresh()
    records = [row.record for row in find_runs(index).rows]
    ids = dict(index.ask(lambda c: c.execute("SELECT name, id FROM run").fetchall()))
    for count in (3, 9, 40):  # part by part, and where it is a quarter of all from end to end
        wanted = [ids[record.id] for record in records[:count]]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("guildlite.index.rows._FEW", 4)
            assert index.ask(lambda c: read_records(c, wanted)) == records[:count]  # noqa: B023
            some = index.ask(lambda c: read_records(c, wanted, only_series=["metric9"]))  # noqa: B023
        assert [dict(each.series) for each in some] == [
            {"metric9": record.series["metric9"]} for record in records[:count]
        ]


def test_names_that_are_no_text_are_listed(store: RunStore, index: Index) -> None:
    run = make_run(store, started=LONG_AGO)
    strange = os.fsencode(store.root) + b"/20261120T174501Z-\xff"
    os.rename(os.fsencode(run.path), strange)
    assert [os.fsencode(row.path) for row in _rows(index)] == [strange]
    index.refresh()
    assert [os.fsencode(row.path) for row in _rows(index)] == [strange]


def _rows(index: Index) -> list[FoundRun]:
    index.refresh()
    return find_runs(index).rows


# What it costs ----------------------------------------------------------------------------------


def test_what_did_not_change_is_not_read_again(store: RunStore, index: Index) -> None:
    make_many(store.root, 5)
    assert count_read(index) == 5
    rest(store.root)
    index.refresh()  # the directory's own stamp was young
    assert count_read(index) == 0
    assert count_read(index) == 0


def test_only_what_changed_is_read(store: RunStore, index: Index) -> None:
    make_many(store.root, 5)
    index.refresh()
    run = store.list()[2]
    run.set_label("late")
    assert count_read(index) == 1
    assert ids(index, "label = late") == [run.id]


def test_a_status_that_can_change_is_never_stored(store: RunStore, index: Index) -> None:
    run = make_run(store, ended=False, alive=True, started=LONG_AGO)
    rest(store.root)
    assert ids(index, "status = running") == [run.id]
    with sqlite3.connect(str(index.path)) as other:
        assert other.execute("SELECT status, sealed FROM run").fetchall() == [(None, 0)]
    other.close()
    # The end comes between the refresh and the question.
    index.refresh()
    write_fact(run.paths.exit, {"time": LONG_AGO + 5, "duration_s": 5.0, "code": 3})
    found = find_runs(index, "status = failed and exit_code = 3 and duration = 5s").rows
    assert [row.record.id for row in found] == [run.id]


def test_a_process_that_dies_is_seen_without_any_file_changing(
    store: RunStore, index: Index
) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run = make_run(store, ended=False, alive=True)
    from guildlite.platform import ProcessIdentity

    fact = {"time": START, "training": ProcessIdentity.of(child.pid).to_json()}
    run.paths.started.unlink()
    write_fact(run.paths.started, fact)
    assert ids(index, "status = running") == [run.id]
    child.kill()
    child.communicate()
    assert [row.record.status for row in find_runs(index).rows] == ["lost"]


def test_runs_that_ended_without_being_brought_to_rest_are_handed_over(
    store: RunStore, index: Index
) -> None:
    from guildlite.execute.catchup import settle

    make_run(store, started=LONG_AGO)
    lost = make_run(store, ended=False, started=LONG_AGO + 60, series={"loss": [1.0]})
    lost.paths.heartbeat.touch()
    lost.paths.stdout.write_text("accuracy: 0.75\n")
    handed: list[str] = []
    index.refresh(settle=lambda runs: handed.extend(run.id for run in runs))
    assert lost.id in handed
    assert ids(index, "count(loss) > 1") == []
    index.refresh(settle=settle)
    assert [row.record.id for row in find_runs(index, "output/accuracy = 0.75").rows] == [lost.id]
    assert not lost.paths.heartbeat.exists()


# Late changes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["label", "note", "mark", "evaluation", "trash", "restore"])
def test_what_gl_changes_is_found_at_once(store: RunStore, index: Index, what: str) -> None:
    run, other = make_run(store, started=LONG_AGO), make_run(store, started=LONG_AGO + 60)
    rest(store.root)
    for _ in range(2):
        index.refresh()
    if what == "label":
        run.set_label("x")
    elif what == "note":
        run.set_note("x")
    elif what == "mark":
        run.set_mark(True)
    elif what == "evaluation":
        _evaluate(run)
    elif what == "trash":
        store.trash(run)
        # Even where the file system's clock stands still.
        os.utime(store.root, (LONG_AGO, LONG_AGO))
    else:
        gone = store.trash(run)
        assert ids(index) == [other.id]
        store.restore(Run(gone))
    expected = [other.id] if what == "trash" else [other.id, run.id]
    assert ids(index) == expected
    assert index.check() == []


def _evaluate(run: Run) -> None:
    from guildlite.execute.recorder import seal

    db = RunDb(run.paths.db)
    db.write([Reading(None, {"test/accuracy": [Point(0, None, 0.75)]})])
    seal(run, db)


def test_what_others_change_is_found_when_all_are_looked_at(
    store: RunStore, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(store, started=LONG_AGO, series={"loss": [1.0]})
    rest(store.root)
    for _ in range(2):
        index.refresh()
    # As rsync does it: the file gets a new content and the time of its source.
    copy = run.paths.db.with_name("copy")
    shutil.copy(run.paths.db, copy)
    with RunDb(copy) as db:
        db.write([Reading(None, {"loss": [Point(9, None, 0.25)]})])
        db.seal({})
    os.replace(copy, run.paths.db)
    os.utime(run.paths.db, (LONG_AGO + 7, LONG_AGO + 7))
    assert ids(index, "loss = 1") == [run.id]  # nothing says so yet
    an_hour_later = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: an_hour_later)
    assert ids(index, "loss = 0.25") == [run.id]


def test_a_clock_that_goes_back_makes_it_look_at_all(
    store: RunStore, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(store, started=LONG_AGO - 86_400)
    rest(store.root, LONG_AGO - 86_400)
    for _ in range(2):
        index.refresh()
    (run.paths.meta / "label").write_text("by hand")
    os.utime(store.root, (LONG_AGO - 86_400, LONG_AGO - 86_400))
    assert ids(index, "label contains hand") == []
    yesterday = time.time() - 86_400
    monkeypatch.setattr(time, "time", lambda: yesterday)
    assert ids(index, "label contains hand") == [run.id]


def test_a_look_at_many_runs_is_spread_over_refreshes(
    store: RunStore, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    from guildlite.index import index as module

    make_many(store.root, 10)
    rest(store.root)
    for _ in range(3):
        index.refresh()
    runs = store.list()
    for run in (runs[1], runs[8]):
        (run.paths.meta / "label").write_text("by hand")  # nobody notes this one
    monkeypatch.setattr(module, "_LOOK_BATCH", 4)
    monkeypatch.setattr(module, "MOVED_LOOK_S", 0.0)
    os.utime(store.root, (LONG_AGO + 60, LONG_AGO + 60))
    assert ids(index, "label contains hand") == [runs[1].id]
    # Another run comes before the look is over, and is found at once.
    new = make_run(store, started=LONG_AGO)
    rest(new.path)
    os.utime(store.root, (LONG_AGO + 120, LONG_AGO + 120))
    (runs[2].paths.meta / "mark").write_text("*")
    assert new.id in ids(index)
    assert ids(index, "label contains hand") == [runs[1].id, runs[8].id]
    for _ in range(4):
        index.refresh()
    assert index.check() == []
    assert count_read(index) == 0


def test_a_run_that_is_gone_is_forgotten_at_once_however_many_there_are(
    store: RunStore, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    from guildlite.index import index as module

    make_many(store.root, 10)
    rest(store.root)
    for _ in range(3):
        index.refresh()
    monkeypatch.setattr(module, "_LOOK_BATCH", 2)
    monkeypatch.setattr(module, "MOVED_LOOK_S", 0.0)
    oldest = store.list()[-1]
    shutil.rmtree(oldest.path)
    assert oldest.id not in ids(index)
    assert len(ids(index)) == 9


def test_a_run_that_was_copied_here_is_found(store: RunStore, index: Index) -> None:
    elsewhere = RunStore(store.root.parent / "elsewhere")
    run = make_run(elsewhere, started=LONG_AGO, label="from afar")
    store.root.mkdir()
    assert ids(index) == []
    shutil.copytree(run.path, store.root / run.id, copy_function=shutil.copy2)
    assert ids(index, '"from afar"') == [run.id]


def test_the_list_of_changes_may_be_deleted_cut_and_filled_with_rubbish(
    store: RunStore, index: Index
) -> None:
    make_many(store.root, 3)
    runs = store.list()
    listed = store.root / CHANGED_LIST
    runs[0].set_label("one")
    assert ids(index, "label = one") == [runs[0].id]
    listed.unlink()
    runs[1].set_label("two")
    assert ids(index, "label = two") == [runs[1].id]
    with open(listed, "ab") as file:
        file.write(b"\n../../etc\nnothing\n\xff\xfe\nhalf a li")
    assert len(ids(index)) == 3
    with open(listed, "ab") as file:
        file.write(b"ne\n")
    runs[2].set_label("three")
    assert ids(index, "label = three") == [runs[2].id]


def test_a_full_list_begins_anew(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    import guildlite.runs.changes as changes

    monkeypatch.setattr(changes, "_MOST_BYTES", 100)
    run = make_run(store)
    sizes = set()
    for _ in range(30):
        changes.note_change(run.path)
        listed = store.root / CHANGED_LIST
        sizes.add(listed.stat().st_size if listed.exists() else 0)
    assert max(sizes) <= 100 and 0 in sizes


# Its own file -----------------------------------------------------------------------------------


def test_it_lies_in_the_users_cache_under_the_root_and_the_format(
    store: RunStore, index: Index
) -> None:
    make_run(store)
    index.refresh()
    assert index.path is not None
    assert index.path.is_relative_to(cache_dir() / "index")
    assert index.path.parent.name.startswith("runs-")
    assert index.path.parent.name.endswith(f"-v{FORMAT}")
    assert index.path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["rubbish", "empty", "cut", "version", "no table", "root"])
def test_a_damaged_index_is_built_anew(store: RunStore, index: Index, damage: str) -> None:
    make_many(store.root, 30)
    expected = ids(index)
    path = index.path
    assert path is not None
    index.close()
    if damage == "rubbish":
        path.write_bytes(b"not a database" * 1000)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2 // 4096 * 4096])
    else:
        statement = {
            "version": "PRAGMA user_version = 99",
            "no table": "DROP TABLE metric",
            "root": "UPDATE meta SET value = '/elsewhere' WHERE name = 'root'",
        }[damage]
        other = sqlite3.connect(path, isolation_level=None)
        other.execute(statement)
        other.close()
    assert ids(index) == expected
    assert find_runs(index, "train/loss < 2").rows != []
    assert index.check() == []


def test_a_deleted_index_is_built_anew(store: RunStore, index: Index, cache: Path) -> None:
    make_many(store.root, 3)
    expected = ids(index)
    index.close()
    shutil.rmtree(cache)
    assert ids(index) == expected


def test_where_nothing_can_be_written_it_answers_from_memory(
    store: RunStore, tmp_path: Path
) -> None:
    make_many(store.root, 3)
    (tmp_path / "file").write_text("")
    with Index(store.root, tmp_path / "file" / "index") as index:
        assert len(ids(index)) == 3
        assert index.path is None


@pytest.mark.parametrize("what", ["directory", "link", "full directory"])
def test_what_stands_in_the_locks_place_is_not_taken_for_a_refresher(
    store: RunStore, index: Index, what: str
) -> None:
    make_many(store.root, 3)
    index.refresh()
    assert index.path is not None
    index.close()
    lock = index.path.parent / "lock"
    lock.unlink()
    if what == "link":
        lock.symlink_to("/dev/null")
    else:
        lock.mkdir()
    if what == "full directory":
        (lock / "something").touch()  # which is not ours to delete
    run = store.list()[1]
    run.set_label("late")
    assert ids(index, "label = late") == [run.id]
    assert (index.path is None) == (what == "full directory")
    run.set_label("later")
    assert ids(index, "label = later") == [run.id]
    assert ids(index, "train/loss < 2") == [each.id for each in store.list()]


def test_an_index_that_can_only_be_read_is_copied_and_refreshed_in_memory(
    store: RunStore, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_many(store.root, 5)
    rest(store.root)
    for _ in range(2):
        index.refresh()
    index.close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    run = store.list()[1]
    run.set_label("late")
    assert count_read(index) == 1
    assert index.path is None
    assert [row.record.id for row in find_runs(index, "label = late").rows] == [run.id]
    assert index.check() == []


# Runs of strangers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE attr SET value = x'ff00'",
        "UPDATE attr SET name = 17 WHERE name = 'host'",
        "UPDATE attr SET value = CAST(x'ff41' AS TEXT)",
        "UPDATE series_key SET last = 'text', min = x'00'",
        "UPDATE series_key SET count = 'many'",
        "UPDATE series_key SET last = 9e999, min = -9e999, max = NULL",
        "UPDATE series_key SET key = x'01' WHERE id = 1",
        "UPDATE series_key SET key = CAST(x'ff41' AS TEXT) WHERE id = 1",
        "DROP TABLE series_key",
        "PRAGMA user_version = 99",
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_strange_run_db_hides_no_other_run(
    store: RunStore, index: Index, change: str, alone: bool
) -> None:
    make_many(store.root, 3)
    strange, *others = store.list()
    connection = sqlite3.connect(strange.paths.db, isolation_level=None)
    connection.execute(change)
    connection.close()
    if alone:  # read by itself rather than with all that are at rest
        strange.paths.heartbeat.touch()
        os.utime(strange.paths.heartbeat, (LONG_AGO, LONG_AGO))
    assert ids(index) == [strange.id, *(run.id for run in others)]
    assert ids(index, "train/loss < 2 and metric9 < 2")[-2:] == [run.id for run in others]
    assert index.check() == []


def test_a_view_without_end_is_not_read_to_its_end(
    store: RunStore, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    from guildlite.index import reading

    monkeypatch.setattr(reading, "_LONGEST_S", 0.05)
    make_many(store.root, 3)
    strange = store.list()[0]
    connection = sqlite3.connect(strange.paths.db, isolation_level=None)
    connection.execute("DROP TABLE attr")
    connection.execute(
        "CREATE VIEW attr AS WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t)"
        " SELECT n AS name, n AS value FROM t"
    )
    connection.close()
    assert len(ids(index)) == 3
    found = find_runs(index, "error contains view").rows
    assert [row.record.id for row in found] == [strange.id]


def test_check_names_what_differs(store: RunStore, index: Index) -> None:
    make_many(store.root, 3)
    index.refresh()
    other = sqlite3.connect(str(index.path), isolation_level=None)
    name = other.execute("SELECT name FROM run WHERE id = 1").fetchone()[0]
    other.execute("UPDATE run SET label = 'wrong' WHERE id = 1")
    other.execute("DELETE FROM run WHERE id = 2")
    other.close()
    said = [(each.run, each.what) for each in index.check()]
    assert (name, "label is '', the index has 'wrong'") in said
    assert any(what == "is missing in the index" for _, what in said)


def test_rebuild_tells_its_progress_and_takes_the_old_ones_place(
    store: RunStore, index: Index
) -> None:
    make_many(store.root, 7)
    index.refresh()
    first = index.path
    told: list[tuple[int, int]] = []
    assert index.rebuild(progress=lambda done, total: told.append((done, total))) == 7
    assert told[-1] == (7, 7)
    assert index.path != first
    index.refresh()
    assert index.path is not None
    assert [path.name for path in index.path.parent.glob("*.db")] == [index.path.name]
    # Who had the old one open takes the new.
    with Index(store.root) as other:
        other.refresh()
        index.rebuild()
        store.list()[0].set_label("late")
        assert len(ids(other, "label = late")) == 1
        assert other.path == index.path


# Many at once -----------------------------------------------------------------------------------


def test_nobody_waits_for_a_refresh(store: RunStore, index: Index) -> None:
    make_many(store.root, 3)
    index.refresh()
    assert index.path is not None
    run = store.list()[0]
    run.set_label("late")
    lock = FileLock(index.path.parent / "lock")
    assert lock.try_acquire()
    # Somebody is in the middle of writing.
    writer = sqlite3.connect(index.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE run SET label = 'half'")
    with Index(store.root) as reader:
        before = time.monotonic()
        assert reader.refresh() is False
        assert [row.record.label for row in find_runs(reader).rows] == ["", "", ""]
        assert time.monotonic() - before < 4
    writer.execute("ROLLBACK")
    writer.close()
    lock.release()
    assert ids(index, "label = late") == [run.id]


def test_while_the_first_is_built_others_read_for_themselves(store: RunStore) -> None:
    make_many(store.root, 3)
    with Index(store.root) as index:
        index._place.make()
        lock = FileLock(index._place.directory / "lock")
        assert lock.try_acquire()
        assert index.refresh() is False
        assert len(find_runs(index).rows) == 3
        assert index.path is None
        lock.release()


def test_four_processes_and_a_writer_never_see_a_locked_database(store: RunStore) -> None:
    make_many(store.root, 40)
    code = (
        "import sys; from pathlib import Path\n"
        "from guildlite.index import Index; from guildlite.query import FoundRun, find_runs\n"
        "for turn in range(15):\n"
        "    with Index(Path(sys.argv[1])) as index:\n"
        "        if turn == 7: index.rebuild()\n"
        "        index.refresh()\n"
        "        assert len(find_runs(index, 'train/loss < 2').rows) == 40\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(guildlite.__file__).parents[1])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(store.root)], env=environ, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    done = threading.Event()

    def change() -> None:
        number = 0
        while not done.is_set():
            number += 1
            store.list()[number % 40].set_label(f"turn {number}")

    writer = threading.Thread(target=change)
    writer.start()
    errors = [process.communicate(timeout=100)[1].decode() for process in processes]
    done.set()
    writer.join()
    assert errors == [""] * 4
    with Index(store.root) as index:
        index.refresh()
        assert index.check() == []


@pytest.mark.parametrize("first", [True, False])
def test_what_a_killed_build_left_is_in_nobodys_way(
    store: RunStore, index: Index, first: bool
) -> None:
    make_many(store.root, 3)
    if not first:
        index.refresh()
        index.close()
    code = (
        "import os, sys; from pathlib import Path\n"
        "from guildlite.index import index as module\n"
        "module.create_indexes = lambda _: os.kill(os.getpid(), 9)\n"
        "with module.Index(Path(sys.argv[1])) as index: index.rebuild()\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(guildlite.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code, store.root], env=environ)
    assert done.returncode == -9
    (left,) = (cache_dir() / "index").glob("*/*.new")
    assert len(ids(index)) == 3
    assert index.rebuild() == 3
    assert index.path is not None and not left.exists()


def test_processes_that_are_killed_leave_an_index_that_is_right(store: RunStore) -> None:
    make_many(store.root, 60)
    code = (
        "import sys; from pathlib import Path\n"
        "from guildlite.index import Index; from guildlite.query import find_runs\n"
        "while True:\n"
        "    with Index(Path(sys.argv[1])) as index:\n"
        "        if int(sys.argv[2]) % 3 == 0: index.rebuild()\n"
        "        index.refresh(); assert len(find_runs(index).rows) > 0\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(guildlite.__file__).parents[1])}
    draw = random.Random(7)
    runs = store.list()
    for turn in range(5):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, store.root, str(number)], env=environ,
                stderr=subprocess.PIPE,
            )
            for number in range(4)
        ]  # fmt: skip
        for process in processes:
            time.sleep(draw.uniform(0.05, 0.25))
            runs[turn].set_label(f"turn {turn}")
            process.kill()
        assert [process.communicate()[1] for process in processes] == [b""] * 4
    store.trash(runs[-1])
    with Index(store.root) as index:
        assert index.refresh() is True
        assert index.check() == []
        assert len(find_runs(index, "label contains turn").rows) == 5
        assert index.path is not None
        index.refresh()
        left = {path.name.partition("-")[0] for path in index.path.parent.iterdir()}
        assert left == {"lock", index.path.name}


# Several processes read --------------------------------------------------------------------------


def test_several_processes_read_what_one_would(
    store: RunStore, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    from guildlite.index import reading

    make_many(store.root, 330)
    make_run(store, ended=False, alive=True, series={"loss": [0.5]}, label="ü \ud800")
    store.create("broken", now=START)
    names = sorted(run.id for run in store.list())
    now = time.time()
    alone = [*reading.examine_all(str(store.root), names, now)]
    monkeypatch.setattr(reading, "_MANY", 1)
    monkeypatch.setattr(reading, "_has_threads", lambda: False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2, 3}, raising=False)
    together = [*reading.examine_all(str(store.root), names, now)]
    assert [_timeless(each) for each in together] == [_timeless(each) for each in alone]


def test_what_a_process_that_dies_did_not_read_is_read_all_the_same(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from guildlite.index import reading

    make_many(store.root, 230)
    names = sorted(run.id for run in store.list())
    monkeypatch.setattr(reading, "_MANY", 1)
    monkeypatch.setattr(reading, "_has_threads", lambda: False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2}, raising=False)
    monkeypatch.setattr(reading, "_send", lambda *_: os.kill(os.getpid(), 9))
    found = [*reading.examine_all(str(store.root), names, time.time())]
    assert [each.record.id for each in found] == names


def _timeless(examined: Examined) -> Examined:
    # Of what goes on, the duration is another one at each look.
    return examined._replace(record=examined.record._replace(duration=None))
