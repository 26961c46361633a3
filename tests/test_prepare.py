"""From words to a run directory: plans, previews, secrets, `--needed`, requirements."""

from __future__ import annotations

import errno
import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from commands import call
from conftest import Gl

from guildlite.errors import LaunchError, UsageError
from guildlite.execute import prepare
from guildlite.execute.prepare import Words, create_operation, create_run, plan_script
from guildlite.execute.scriptcache import read_cached_flags
from guildlite.runs import RunStore

SECRET = "hunter2-0b9f"


def write_project(path: Path, text: str = "", **extra: Any) -> None:
    """A project whose script writes down what it got."""
    (path / "train.py").write_text(
        "import argparse, json, os, sys\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--lr', type=float, default=0.5)\n"
        "parser.add_argument('--api-token', default='')\n"
        "parser.add_argument('--out')\n"
        "parser.add_argument('--epochs', type=int, default=1)\n"
        "args = parser.parse_args()\n"
        "json.dump([sys.argv[1:], dict(os.environ)], open('got.out', 'w'))\n"
    )
    model = {"train": "train", "requires": ["./data"], "flags": {"lr": 0.5, "out": "$RUNDIR"}}
    file = {
        "name": "p",
        "models": {"m": model},
        "profiles": {"quick": {"epochs": 2, "lr": 0.1}, "slow": {"epochs": 99}},
        **extra,
    }
    (path / "project.yml").write_text(json.dumps(file))
    (path / "data").mkdir()


def got(path: Path) -> list[Any]:
    found: list[Any] = json.loads((path / "got.out").read_text())
    return found


def everything_below(*roots: Path) -> bytes:
    return b"".join(
        path.read_bytes() for root in roots for path in root.rglob("*") if path.is_file()
    )


def test_secrets_reach_the_script_and_nothing_else(gl: Gl, tmp_path: Path, cache: Path) -> None:
    write_project(tmp_path)
    before = (tmp_path / "project.yml").read_bytes()
    shown = ""
    for words in (
        ["train", f"api_token={SECRET}"],
        ["train", f"api_token={SECRET}", "--preview"],
        ["run", "train.py", "-F", f"password={SECRET}", f"api_token={SECRET}", "--preview"],
        ["show"], ["runs"], ["show", "--json"], ["why"],
    ):  # fmt: skip
        done = gl(*words)
        shown += done.stdout + done.stderr
    assert SECRET in got(tmp_path)[0]
    (tmp_path / "got.out").unlink()
    assert SECRET not in shown
    assert SECRET.encode() not in everything_below(tmp_path / "runs", cache)
    assert (tmp_path / "project.yml").read_bytes() == before


def test_a_secret_passed_as_environment_is_a_mark_on_disk(gl: Gl, tmp_path: Path) -> None:
    write_project(tmp_path, flag_style="env")
    file = json.loads((tmp_path / "project.yml").read_text())
    file["models"]["m"]["train"] = {"run": "train", "flag_style": "env"}
    del file["flag_style"]
    (tmp_path / "project.yml").write_text(json.dumps(file))
    assert gl("train", f"api_token={SECRET}").returncode == 0
    assert SECRET in got(tmp_path)[1].values()
    (tmp_path / "got.out").unlink()
    assert SECRET.encode() not in everything_below(tmp_path / "runs")


def test_the_preview_is_what_is_executed_and_makes_nothing(gl: Gl, tmp_path: Path) -> None:
    write_project(tmp_path)
    words = ["train", "lr=0.25", "--profile", "quick", "-F", "out=a b\n$c"]
    shown = gl(*words, "--preview")
    assert shown.returncode == 0 and not (tmp_path / "runs").exists()
    command = shown.stdout.split("\n\n")[0].replace(" \\\n", " ")
    done = gl(*words)
    run = RunStore(tmp_path / "runs").get("latest")
    expected = [word.replace("$RUNDIR", str(run.path)) for word in shlex.split(command)]
    assert expected == run.command, done.stderr
    assert got(tmp_path)[0] == run.command[-len(got(tmp_path)[0]) :]


