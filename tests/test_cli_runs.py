"""Listing, showing, explaining and curating runs by command."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from support.commands import call
from support.run_dirs import START, make_run

from guildlite.cli.picking import parse_since
from guildlite.errors import UsageError
from guildlite.runs import Run, RunReader, RunStore
from guildlite.runs.db import RunDb
from guildlite.runs.facts import write_fact
from guildlite.series import OutputLine, Reading

TRACEBACK = [
    "warming up",
    "Traceback (most recent call last):",
    '  File "train.py", line 3, in <module>',
    "    main()",
    "ValueError: lr is \x1b[31mbad",
]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """A directory without a project file, in which the test stands, and its runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return RunStore(tmp_path / "runs")


@pytest.fixture
def three(store: RunStore) -> list[Run]:
    """Three runs, newest first: a failed one, one of another model, a labelled one."""
    series = {"train/loss": [1.0, 0.25, 0.5], "sys/cpu/util": [0.9]}
    oldest = make_run(store, flags={"lr": "0.1", "epochs": "5"}, series=series, label="baseline")
    middle = make_run(
        store, "intro", flags={"lr": "0.5", "epochs": "5"}, started=START + 100, series=series
    )
    newest = make_run(store, flags={"lr": "0.01"}, started=START + 200, code=1, err=TRACEBACK)
    return [newest, middle, oldest]


# gl runs ----------------------------------------------------------------------------------------


def test_the_list_is_newest_first_with_what_differs(three: list[Run]) -> None:
    answer = call("runs")
    assert (answer.status, answer.err) == (0, "")
    head, *rows = [line.split() for line in answer.out.splitlines()]
    assert head == [
        "#",
        "status",
        "model",
        "started",
        "time",
        "label",
        "lr",
        "train/loss",
    ]
    assert [row[:4] for row in rows] == [
        ["1", "✗", "failed", "expert"],
        ["2", "✓", "completed", "intro"],
        ["3", "✓", "completed", "expert"],
    ]
    assert rows[2][-3:] == ["baseline", "0.1", "0.5"]
    assert "sys/cpu/util" not in answer.out


def test_flags_that_are_all_alike_are_left_out(store: RunStore) -> None:
    for index in range(2):
        make_run(store, flags={"lr": str(index), "epochs": "5"}, started=START + index)
    assert "epochs" not in call("runs").out


def test_the_projects_metrics_in_the_projects_format(three: list[Run], tmp_path: Path) -> None:
    (tmp_path / "project.yml").write_text(
        "metrics:\n  train/loss: {format: '0.0%', primary: true}\n  sys/cpu/util: {}\n"
    )
    head, _, *rows = call("runs").out.splitlines()
    assert head.split()[-1] == "train/loss"
    assert [row.split()[-1] for row in rows] == ["50.0%", "50.0%"]


def test_json_says_everything(three: list[Run]) -> None:
    listed = call("runs", "--json").json
    assert [each["id"] for each in listed] == [run.id for run in three]
    assert listed[2] == {
        "id": "20261120T174501Z-expert",
        "uid": "uid-20261120T174501Z-expert",
        "status": "completed",
        "status_note": None,
        "model": "expert",
        "operation": "train",
        "started": "2026-11-20T17:45:01.000Z",
        "stopped": "2026-11-20T17:46:05.000Z",
        "duration": 64.0,
        "label": "baseline",
        "note": "",
        "marked": False,
        "flags": {"lr": "0.1", "epochs": "5"},
        "metrics": {"train/loss": 0.5},
        "dir": str(three[2].path),
    }


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["intro"], [2]),
        (["EXPERT"], [1, 3]),
        (["expert", "base"], [3]),
        (["174641"], [2]),
        (["--model", "intro"], [2]),
        (["--model", "int"], []),
        (["--status", "failed"], [1]),
        (["--status", "failed", "--status", "completed"], [1, 2, 3]),
        (["--status", "running"], []),
        (["-n", "2"], [1, 2]),
        (["--since", "2026-11-19"], [1, 2, 3]),
        (["--since", "2036-11-19"], []),
    ],
)
def test_filters_keep_the_numbers_of_all_runs(
    three: list[Run], words: list[str], numbers: list[int]
) -> None:
    answer = call("runs", *words)
    assert answer.status == 0
    assert [int(line.split()[0]) for line in answer.out.splitlines()[1:]] == numbers
    ids = [three[number - 1].id for number in numbers]
    assert [each["id"] for each in call("runs", "--json", *words).json] == ids


