"""RunStore and Run: names, finding, the trash, and runs that cannot be read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.run_dirs import START, make_run

from guildlite.errors import GuildliteError, LaunchError, RunNotFound, RunUnreadable, UsageError
from guildlite.runs import Run, RunStore, Status
from guildlite.runs.facts import read_fact, write_fact, write_text
from guildlite.runs.find import mentions
from guildlite.runs.store import safe_name


def ids(runs: list[Run]) -> list[str]:
    return [run.id for run in runs]


# --- Names -------------------------------------------------------------------------------------


def test_a_name_is_utc_time_and_model_and_a_number_when_taken(store: RunStore) -> None:
    made = [store.create("expert", now=START).id for _ in range(3)]
    assert made == [f"20261120T174501Z-expert{suffix}" for suffix in ("", "-2", "-3")]
    assert store.create("", now=START).id == "20261120T174501Z"


def test_200_launches_at_once_get_200_directories(store: RunStore) -> None:
    code = (
        "import sys; from pathlib import Path; from guildlite.runs import RunStore\n"
        "store = RunStore(Path(sys.argv[1]))\n"
        f"for _ in range(10): print(store.create('m', now={START}).id)\n"
    )
    made: list[str] = []

    def threads() -> None:
        made.extend(store.create("m", now=START).id for _ in range(10))

    workers = [threading.Thread(target=threads) for _ in range(16)]
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(store.root)], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for process in processes:
        made += process.communicate()[0].decode().split()
    assert len(made) == len(set(made)) == 200
    assert sorted(made) == sorted(os.listdir(store.root))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("a/b c\nd", "a_b_c_d"),
        ("..", ""),
        ("größe", "größe"),
        ("x\udcff", "x_"),
        ("漢" * 200, "漢" * 33),
        ("$HOME;rm", "_HOME_rm"),
    ],
)
def test_names_are_safe_for_files(store: RunStore, model: str, name: str) -> None:
    assert safe_name(model) == name
    assert store.create(model).path.is_dir()


def test_a_root_that_cannot_be_made_is_a_launch_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LaunchError, match="cannot make a run directory") as caught:
        RunStore(tmp_path / "file" / "runs").create("m")
    assert caught.value.exit_code == 125


# --- Finding -----------------------------------------------------------------------------------


@pytest.fixture
def four(store: RunStore) -> RunStore:
    """Runs of four seconds, the newest `20261120T174504Z-intro`."""
    for second, model in enumerate(["expert", "expert", "conv", "intro"]):
        make_run(store, model, started=START + second)
    return store


def test_newest_first_and_numbers_count_from_one(four: RunStore) -> None:
    assert ids(four.list()) == [
        "20261120T174504Z-intro", "20261120T174503Z-conv",
        "20261120T174502Z-expert", "20261120T174501Z-expert",
    ]  # fmt: skip
    assert four.get("1").id == four.get("latest").id == "20261120T174504Z-intro"
    assert four.get("4").id == "20261120T174501Z-expert"


def test_parts_of_names_directories_and_labels(
    four: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert four.get("conv").id == four.get("174503").id == "20261120T174503Z-conv"
    with pytest.raises(UsageError, match="`expert` fits 2 runs"):
        four.get("expert")
    path = four.root / "20261120T174501Z-expert"
    assert four.get(str(path)).path == path
    monkeypatch.chdir(path / "gl.d")
    assert four.get("..").path == path and four.get("../").id == path.name
    four.get("2").set_label("best")
    assert four.get("best").id == "20261120T174503Z-conv" and not four.notices
    four.get("4").set_label("best")
    assert four.get("best").id == "20261120T174503Z-conv"
    assert four.notices == ["2 runs are labelled `best`; took the newest, 20261120T174503Z-conv"]


def test_an_exact_name_wins_over_longer_ones(store: RunStore) -> None:
    for _ in range(3):
        make_run(store, "m")
    assert store.get("20261120T174501Z-m").id == "20261120T174501Z-m"


@pytest.mark.parametrize("ref", ["", "77", "0000", "²", "nothing", "./", "no/such", "999999999999"])
def test_what_names_no_run(
    four: RunStore, tmp_path: Path, ref: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunNotFound):
        four.get(ref)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], 2),
        (["EXPERT"], 1),
        (["so", "best"], 1),
        (["2026", "t"], 2),
        (["so", "intro"], 0),
        (["best\n"], 0),
    ],
)
def test_words_are_looked_for_in_name_label_and_model(
    store: RunStore, words: list[str], found: int
) -> None:
    runs = [make_run(store, label="Best so far"), make_run(store, "intro")]
    assert sum(mentions(run, words) for run in runs) == found


def test_numbers_begin_at_one(four: RunStore) -> None:
    with pytest.raises(RunNotFound, match="no run 0: they are numbered from 1 to 4"):
        four.get("0")


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        ({"code": 3}, "exit status 3"),
        ({"code": 0}, "exit status 0"),
        ({"code": 127, "error": "sh: no such file"}, "exit status 127: sh: no such file"),
        ({"code": None, "signal": 9}, "died of SIGKILL"),
        ({}, ""),
    ],
)
def test_how_it_ended_in_words(store: RunStore, fact: dict[str, object], words: str) -> None:
    run = make_run(store, ended=False)
    assert run.ending == ""
    write_fact(run.paths.exit, fact)
    assert run.fresh().ending == words


def test_a_later_operation_looked_at_anew(store: RunStore) -> None:
    run = make_run(store)
    paths = run.paths.operation("2-evaluate")
    paths.meta.mkdir(parents=True)
    write_fact(paths.manifest, {"operation": "evaluate"})
    (later,) = run.later_operations()
    assert (later.exit_code, later.status) == (None, Status.LOST)
    write_fact(paths.exit, {"code": 4})
    assert (later.fresh().exit_code, later.fresh().status) == (4, Status.FAILED)
    assert later.status == Status.LOST


def test_a_misspelt_name_gets_the_nearest(four: RunStore) -> None:
    with pytest.raises(RunNotFound) as caught:
        four.get("20261120T174504Z-intor")
    assert caught.value.hint == "did you mean `20261120T174504Z-intro`?"
    with pytest.raises(RunNotFound, match="there are no runs"):
        RunStore(four.root / "none").get("latest")


def test_ranges(four: RunStore) -> None:
    newest = ids(four.list())
    assert ids(four.select(["2-3"])) == newest[1:3]
    assert ids(four.select(["3-"])) == newest[2:]
    assert ids(four.select(["2-99"])) == newest[1:]
    assert ids(four.select(["4", "1-2", "intro", str(four.root / newest[3])])) == [
        newest[3], newest[0], newest[1],
    ]  # fmt: skip
    for wrong in ("0-2", "3-2", "5-", "9-12"):
        with pytest.raises(UsageError, match="no runs in the range"):
            four.select([wrong])


def test_order_follows_the_names_when_the_clock_jumped(store: RunStore) -> None:
    later = make_run(store, "m", started=START + 3600)
    earlier = make_run(store, "m", started=START)
    second = make_run(store, "m", started=START)
    os.rename(make_run(store, "x", started=START + 60).path, store.root / "renamed")
    assert ids(store.list()) == [later.id, "renamed", second.id, earlier.id]


# --- Runs that cannot be read ------------------------------------------------------------------


def damage_gone(run: Run) -> None:
    run.paths.manifest.unlink()


def damage_broken(run: Run) -> None:
    run.paths.manifest.write_bytes(b'{"uid": "x')


def damage_list(run: Run) -> None:
    run.paths.manifest.write_text("[1]")


def damage_link(run: Run) -> None:
    run.paths.manifest.unlink()
    run.paths.manifest.symlink_to("/etc/passwd")


def damage_fifo(run: Run) -> None:
    run.paths.manifest.unlink()
    os.mkfifo(run.paths.manifest)


def damage_nested(run: Run) -> None:
    run.paths.manifest.write_text("[" * 200_000)


def damage_empty(run: Run) -> None:
    shutil.rmtree(run.paths.root)
    run.paths.root.mkdir()


def damage_no_own(run: Run) -> None:
    shutil.rmtree(run.paths.root)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_gone, "gl.d/meta/manifest.json is missing"),
        (damage_broken, "gl.d/meta/manifest.json is damaged"),
        (damage_list, "gl.d/meta/manifest.json is damaged"),
        (damage_nested, "gl.d/meta/manifest.json is damaged"),
        (damage_link, "gl.d/meta/manifest.json is not a plain file"),
        (damage_fifo, "gl.d/meta/manifest.json is not a plain file"),
        (damage_empty, "gl.d/meta/manifest.json is missing"),
        (damage_no_own, "gl.d is missing"),
    ],
)
def test_a_bad_run_is_listed_with_its_reason_and_hides_no_other(
    four: RunStore, damage: Callable[[Run], None], reason: str
) -> None:
    bad = four.get("2")
    damage(bad)
    listed = four.list()
    assert ids(listed) == ids([*listed]) and len(listed) == 4
    assert [run.error for run in listed] == [None, reason, None, None]
    broken = listed[1]
    # Everything else still answers.
    assert broken.flags == {} and broken.command == [] and broken.model == ""
    assert broken.duration_s in (None, 64.0) and broken.label == "" and not broken.busy()
    assert four.trash(broken).parent == four.root / ".trash"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_is_a_reason(four: RunStore) -> None:
    bad = four.get("2")
    bad.paths.root.chmod(0)
    try:
        assert "Permission denied" in str(four.list()[1].error)
    finally:
        bad.paths.root.chmod(0o755)


@pytest.mark.parametrize("data", [b"", b"garbage" * 1000])
def test_a_garbage_run_db_is_that_runs_own_trouble(four: RunStore, data: bytes) -> None:
    four.get("2").paths.db.write_bytes(data)
    with pytest.raises(RunUnreadable):
        four.get("2").read()
    assert four.get("2").status == Status.COMPLETED
    with four.get("1").read() as reader:
        assert reader.attrs()["host"] == "tower"


@pytest.mark.parametrize("wild", [1e300, "soon", True, None, -1e18, {"a": 1}])
def test_wild_times_in_a_manifest_break_nothing(four: RunStore, wild: object) -> None:
    run = four.get("2")
    manifest = {**run.manifest, "created": wild, "flags": wild, "command": wild}
    run.paths.manifest.write_text(json.dumps(manifest))
    os.rename(run.path, four.root / "renamed")
    again = next(each for each in four.list() if each.id == "renamed")
    assert again.created_at is None and again.error is None and again.command == []


def test_a_root_that_is_no_directory_is_an_error_and_not_an_empty_list(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(GuildliteError, match="cannot be listed"):
        RunStore(tmp_path / "runs").list()
    assert RunStore(tmp_path / "none").list() == []


def test_a_foreign_directory_is_no_run(four: RunStore) -> None:
    (four.root / "notes").mkdir()
    (four.root / "20261120T174509Z-file").write_text("")
    assert len(four.list()) == 4


# --- Trash -------------------------------------------------------------------------------------


def test_to_the_trash_and_back(four: RunStore) -> None:
    run = four.get("conv")
    files = sorted(path.name for path in run.path.rglob("*"))
    four.trash(run)
    assert len(four.list()) == 3 and ids(four.trashed()) == [run.id]
    (trashed,) = four.select(["1"], trashed=True)
    assert four.restore(trashed) == run.path
    assert len(four.list()) == 4 and four.trashed() == []
    assert sorted(path.name for path in run.path.rglob("*")) == files


def test_a_run_elsewhere_goes_to_the_trash_beside_it(four: RunStore, tmp_path: Path) -> None:
    other = RunStore(tmp_path / "other")
    run = make_run(other, "m")
    assert four.trash(run) == tmp_path / "other" / ".trash" / run.id
    assert ids(other.trashed()) == [run.id] and four.trashed() == []


def test_running_runs_stay(store: RunStore) -> None:
    run = make_run(store, "m", ended=False, alive=True)
    with pytest.raises(GuildliteError, match="is still running") as caught:
        store.trash(run)
    assert caught.value.hint == f"gl stop {run.id}"
    (store.root / ".trash").mkdir()
    os.rename(run.path, store.root / ".trash" / run.id)
    with pytest.raises(GuildliteError, match="is still running"):
        store.purge(store.trashed()[0])


def test_a_taken_name_is_not_overwritten(four: RunStore) -> None:
    run = four.get("conv")
    four.trash(run)
    make_run(four, "conv", started=START + 2)
    with pytest.raises(GuildliteError, match="is already there"):
        four.restore(four.trashed()[0])
    with pytest.raises(GuildliteError, match="is already there"):
        four.trash(four.get("conv"))
    with pytest.raises(GuildliteError, match="is in the trash already"):
        four.trash(four.trashed()[0])


def test_only_what_is_in_the_trash_is_deleted(four: RunStore, tmp_path: Path) -> None:
    outside = four.get("conv")
    with pytest.raises(GuildliteError, match="is not in the trash"):
        four.purge(outside)
    with pytest.raises(GuildliteError, match="is not in the trash"):
        four.restore(outside)
    run = four.get("intro")
    (run.path / "weights").symlink_to(outside.path)
    four.trash(run)
    (four.root / ".trash" / "link").symlink_to(outside.path)
    for trashed in four.trashed():
        four.purge(trashed)
    assert os.listdir(four.root / ".trash") == []
    assert outside.paths.db.exists() and len(four.list()) == 3


def test_a_trash_that_is_a_link_is_not_emptied(four: RunStore, tmp_path: Path) -> None:
    elsewhere = RunStore(tmp_path / "elsewhere")
    kept = make_run(elsewhere, "m")
    (four.root / ".trash").symlink_to(elsewhere.root)
    for run in four.trashed():
        with pytest.raises(GuildliteError, match="is not in the trash"):
            four.purge(run)
    assert kept.paths.db.exists()


# --- Facts and words ---------------------------------------------------------------------------


def test_of_two_writers_of_a_fact_the_first_wins_and_nothing_is_left_over(tmp_path: Path) -> None:
    won: list[bool] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        won.append(write_fact(tmp_path / "exit.json", {"code": number, "pad": "x" * 10_000}))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(won) == [False] * 7 + [True]
    fact = read_fact(tmp_path / "exit.json")
    assert fact is not None and len(str(fact["pad"])) == 10_000
    assert os.listdir(tmp_path) == ["exit.json"]


def test_words_are_replaced_whole_by_many_writers_at_once(tmp_path: Path) -> None:
    def write(letter: str) -> None:
        for _ in range(20):
            write_text(tmp_path / "note", letter * 5000)

    writers = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    text = (tmp_path / "note").read_text()
    assert len(text) == 5000 and len(set(text)) == 1
    assert os.listdir(tmp_path) == ["note"]


def test_label_note_and_mark(four: RunStore) -> None:
    run = four.get("1")
    run.set_label("  two\nlines \udcff")
    run.set_note("first\n\nsecond ü\n")
    run.set_mark(True)
    again = four.get("1")
    assert (again.label, again.note, again.marked) == ("two lines ?", "first\n\nsecond ü", True)
    run.set_label("")
    run.set_note("")
    run.set_mark(False)
    again = four.get("1")
    assert (again.label, again.note, again.marked) == ("", "", False)


# --- Copies ------------------------------------------------------------------------------------


def test_a_finished_copy_is_a_run_of_its_own(four: RunStore, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "renamed"
    shutil.copytree(four.get("1").path, copy)
    run = RunStore(tmp_path / "copy").get("latest")
    assert run.status == Status.COMPLETED and run.uid == four.get("1").uid
    with run.read() as reader:
        assert reader.attrs()["host"] == "tower"


def test_a_copy_made_while_it_ran_is_not_running(store: RunStore, tmp_path: Path) -> None:
    run = make_run(store, "m", ended=False, alive=True)
    shutil.copytree(run.path, tmp_path / "copy")
    assert run.status == Status.RUNNING
    copy = Run(tmp_path / "copy")
    assert copy.status == Status.LOST and copy.status_note == "a copy made while it ran"
    # Renaming is not copying: the directory stays the one that was started in.
    os.rename(run.path, store.root / "new-name")
    assert Run(store.root / "new-name").status == Status.RUNNING