def test_profiles_and_words_by_strength(gl: Gl, tmp_path: Path) -> None:
    write_project(tmp_path)
    assert gl("train", "-p", "quick", "-p", "slow", "lr=0.3").returncode == 0
    words = got(tmp_path)[0]
    assert words[words.index("--lr") + 1] == "0.3"
    assert words[words.index("--epochs") + 1] == "99"
    run = RunStore(tmp_path / "runs").get("latest")
    assert run.manifest["profiles"] == ["quick", "slow"]
    assert run.flags["out"] == "$RUNDIR" and str(run.path) in run.command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "lrr=1"], "did you mean `lr`?"),
        (["train", "lr=[0.1,0.01]"], "sweep"),
        (["train", "lr=fast"], "lr"),
        (["train", "--profile", "quik"], "did you mean `quick`?"),
        (["train", "nomodel"], "nomodel"),
        (["train", "--lr", "0.1"], "lr=0.1"),
        (["train", "-d", "--tty"], "give one of them"),
        (["run", "nothing.py"], "nothing.py"),
    ],
)
def test_bad_words_start_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    answer = call(*words)
    assert answer.status in (2, 127) and message in answer.err and answer.out == ""
    assert not (tmp_path / "runs").exists()


def test_what_is_required_is_named_with_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path)
    (tmp_path / "data").rmdir()
    monkeypatch.chdir(tmp_path)
    answer = call("train")
    assert answer.status == 2
    assert "`./data` is missing" in answer.err and "gl prepare m" in answer.err
    assert not (tmp_path / "runs").exists()
    assert call("train", "--preview").status == 0


def test_needed_looks_at_flags_source_and_status(gl: Gl, tmp_path: Path) -> None:
    write_project(tmp_path)
    assert gl("train", "lr=0.25").returncode == 0
    store = RunStore(tmp_path / "runs")
    (first,) = store.list()
    again = gl("train", "lr=0.25", "--needed")
    assert (again.returncode, again.stdout) == (0, f"{first.path}\n") and first.id in again.stderr
    assert len(store.list()) == 1
    assert gl("train", "lr=0.26", "--needed").returncode == 0
    assert len(store.list()) == 2
    with open(tmp_path / "train.py", "a") as file:
        file.write("sys.exit(3)\n")
    for count in (3, 4):  # a failed run is no answer
        assert gl("train", "lr=0.25", "--needed").returncode == 3
        assert len(store.list()) == count


def test_free_flags_pass_unchecked(gl: Gl, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import json, sys\njson.dump([sys.argv[1:]], open('got.out', 'w'))\n"
    )
    assert gl("run", "train.py", "-F", "any.thing=[1,2]", "-F", "bare").returncode == 0
    assert got(tmp_path)[0][:2] == ["--any.thing", "[1,2]"] and "--bare" in got(tmp_path)[0][2]


def test_a_disk_that_fills_while_the_run_is_made_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.py").write_text("print(1)\n")
    plan = plan_script(["train.py"], tmp_path, Words(), os.environ)
    store = RunStore(tmp_path / "runs")

    def full(*_: object) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(prepare, "write_fact", full)
    with pytest.raises(LaunchError, match="No space left on device"):
        create_run(plan, store)
    assert store.list() == []


def test_later_operations_are_numbered_after_the_runs_own(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)\n")
    plan = plan_script(["train.py"], tmp_path, Words(), os.environ)
    run = create_run(plan, RunStore(tmp_path / "runs"), label="a", note="b")
    assert (run.label, run.note, run.model, run.operation) == ("a", "b", "train", "run")
    names = [create_operation(plan, run).name for _ in range(3)]
    assert names == ["2-run", "3-run", "4-run"]
    assert [one.name for one in run.later_operations()] == names


def test_without_a_project_only_the_script_is_copied(tmp_path: Path) -> None:
    for name in ("train.py", "private.py"):
        (tmp_path / name).write_text("print(1)\n")
    plan = plan_script(["train.py"], tmp_path, Words(), os.environ)
    run = create_run(plan, RunStore(tmp_path / "runs"))
    assert os.listdir(run.paths.sources) == ["train.py"]
    with pytest.raises(UsageError, match="needs a project file"):
        plan_script(["train.py"], tmp_path, Words(profiles=["quick"]), os.environ)


def test_kept_flags_follow_the_script(tmp_path: Path, cache: Path) -> None:
    script = tmp_path / "s.py"
    text = (
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--{}')\np.parse_args()\n"
    )
    script.write_text(text.format("one"))
    os.utime(script, (1_000_000_000, 1_000_000_000))
    first = read_cached_flags(script, ())
    (kept,) = (cache / "scripts").iterdir()
    assert list(read_cached_flags(script, ()).flags) == list(first.flags) == ["one"]
    # Of another script with the same checksum, cut short, or no cache at all.
    other = kept.read_text().replace(str(script), str(tmp_path / "other.py"))
    for damage in (other, "{", "[1]", json.dumps({"version": 1})):
        kept.write_text(damage)
        assert list(read_cached_flags(script, ()).flags) == ["one"]
    script.write_text(text.format("two"))
    os.utime(script, (1_000_000_001, 1_000_000_001))
    assert list(read_cached_flags(script, ()).flags) == ["two"]