def test_what_is_not_listed_is_said_on_stderr(three: list[Run]) -> None:
    assert call("runs", "-n", "1").err == "1 of 3 runs; `gl runs --all` lists them all\n"
    assert call("runs", "nothing") == (0, "", "none of 3 runs matches\n")


def test_no_runs_is_no_error(store: RunStore) -> None:
    assert call("runs") == (0, "", "no runs yet; `gl run SCRIPT` starts one\n")
    assert call("runs", "--json") == (0, "[]\n", "")
    Path("project.yml").write_text("models: {fit: fit.py}\n")
    assert call("runs") == (0, "", "no runs yet; `gl train` starts one\n")
    assert call("runs", "--trash") == (0, "", "the trash is empty\n")


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["train/loss < 0.6"], [2, 3]),
        (["min(loss) = 0.25", "and", "lr > 0.2"], [2]),
        (["status = failed or label contains base"], [1, 3]),
        (["status = failed or lr = 0.5", "--model", "expert"], [1]),
        (["not has epochs"], [1]),
        (["started >= 2026-11-20", "--since", "2026-11-19", "--status", "completed"], [2, 3]),
        (["--sort", "lr"], [1, 3, 2]),
        (["--sort", "-lr", "-n", "2"], [2, 3]),
        (["--sort=-started", "has loss"], [2, 3]),
    ],
)
def test_a_filter_is_a_condition(three: list[Run], words: list[str], numbers: list[int]) -> None:
    answer = call("runs", *words)
    assert answer.status == 0, answer.err
    assert [int(line.split()[0]) for line in answer.out.splitlines()[1:]] == numbers


def test_an_error_in_a_filter_is_pointed_at(three: list[Run]) -> None:
    answer = call("runs", "status = failed and", "los < 0.1", "--model", "expert")
    assert (answer.status, answer.out) == (2, "")
    error, text, caret, hint = answer.err.splitlines()
    assert error.startswith("error: column 21 of `status = failed and los < 0.1`: ")
    assert text == "  status = failed and los < 0.1"
    assert caret == "  " + " " * 20 + "^"
    assert "train/loss" in hint or "loss" in hint


def test_the_caret_stands_below_wide_and_unseen_characters(three: list[Run]) -> None:
    _, text, caret, *_ = call("runs", "label = '漢\x07' and (").err.splitlines()
    assert text == "  label = '漢\\x07' and ("
    # The ideograph takes two columns, the escaped control character four.
    assert caret.index("^") == 2 + len("label = '##\\x07' and (")


def test_names_of_the_project_are_no_mistake(three: list[Run], tmp_path: Path) -> None:
    (tmp_path / "project.yml").write_text("metrics: {f1: {goal: max}}\n")
    assert call("runs", "f1 > 0.5") == (0, "", "none of 3 runs matches\n")
    assert call("runs", "f2 > 0.5").status == 2


def test_columns_are_those_asked_for(three: list[Run]) -> None:
    words = ("--columns", "lr,min(loss)", "--columns", "step(train/loss < 0.5), duration,label")
    head, first, second, third = call("runs", *words).out.splitlines()
    assert head.split() == [
        "#", "lr", "min(train/loss)", "step(train/loss", "<", "0.5)", "duration", "label",
    ]  # fmt: skip
    assert first.split() == ["1", "0.01", "1m", "04s"]
    assert second.split() == ["2", "0.5", "0.25", "1", "1m", "04s"]
    assert third.split() == ["3", "0.1", "0.25", "1", "1m", "04s", "baseline"]
    assert call("runs", *words, "--json").json[2]["columns"] == {
        "flag.lr": 0.1, "min(train/loss)": 0.25, "step(train/loss < 0.5)": 1,
        "duration": 64.0, "label": "baseline",
    }  # fmt: skip
    assert call("runs", "--columns", "nothing").status == 2


