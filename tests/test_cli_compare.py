"""`gl compare` and `gl diff`."""

from __future__ import annotations

import csv
import io
import math
import shutil
from pathlib import Path

import pytest
from support.commands import call
from support.run_dirs import START, make_run

from guildlite.runs import Run, RunStore
from guildlite.runs.difference import Parting, first_partings

METRICS = "metrics: {loss: {goal: min}, acc: {goal: max, format: '0.0%'}}\n"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """A project with two metrics, in which the test stands, and its runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "project.yml").write_text(METRICS)
    return RunStore(tmp_path / "runs")


@pytest.fixture
def six(store: RunStore) -> list[Run]:
    """Three seeds each of lr=0.1 (final loss near 0.5) and lr=0.01 (near 0.9), oldest first."""
    made: list[Run] = []
    for lr, level in (("0.1", 0.5), ("0.01", 0.875)):
        for seed, noise in (("1", 0.0), ("2", -0.0625), ("3", 0.0625)):
            series = {"loss": [2.0, level + noise], "acc": [0.5, 1 - level], "sys/cpu/util": [1.0]}
            flags = {"lr": lr, "seed": seed, "epochs": "2"}
            made.append(make_run(store, flags=flags, started=START + 60 * len(made), series=series))
    return made


# gl compare -------------------------------------------------------------------------------------


def test_runs_side_by_side_with_the_best_starred(six: list[Run]) -> None:
    answer = call("compare", "--sort", "loss")
    assert (answer.status, answer.err) == (0, "* the best of its column\n")
    head, *rows = [line.split() for line in answer.out.splitlines()]
    assert head == ["#", "status", "lr", "seed", "loss", "min(loss)", "acc", "max(acc)"]
    assert rows[0] == [
        "5", "✓", "completed", "0.1", "2", "0.4375*", "0.4375*", "50.0%*", "50.0%*",
    ]  # fmt: skip
    # Of equal values the first listed is starred: the accuracy of runs 4 and 6 is the same.
    assert sum(text.endswith("*") for row in rows for text in row) == 4
    assert rows[-1][0] == "1" and rows[-1][5] == "0.9375"


def test_a_filter_and_columns_choose(six: list[Run]) -> None:
    columns = "seed,best(loss),step(loss < 0.5)"
    answer = call("compare", "--csv", "--columns", columns, "lr = 0.1 and", "seed > 1")
    rows = list(csv.reader(io.StringIO(answer.out)))
    assert rows == [
        ["number", "run", "flag.seed", "min(loss)", "step(loss < 0.5)"],
        ["4", six[2].id, "3", "0.5625", ""],
        ["5", six[1].id, "2", "0.4375", "1"],
    ]


def test_numbers_and_ranges_are_those_of_the_list(six: list[Run]) -> None:
    data = call("compare", "--json", "1", "4-5").json
    assert [each["number"] for each in data["runs"]] == [1, 4, 5]
    assert [each["id"] for each in data["runs"]] == [six[5].id, six[2].id, six[1].id]
    answer = call("compare", "99")
    assert (answer.status, answer.out) == (1, "") and "from 1 to 6" in answer.err
    # With any other word they are looked for in names.
    assert call("compare", "--json", "1", "no-such-name").json["runs"] == []


def test_json_names_the_best(six: list[Run]) -> None:
    data = call("compare", "--json", "--columns", "lr,loss", "lr = 0.1").json
    assert data["columns"] == ["flag.lr", "loss"]
    assert [each["number"] for each in data["runs"]] == [4, 5, 6]
    assert data["runs"][1]["values"] == {"flag.lr": 0.1, "loss": 0.4375}
    assert data["best"] == {"loss": six[1].id}


def test_markdown_escapes_what_would_be_markup(six: list[Run]) -> None:
    six[0].set_label("a|b *c*")
    answer = call("compare", "--markdown", "--columns", "label,loss", "--sort", "loss", "lr = 0.1")
    assert answer.out.splitlines() == [
        "| # | label | loss |",
        "| ---: | --- | ---: |",
        "| 5 |  | **0.4375** |",
        "| 6 | a\\|b \\*c\\* | 0.5 |",
        "| 4 |  | 0.5625 |",
    ]
    assert answer.err == ""


def test_groups_say_whether_the_best_is_better(six: list[Run]) -> None:
    answer = call("compare", "--group", "lr", "--over", "seed", "--columns", "loss")
    assert (answer.status, answer.err) == (0, "")
    title, head, best, second, sentence = answer.out.splitlines()
    assert title == "loss"
    assert head.split() == ["lr", "n", "mean", "std", "95", "%", "interval"]
    # Mean and standard deviation by hand; t(0.975, 2) = 4.3027 makes the interval.
    half = 4.302653 * 0.0625 / math.sqrt(3)
    assert best.split() == [
        "0.1", "3", "0.5", "0.0625", f"{0.5 - half:.4g}", "to", f"{0.5 + half:.4g}",
    ]  # fmt: skip
    assert second.split()[:4] == ["0.01", "3", "0.875", "0.0625"]
    assert sentence.startswith("`lr=0.1` is better than `lr=0.01` beyond noise: 0.5 against 0.875")


def test_groups_in_other_forms(six: list[Run]) -> None:
    rows = list(csv.DictReader(io.StringIO(call("compare", "--group", "lr", "--csv").out)))
    assert [(row["column"], row["flag.lr"], row["n"]) for row in rows] == [
        ("loss", "0.1", "3"), ("loss", "0.01", "3"), ("acc", "0.1", "3"), ("acc", "0.01", "3"),
    ]  # fmt: skip
    (data,) = call("compare", "--group", "lr", "--json", "--columns", "loss").json
    assert data["groups"][0]["flags"] == {"lr": "0.1"}
    assert sorted(data["groups"][0]["runs"]) == [run.id for run in six[:3]]
    assert data["groups"][0]["mean"] == 0.5 and data["difference"]["p"] < 0.05
    assert "**" not in call("compare", "--group", "lr", "--markdown").out


def test_what_varies_unasked_is_said(six: list[Run]) -> None:
    answer = call("compare", "--group", "lr", "--over", "epochs", "--columns", "loss")
    assert "within groups `seed` differ too" in answer.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--over", "seed"], "`--over` needs `--group`"),
        (["--group", "sed"], "no run has a flag `sed`"),
        (["--csv", "--json"], "`--csv`, `--markdown` and `--json` exclude one another"),
        (["--columns", "best(lr)"], "column 1 of `best(lr)`"),
        (["lr ="], "column 5 of `lr =`"),
    ],
)
def test_compare_refuses(six: list[Run], words: list[str], error: str) -> None:
    answer = call("compare", *words)
    assert (answer.status, answer.out) == (2, "")
    assert error in answer.err.splitlines()[0]


def test_nothing_to_compare_is_no_error(store: RunStore) -> None:
    assert call("compare") == (0, "", "no runs yet; `gl run SCRIPT` starts one\n")
    make_run(store)
    assert call("compare", "nothing") == (0, "", "none of 1 run matches\n")


def test_a_narrow_terminal_drops_flags_and_says_so(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        flags = {f"flag_{index}": str(number + index) for index in range(20)}
        series = {"loss": [float(number)], "acc": [0.5]}
        make_run(store, flags=flags, series=series, started=START + number)
    monkeypatch.setattr("guildlite.cli.compare.terminal_width", lambda: 80)
    answer = call("compare")
    lines = answer.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    shown = lines[0].split()
    assert {"loss", "acc", "flag_0"} <= set(shown) and "flag_19" not in shown
    # status, 20 flags, and last and best of two metrics, behind the number.
    assert f"{26 - len(shown)} columns left out for want of room" in answer.err
    # What was asked for is never dropped.
    columns = ",".join(f"flag_{index}" for index in range(20))
    answer = call("compare", "--columns", columns)
    assert len(answer.out.splitlines()[0].split()) == 21 and answer.err == ""


def test_groups_of_nothing_and_of_single_runs(store: RunStore) -> None:
    for number in range(3):
        flags = {"lr": str(number), **{f"f{index}": str(number) for index in range(6)}}
        make_run(store, flags=flags, series={"loss": [1.0]}, started=START + number)
    answer = call("compare", "--group", "lr", "model = nobody")
    assert (answer.status, answer.out, answer.err) == (0, "", "none of 3 runs matches\n")
    answer = call("compare", "--group", "lr")
    assert "NaN" not in answer.out and "is a single run" in answer.out
    answer = call("compare", "--group", "seed", "--columns", "loss")
    assert answer.status == 2 and "no run has a flag `seed`" in answer.err


# gl diff ----------------------------------------------------------------------------------------


@pytest.fixture
def two(store: RunStore) -> tuple[Run, Run]:
    """Two runs that differ in a flag, a package, the code and from step 1 on in the loss."""
    made = []
    for number, lr in enumerate(("0.1", "0.2")):
        attrs = {
            "packages": f'["numpy==2.{number}.0", "torch==2.5"]',
            "environment": f'{{"CUDA_VISIBLE_DEVICES": "{number}", "LANG": "C"}}',
            "git.commit": "abc" * 10, "git.dirty": "true", "memory.total": f"{number + 1}000",
            "command_line": f"python {number}",
        }  # fmt: skip
        series = {"loss": [1.0, 0.5 + number, 0.25], "acc": [float("nan"), 0.5]}
        run = make_run(store, flags={"lr": lr, "n": "1"}, series=series, attrs=attrs,
                       started=START + number)  # fmt: skip
        run.paths.sources.mkdir(exist_ok=True)
        (run.paths.sources / "train.py").write_text(f"import os\nlr = {lr}\n")
        (run.paths.sources / "same.py").write_text("pass\n")
        (run.paths.sources / "git.diff").write_text("+++ x\n+a\n" + "-b\n" * number)
        made.append(run)
    return made[0], made[1]


def test_diff_says_what_differs_and_nothing_else(two: tuple[Run, Run]) -> None:
    answer = call("diff", "2", "1")
    assert (answer.status, answer.err) == (0, "")
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert lines[0] == f"a {two[0].id} ✓ completed 1m 04s"
    for line in (
        "lr 0.1 0.2",
        "loss 0.25 0.25 1 1",
        "the curves first part in `loss` at step 1: 0.5 and 1.5",
        "uncommitted +1 -0 lines +1 -1 lines",
        "numpy 2.0.0 2.1.0",
        "CUDA_VISIBLE_DEVICES 0 1",
        "memory.total 1000 2000",
        "--- a/train.py",
        "-lr = 0.1",
        "+lr = 0.2",
    ):
        assert line in lines
    for word in ("torch", "LANG", "acc", "commit ", "same.py", "command_line", "n "):
        assert not any(line.startswith(word) for line in lines), word


def test_diff_as_json(two: tuple[Run, Run]) -> None:
    data = call("diff", two[0].id, "latest", "--json").json
    assert [each["id"] for each in data["runs"]] == [two[0].id, two[1].id]
    assert data["flags"] == [{"name": "lr", "a": "0.1", "b": "0.2"}]
    parting = {"step": 1, "a": 0.5, "b": 1.5}
    assert data["metrics"] == [
        {"key": "loss", "a": 0.25, "b": 0.25, "a_step": 2, "b_step": 2, "parting": parting,
         "beyond_tolerance": parting}
    ]  # fmt: skip
    assert data["first_parting"] == data["metrics"][0]
    assert data["sources"][0]["diff"].splitlines()[-2:] == ["-lr = 0.1", "+lr = 0.2"]


def test_a_run_does_not_differ_from_itself(two: tuple[Run, Run]) -> None:
    answer = call("diff", "1", "1")
    assert (answer.status, answer.err) == (0, "nothing differs\n")
    assert len(answer.out.splitlines()) == 2


def test_a_damaged_run_leaves_the_rest(two: tuple[Run, Run]) -> None:
    two[1].paths.db.write_bytes(b"not a database at all" * 100)
    answer = call("diff", "2", "1")
    assert answer.status == 0
    assert two[1].id in answer.err
    assert "+lr = 0.2" in answer.out


def test_no_source_moves_the_cursor(two: tuple[Run, Run]) -> None:
    (two[1].paths.sources / "evil.py").write_text("\x1b[2J\u202e\tx\n")
    out = call("diff", "2", "1").out
    assert "+\\x1b[2J" in out and "\x1b" not in out and "\u202e" not in out


def test_curves_part_at_the_first_step_both_have() -> None:
    nan, inf = float("nan"), float("inf")
    one = [(0, 1.0), (5, nan), (6, 2.0), (9, 3.0)]
    assert first_partings(one, [(1, 7.0), (5, nan)], 0.0) == (None, None)
    exact, beyond = first_partings(one, [*one[:2], (6, nan)], 0.5)
    assert exact == beyond and exact is not None and exact.step == 6
    # Written again after a restart: the last counts.
    assert first_partings([*one, (5, 4.0)], [(5, 8.0)], 0.0)[0] == Parting(5, 4.0, 8.0)
    # 100 and 101 differ by a hundred-and-first of the larger, 100 and 102 by more than 1 %.
    found = first_partings([(1, 100.0), (2, 100.0)], [(1, 101.0), (2, 102.0)], 0.01)
    assert found == (Parting(1, 100.0, 101.0), Parting(2, 100.0, 102.0))
    assert first_partings([(1, inf)], [(1, inf)], 0.01) == (None, None)
    assert first_partings([(1, inf)], [(1, -inf)], 9.0)[1] == Parting(1, inf, -inf)


def test_diff_says_where_curves_part_beyond_a_tolerance(store: RunStore) -> None:
    make_run(store, series={"loss": [1.0, 0.5, 0.4], "acc": [0.1, 0.2], "only": [1.0]})
    series = {"loss": [1.0, 0.501, 0.2], "acc": [0.1, 0.2, 0.3]}
    make_run(store, started=START + 1, series=series)
    lines = [" ".join(line.split()) for line in call("diff", "2", "1").out.splitlines()]
    assert "a b part at step beyond 1 %" in lines
    assert "loss 0.4 0.2 1 2" in lines
    assert "acc 0.2 0.3 alike to 1" in lines
    assert "only 1 (none)" in lines
    assert "the curves first part in `loss` at step 1: 0.5 and 0.501" in lines
    make_run(store, started=START + 2, series={"loss": [1.0, 0.50000001]})
    make_run(store, started=START + 3, series={"loss": [1.0, 0.5]})
    alike = call("diff", "2", "1").out
    assert "the curves first part in `loss` at step 1: 0.50000001 and 0.5\n" in alike
    data = call("diff", "4", "3", "--json", "--tolerance", "0.9").json
    (loss,) = [each for each in data["metrics"] if each["key"] == "loss"]
    assert loss["parting"]["step"] == 1 and loss["beyond_tolerance"] is None


def test_diff_of_a_run_and_the_folder_now(store: RunStore, tmp_path: Path) -> None:
    (tmp_path / "project.yml").write_text(f"{METRICS}models: {{expert: expert.py}}\n")
    run = make_run(store)
    run.paths.sources.mkdir()
    for path, kept, now in (("expert.py", "a = 1\n", "a = 2\n"), ("gone.py", "x\n", "")):
        (run.paths.sources / path).write_text(kept)
        if now:
            (tmp_path / path).write_text(now)
    (run.paths.sources / "project.yml").write_text((tmp_path / "project.yml").read_text())
    answer = call("diff", "1")
    assert (answer.status, answer.err) == (0, "")
    assert "-a = 1\n+a = 2\n" in answer.out and "gone.py" in answer.out
    stat = call("diff", "1", "--stat").out
    assert "@@" not in stat and [line.split() for line in stat.splitlines()[-2:]] == [
        ["expert.py", "+1", "-1"], ["gone.py", "removed", "+0", "-1"],
    ]  # fmt: skip
    data = call("diff", "1", "--json").json
    assert [(each["path"], each["change"]) for each in data["sources"]] == [
        ("expert.py", "changed"), ("gone.py", "removed"),
    ]  # fmt: skip
    bare = make_run(store, started=START + 1)
    answer = call("diff", "1")
    assert answer.status == 1 and f"run `{bare.id}` kept no source" in answer.err


def test_diff_does_not_call_source_removed_that_was_never_kept(two: tuple[Run, Run]) -> None:
    shutil.rmtree(two[0].paths.sources)
    out = call("diff", "2", "1").out
    assert f"not compared: {two[0].id} kept none" in out and "@@" not in out
    assert call("diff", "2", "1", "--json").json["without_source"] == [two[0].id]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_diff_keeps_to_the_terminal(
    two: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr("guildlite.cli.diff.terminal_width", lambda: columns)
    out = call("diff", "2", "1").out
    tables = out[out.index("Flags") : out.index("Source")].splitlines()
    assert all(len(line) <= columns for line in tables if "curves first part" not in line)
    assert ("beyond 1 %" in out) is (columns > 40)