def test_csv_has_all_flags_and_metrics(three: list[Run]) -> None:
    answer = call("runs", "--csv", "--sort", "started")
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert [row["number"] for row in rows] == ["3", "2", "1"]
    assert rows[0]["flag.lr"] == "0.1" and rows[0]["flag.epochs"] == "5"
    assert rows[0]["train/loss"] == "0.5" and rows[0]["label"] == "baseline"
    assert rows[2]["flag.epochs"] == "" and rows[2]["status"] == "failed"
    assert "sys/cpu/util" not in rows[0]
    few = call("runs", "--csv", "--columns", "model,lr").out
    assert few.splitlines() == ["number,model,flag.lr", "1,expert,0.01", "2,intro,0.5",
                                "3,expert,0.1"]  # fmt: skip
    assert call("runs", "--csv", "--json").status == 2


def test_the_trash_is_filtered_alike(three: list[Run], store: RunStore) -> None:
    for run in three[:2]:
        store.trash(run)
    answer = call("runs", "--trash", "lr = 0.5")
    assert [line.split()[:2] for line in answer.out.splitlines()[1:]] == [["2", three[1].id]]
    assert [each["id"] for each in call("runs", "--json").json] == [three[2].id]


def test_a_cache_that_cannot_be_written_changes_no_answer(
    three: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no directory")
    expected = call("runs", "loss < 0.6")
    monkeypatch.setenv("GUILDLITE_CACHE", str(tmp_path / "file"))
    assert call("runs", "loss < 0.6") == expected
    assert len(expected.out.splitlines()) == 3


def test_one_bad_run_does_not_hide_the_others(three: list[Run]) -> None:
    three[1].paths.manifest.write_text("{")
    three[2].paths.db.write_bytes(b"not a database at all" * 100)
    answer = call("runs")
    assert answer.status == 0
    assert [line.split()[2] for line in answer.out.splitlines()[1:]] == [
        "failed",
        "unreadable",
        "completed",
    ]
    listed = call("runs", "--json").json
    assert [each["status"] for each in listed] == ["failed", "unreadable", "completed"]
    assert "error" in listed[1] and "error" not in listed[0]


def test_nan_is_null_and_nothing_breaks_a_line(store: RunStore) -> None:
    run = make_run(store, flags={"a\x1b[2J": "x\ny"}, series={"loss": [float("nan")]})
    run.set_label("evil\u202elabel")
    assert call("runs", "--json").json[0]["metrics"] == {"loss": None}
    make_run(store, started=START + 1)
    out = call("runs").out
    assert out.isprintable() or out.replace("\n", "").isprintable()
    assert len(out.splitlines()) == 3


def test_a_terminal_is_never_overrun(three: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guildlite.cli.runs.terminal_width", lambda: 40)
    assert max(len(line) for line in call("runs").out.splitlines()) <= 40


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30s", 999_970.0),
        ("30m", 998_200.0),
        ("2h", 992_800.0),
        ("2h ago", 992_800.0),
        ("1.5d", 870_400.0),
        ("1w", 395_200.0),
        ("2026-11-20", time.mktime((2026, 11, 20, 0, 0, 0, 0, 0, -1))),
        ("2026-11-20T17:45", time.mktime((2026, 11, 20, 17, 45, 0, 0, 0, -1))),
        ("2026-11-20 17:45", time.mktime((2026, 11, 20, 17, 45, 0, 0, 0, -1))),
    ],
)
def test_since(text: str, moment: float) -> None:
    assert parse_since(text, 1_000_000.0) == moment


@pytest.mark.parametrize("text", ["yesterday", "2", "h", "-2h", "2026-13-40", ""])
def test_since_refuses_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError):
        parse_since(text, 0.0)


def test_a_run_that_cannot_be_asked_says_since_when_it_is_unseen(store: RunStore) -> None:
    run = make_run(store, ended=False)
    started = json.loads(run.paths.started.read_text())
    started["training"]["host"] = "elsewhere"
    run.paths.started.write_text(json.dumps(started))
    run.paths.heartbeat.touch()
    os.utime(run.paths.heartbeat, (START, START))
    seen = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(START))
    assert f"● running, on elsewhere, unseen since {seen}" in call("runs").out
    (listed,) = call("runs", "--json").json
    assert listed["status"] == "running"
    assert listed["status_note"] == f"on elsewhere, unseen since {seen}"


# gl show ----------------------------------------------------------------------------------------


def test_a_page_worth_reading(store: RunStore) -> None:
    run = make_run(
        store,
        flags={"lr": "0.1"},
        series={"loss": [3.0, 1.0, 2.0], "sys/cpu/util": [0.5]},
        attrs={"git.commit": "0123456789abcdef", "git.branch": "main", "git.dirty": "true"},
        label="best",
    )
    (run.path / "model").mkdir()
    (run.path / "model" / "m.onnx").write_bytes(b"x" * 2048)
    run.paths.errors.write_text("disk was full for 3 s\n")
    answer = call("show")
    assert (answer.status, answer.err) == (0, "next     gl view\n")
    lines = [line.split() for line in answer.out.splitlines()]
    assert lines[0] == [run.id]
    for expected in (
        "status ✓ completed",
        "label best",
        "operation expert:train",
        "command python -u expert.py --title 'two words'",
        "time 1m 04s",
        f"directory runs/{run.id}",
        "host tower",
        "lr 0.1",
        "loss █▁▅ 2 2 1 1 3 0 3",
        "model/m.onnx 2.0 KiB",
        "disk was full for 3 s",
    ):
        assert expected.split() in lines, expected
    assert "git        0123456789ab on main with changes" in answer.out
    assert "sys/cpu/util" not in answer.out
    assert "gl.d" not in answer.out


def shown(*words: str) -> list[list[str]]:
    return [line.split() for line in call("show", *words).out.splitlines()]


def test_show_draws_the_course_of_a_series(store: RunStore) -> None:
    falling = [float(value) for value in range(80, 0, -1)]
    make_run(store, series={"falls": falling, "once": [1.0], "jumps": [1.0, math.nan, 8.0]})
    rows = {line[0]: line[1] for line in shown() if line and line[0] in ("falls", "once", "jumps")}
    # Ten places of eight points: means of 76.5, 68.5 ... 4.5, in eighths of 1 to 80.
    assert rows == {"falls": "█▇▇▆▅▄▃▂▂▁", "jumps": "▁█", "once": "1"}


def test_show_leaves_out_printed_numbers_that_are_written_as_well(store: RunStore) -> None:
    make_run(
        store,
        series={
            "test/loss": [0.45449],
            "test/accuracy": [0.93333],
            "evaluate/output/test_loss": [0.4545],  # rounded
            "evaluate/output/accuracy": [93.3],  # in percent
            "output/loss": [0.7],  # another one
            "output/speed": [0.45449],  # of another name
        },
    )
    keys = [line[0] for line in shown() if len(line) > 3 and "/" in line[0]]
    assert keys == ["output/loss", "output/speed", "test/accuracy", "test/loss"]
    assert "and 2 printed numbers that are above as well" in call("show").out
    assert len(call("show", "--json").json["series"]) == 6


def test_show_counts_what_is_no_scalar(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class Media(NamedTuple):
        key: str
        kind: str
        count: int

    kept = [Media(f"layer{n}", "histogram", 10) for n in range(5)] + [Media("ui", "pr_curve", 1)]
    monkeypatch.setattr(RunReader, "media", lambda self, kind=None: kept)
    make_run(store)
    out = call("show").out
    assert "  histogram  50 values of layer0, layer1, layer2 and 2 more\n" in out
    assert "  pr curve   1 value of ui\n" in out
    assert call("show", "--json").json["media"][-1] == {"key": "ui", "kind": "pr_curve", "count": 1}


def test_show_says_what_was_used_and_what_comes_next(store: RunStore) -> None:
    series = {
        "op/cpu/util": [1.0, 2.0],
        "op/mem/rss": [1.0, 512.0 * 2**20, 9.0],
        "gpu0/util": [0.5],
    }
    make_run(store, series=series)
    running = make_run(store, started=START + 9, ended=False, alive=True)
    failed = make_run(store, started=START + 5, code=1, err=TRACEBACK)
    assert "used       1.5 cores, 512 MiB of memory at most, 50% of gpu0" in call("show", "3").out
    answer = call("show", "2")
    assert answer.err == f"next     gl why {failed.id}\n"
    assert "Last lines\n" in answer.out and "ValueError: lr is \\x1b[31mbad" in answer.out
    assert call("show", "1").err == f"next     gl attach {running.id}\n"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_pages_fit_the_terminal(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    for place in range(3):
        make_run(
            store, started=START + place, flags={"lr": f"0.{place}", "optimizer": f"adam{place}"},
            series={f"validation/metric_{n}": [0.123456, 1234.5] for n in range(4)},
            label="a label of some length",
        )  # fmt: skip
    monkeypatch.setattr("guildlite.cli.runs.terminal_width", lambda: width)
    monkeypatch.setattr("guildlite.cli.show.terminal_width", lambda: width)
    table = call("runs").out.splitlines()
    assert max(map(len, table)) <= width
    metrics = [line for line in call("show").out.splitlines() if "validation/" in line]
    assert len(metrics) == 4
    assert max(map(len, metrics)) <= width
    # The first metric is among the last things to go.
    assert ("validation" in table[0]) == (width >= 60)


def test_show_as_json(three: list[Run]) -> None:
    data = call("show", "baseline", "--json").json
    assert data["id"] == three[2].id
    assert data["command"] == ["python", "-u", "expert.py", "--title", "two words"]
    loss = next(each for each in data["series"] if each["key"] == "train/loss")
    assert (loss["last"], loss["min"], loss["min_step"], loss["count"]) == (0.5, 0.25, 1, 3)
    assert data["attributes"]["host"] == "tower"
    assert data["operations"] == data["files"] == data["notices"] == []


def test_show_names_how_a_run_failed(three: list[Run]) -> None:
    assert "status     ✗ failed, exit status 1" in call("show", "1").out


def test_show_lists_later_operations(three: list[Run]) -> None:
    later = three[0].paths.operation("2-evaluate")
    later.meta.mkdir(parents=True)
    write_fact(later.manifest, {"operation": "evaluate", "created": START + 300})
    write_fact(later.exit, {"time": START + 310, "duration_s": 9.0, "code": 0})
    assert "2-evaluate  ✓ completed  9.0s" in call("show").out
    assert [each["name"] for each in call("show", "--json").json["operations"]] == ["2-evaluate"]


def test_an_unreadable_run_is_said_to_be_one(three: list[Run]) -> None:
    three[0].paths.manifest.unlink()
    answer = call("show")
    assert answer.status == 1
    why = "cannot be read: gl.d/meta/manifest.json"
    assert answer.err.startswith(f"error: run `{three[0].id}` {why}")


def test_a_damaged_database_leaves_the_rest_of_the_page(three: list[Run]) -> None:
    three[2].paths.db.write_bytes(b"")
    answer = call("show", "3")
    assert answer.status == 0
    assert "trouble" in answer.out and "epochs  5" in answer.out


def test_unknown_runs_get_the_near_names(three: list[Run]) -> None:
    assert call("show", "baselin") == (
        1,
        "",
        "error: no run is called `baselin`\nhint: did you mean `baseline`?\n",
    )


def test_a_label_of_several_takes_the_newest_and_says_so(three: list[Run]) -> None:
    three[1].set_label("baseline")
    answer = call("show", "baseline")
    assert answer.out.startswith(three[1].id)
    assert answer.err.startswith(
        f"2 runs are labelled `baseline`; took the newest, {three[1].id}\n"
    )


# gl logs ----------------------------------------------------------------------------------------


def test_logs_prints_lines_as_text(store: RunStore) -> None:
    make_run(store, out=["\x1b[1mepoch\x1b[0m 1\tloss", "bell\x07"], err=["oops"])
    assert call("logs") == (0, "epoch 1\tloss\nbell\\x07\noops\n", "")
    assert call("logs", "--tail", "1").out == "oops\n"
    assert call("logs", "--tail", "0").out == ""


def test_raw_logs_are_the_bytes_on_their_streams(store: RunStore) -> None:
    make_run(store, out=["\x1b[1mepoch", "1"], err=["oops"])
    assert call("logs", "--raw") == (0, "\x1b[1mepoch\n1\n", "oops\n")


def test_logs_of_a_later_operation(store: RunStore) -> None:
    run = make_run(store, out=["train"])
    later = run.paths.operation("2-evaluate")
    later.meta.mkdir(parents=True)
    later.stdout.write_bytes(b"acc\r")
    with RunDb(run.paths.db) as db:
        db.write([Reading(lines=[OutputLine(None, 1, "acc", "2-evaluate")])])
    assert call("logs").out == "train\n"
    assert call("logs", "--op", "evaluate").out == "acc\n"
    assert call("logs", "--op", "2-evaluate").out == "acc\n"
    assert call("logs", "--op", "evaluat").err.endswith("hint: did you mean `2-evaluate`?\n")


def test_following_ends_with_the_run(store: RunStore) -> None:
    run = make_run(store, out=["one"], ended=False, alive=True)

    def go_on() -> None:
        with RunDb(run.paths.db) as db:
            db.write([Reading(lines=[OutputLine(None, 1, "two")])])
        write_fact(run.paths.exit, {"time": START + 9, "duration_s": 9, "code": 0})

    writer = threading.Timer(0.1, go_on)
    writer.start()
    try:
        assert call("logs", "-f") == (0, "one\ntwo\n", "")
    finally:
        writer.join()


def test_raw_and_tail_are_two_things(three: list[Run]) -> None:
    assert call("logs", "--raw", "-n", "3").status == 2


# Words and the trash ----------------------------------------------------------------------------


def test_words_on_runs(three: list[Run]) -> None:
    assert call("label", "1", "try again").err == f"labelled {three[0].id} `try again`\n"
    assert call("note", "1", "diverged").status == 0
    assert call("mark", "1-2").status == 0
    first, second, third = call("runs", "--json").json
    assert (first["label"], first["note"], first["marked"]) == ("try again", "diverged", True)
    assert (second["marked"], third["marked"]) == (True, False)
    assert "★ try again" in call("runs").out
    for words in (["label", "1"], ["note", "1"], ["mark", "1", "2"]):
        assert call(*words, "--clear").status == 0
    first = call("runs", "--json").json[0]
    assert (first["label"], first["note"], first["marked"]) == ("", "", False)


def test_a_note_from_stdin(three: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("two\nlines\n"))
    call("note", "latest", "-")
    assert three[0].note == "two\nlines"


@pytest.mark.parametrize("name", ["label", "note"])
def test_text_or_clear(three: list[Run], name: str) -> None:
    assert call(name, "1").err == (
        f"error: `gl {name}` needs TEXT\nhint: `--clear` takes the {name} off\n"
    )
    assert call(name, "1", "x", "--clear").status == 2


def test_rm_prints_the_line_that_restores(three: list[Run], store: RunStore) -> None:
    answer = call("rm", "1", "3-")
    assert (answer.status, answer.out) == (0, "")
    said = answer.err.splitlines()
    assert said[0] == "moved 2 runs to the trash; bring back with:"
    assert [run.id for run in store.list()] == [three[1].id]
    assert [each["id"] for each in call("runs", "--trash", "--json").json] == [
        three[0].id,
        three[2].id,
    ]
    assert call(*said[1].split()[1:]).status == 0
    assert [run.id for run in store.list()] == [run.id for run in three]


def test_rm_refuses_all_when_one_is_running(three: list[Run], store: RunStore) -> None:
    running = make_run(store, started=START + 999, ended=False, alive=True)
    answer = call("rm", "1-2")
    assert answer.status == 1
    assert answer.err == (
        f"error: run `{running.id}` is running\nhint: stop it first: `gl stop {running.id}`\n"
    )
    assert len(store.list()) == 4


def test_rm_by_a_filter_shows_and_asks(
    three: list[Run], store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    answer = call("rm", "--where", "model = expert")
    assert (answer.status, answer.out) == (1, "")
    assert answer.err.splitlines() == [
        f"  {three[0].id}",
        f"  {three[2].id}  baseline",
        "move 2 runs to the trash? [y/N] nothing done",
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert call("rm", "--where", "model = expert").status == 0
    assert [run.id for run in store.list()] == [three[1].id]
    # What is not said yes to by anybody is not done.
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    answer = call("restore", "--where", "label = baseline")
    assert answer.status == 2 and "`gl restore --yes` does not ask" in answer.err
    assert call("restore", "--where", "label = baseline", "--yes").status == 0
    assert [run.id for run in store.list()] == [three[1].id, three[2].id]


def test_words_and_stars_by_a_filter(three: list[Run]) -> None:
    assert call("label", "--where", "epochs = 5", "{new}", "--yes").status == 0
    assert [Run(run.path).label for run in three] == ["", "{new}", "{new}"]
    assert call("mark", "--where", "lr < 0.2", "--yes").status == 0
    assert [Run(run.path).marked for run in three] == [True, False, True]
    assert call("mark", "--clear", "--where", "marked = true", "--yes").status == 0
    assert call("label", "--clear", "--where", "label = '{new}'", "--yes").status == 0
    assert [Run(run.path).label for run in three] == ["", "", ""]
    assert call("runs", "marked = true").out == ""


def test_rm_by_a_filter_refuses_all_when_one_is_running(three: list[Run], store: RunStore) -> None:
    make_run(store, started=START + 300, ended=False, alive=True)
    answer = call("rm", "--where", "model = expert", "--yes")
    assert answer.status == 1 and "is running" in answer.err
    assert len(store.list()) == 4


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["rm", "1", "--where", "lr = 1"], "RUN and `--where` exclude each other"),
        (["label", "1", "x", "--where", "lr = 1"], "RUN and `--where` exclude each other"),
        (["label", "--where", "lr = 1"], "`gl label` needs TEXT"),
        (["rm", "--where", " "], "`--where` needs a condition"),
        (["mark", "--where", "lr ="], "column 5 of `lr =`"),
        (["restore"], "`gl restore` needs RUN"),
    ],
)
def test_bulk_refuses(three: list[Run], words: list[str], error: str) -> None:
    answer = call(*words)
    assert answer.status == 2
    assert error in answer.err.splitlines()[0]


def test_notes_by_a_filter(three: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("note", "--where", "epochs = 5", "seen", "--yes").status == 0
    assert [Run(run.path).note for run in three] == ["", "seen", "seen"]
    monkeypatch.setattr("sys.stdin", io.StringIO("from a file\n"))
    assert call("note", "--where", "lr = 0.5", "-").status == 2
    assert call("note", "--where", "lr = 0.5", "-", "--yes").status == 0
    assert Run(three[1].path).note == "from a file"


def test_what_was_done_to_many_as_json(three: list[Run], store: RunStore) -> None:
    done = call("label", "--where", "epochs = 5", "new", "--yes", "--json")
    assert [(each["id"], each["label"], each["marked"]) for each in done.json] == [
        (three[1].id, "new", False),
        (three[2].id, "new", False),
    ]
    assert call("mark", "1", "--json").json[0]["marked"] is True
    gone = call("rm", "--where", "label = new", "--yes", "--json").json
    assert [each["dir"] for each in gone] == [
        str(store.root / ".trash" / run.id) for run in three[1:]
    ]
    back = call("restore", "--where", "label = new", "--yes", "--json").json
    assert [each["dir"] for each in back] == [str(run.path) for run in three[1:]]
    assert call("rm", "--where", "lr = 7", "--json").json == []


def test_one_that_fails_keeps_none_of_the_others(
    three: list[Run], store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Run.set_label

    def set_label(self: Run, text: str) -> None:
        if self.id == three[0].id:
            raise PermissionError(13, "Permission denied")
        real(self, text)

    monkeypatch.setattr(Run, "set_label", set_label)
    answer = call("label", "--where", "lr > 0", "all", "--yes", "--json")
    assert answer.status == 1
    assert answer.err == f"error: {three[0].id} keeps its label: permission denied\n"
    assert [each.get("error", each.get("label")) for each in answer.json] == [
        "permission denied", "all", "all",
    ]  # fmt: skip


def test_many_are_said_in_one_line(store: RunStore) -> None:
    for place in range(12):
        make_run(store, started=START + place)
    assert call("mark", "--where", "status = completed", "--yes").err == "marked 12 runs\n"


def test_a_filter_that_fits_no_run_does_nothing(three: list[Run]) -> None:
    assert call("rm", "--where", "lr = 7") == (0, "", "no run passes `lr = 7`\n")


def test_purge_asks_and_only_empties_the_trash(
    three: list[Run], store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("purge") == (0, "", "the trash is empty\n")
    call("rm", "2-3")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    refused = call("purge")
    assert refused.status == 1
    assert refused.err.endswith("delete 2 runs for good? [y/N] nothing deleted\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert call("purge").err.endswith(
        "error: nobody is there to say yes\nhint: `gl purge --yes` does not ask\n"
    )
    assert len(store.trashed()) == 2
    assert call("purge", "1", "--yes").err == "deleted 1 run for good\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert call("purge").status == 0
    assert store.trashed() == []
    assert [run.id for run in store.list()] == [three[0].id]


def test_purge_by_filter_asks_and_leaves_the_rest_of_the_trash(
    three: list[Run], store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = three[1].label or "kept"
    three[1].set_label(label)
    three[2].set_label("other")
    call("rm", three[1].id, three[2].id)
    where = ("purge", "--where", "label = other")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    refused = call(*where)
    assert refused.status == 1 and "delete 1 run for good? [y/N]" in refused.err
    assert three[2].id in refused.err and three[1].id not in refused.err
    assert len(store.trashed()) == 2
    done = call(*where, "--yes", "--json")
    assert [each["id"] for each in json.loads(done.out)] == [three[2].id]
    assert done.err == "deleted 1 run for good\n"
    assert [run.id for run in store.trashed()] == [three[1].id]
    nothing = call(*where, "--yes", "--json")
    assert (nothing.status, json.loads(nothing.out)) == (0, [])
    assert nothing.err == "no run in the trash passes `label = other`\n"
    assert call("purge", "1", "--where", "label = other", "--yes").status == 2
    assert call("purge", "--where", " ", "--yes").status == 2, "no condition is not all of them"
    assert [run.id for run in store.trashed()] == [three[1].id]


def test_purge_does_not_know_runs_outside_the_trash(three: list[Run], store: RunStore) -> None:
    call("rm", "3")
    assert call("purge", three[0].id, "--yes").status == 1
    assert call("purge", str(three[0].path), "--yes").status == 1
    assert len(store.list()) == 2


# Bare gl ----------------------------------------------------------------------------------------


def test_bare_gl_says_where_one_stands(three: list[Run]) -> None:
    lines = call().out.splitlines()
    assert lines[1].split() == ["runs", "3", "runs"]
    assert lines[2].split()[:4] == ["latest", three[0].id, "✗", "failed"]
    commands = [line.strip().partition("  ")[0].strip() for line in lines]
    assert commands[-3:] == ["gl runs", "gl why", "gl view"]
