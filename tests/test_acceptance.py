"""What the contract promises, tried from outside: unusual but legal words and project files."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Gl
from support.processes import Front

SHOW = (
    "import json, os, sys\n"
    "names = ('RUNDIR', 'PROJECT', 'GPU_COUNT', 'WHERE', 'OWN', 'epochs')\n"
    "seen = {name: os.environ[name] for name in names if name in os.environ}\n"
    "print(json.dumps([sys.argv[1:], seen]))\n"
)

PROJECT = """\
runs: out/runs
flags:
  datadir: ./data
  rundir: $RUNDIR
  epochs: 10
  nothing:
  hidden: {default: 3, arg: false}
  size: {default: 4, arg: batch-size}
  fast: {default: true, switch: true}
models:
  base:
    train: show --fixed "a b" $PROJECT
    prepare: show --prepare
    evaluate: show --test
    env: {WHERE: $RUNDIR/here}
    flags: {lr: {default: 0.5, min: 0}}
  middle:
    extends: base
    flags: {lr: 0.25}
    operations: {export: {run: show --export, env: {OWN: $PROJECT}}}
  leaf:
    default: true
    extends: middle
    train: {run: show, flag_style: equals}
  hydra: {extends: base, train: {run: show, flag_style: hydra}}
  env: {extends: base, train: {run: show, flag_style: env}}
  none: {extends: base, train: {run: show, flag_style: none}}
  asks: {train: show, prepare: show $RUNDIR/data}
  needs: {train: show, requires: [./nope]}
profiles:
  quick: {epochs: 1}
  big: {epochs: 100, size: 7}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A project whose one script prints its arguments and environment as JSON."""
    (tmp_path / "project.yml").write_text(PROJECT)
    (tmp_path / "show.py").write_text(SHOW)
    return tmp_path


def seen(gl: Gl, *words: str, **settings: Any) -> tuple[list[str], dict[str, str]]:
    """Run gl and return what the script saw; stdout must hold that and nothing else."""
    done = gl(*words, **settings)
    assert done.returncode == 0, done.stderr
    argv, environ = json.loads(done.stdout)
    return argv, environ


def test_styles_profiles_and_extends_together(gl: Gl, place: Path) -> None:
    argv, environ = seen(gl, "train", "--profile", "big", "-p", "quick", "lr=1e-3")
    run_dir = environ["RUNDIR"]
    assert Path(run_dir).parent == place / "out" / "runs"
    assert argv == [
        "--datadir=./data", f"--rundir={run_dir}", "--epochs=1", "--batch-size=7", "--fast",
        "--lr=0.001",
    ]  # fmt: skip
    assert environ["WHERE"] == f"{run_dir}/here"

    argv, environ = seen(gl, "train", "base", "fast=false")
    assert argv == [
        "--fixed", "a b", str(place), "--datadir", "./data", "--rundir", environ["RUNDIR"],
        "--epochs", "10", "--batch-size", "4", "--lr", "0.5",
    ]  # fmt: skip
    argv, environ = seen(gl, "train", "hydra")
    assert argv[2:] == ["epochs=10", "batch-size=4", "fast=True", "lr=0.5"]
    argv, environ = seen(gl, "train", "env")
    assert (argv, environ["epochs"]) == ([], "10")
    argv, environ = seen(gl, "train", "none")
    assert argv == [] and "epochs" not in environ


def test_an_operation_inherited_twice_from_a_subdirectory(gl: Gl, place: Path) -> None:
    (place / "deep" / "down").mkdir(parents=True)
    argv, environ = seen(gl, "run", "leaf:export", cwd=place / "deep" / "down")
    assert argv[0] == "--export" and environ["OWN"] == str(place)
    assert environ["WHERE"].startswith(environ["RUNDIR"])


def test_prepare_has_no_run_directory(gl: Gl, place: Path) -> None:
    argv, environ = seen(gl, "prepare", env={"RUNDIR": "/elsewhere"})
    assert "--rundir" not in argv and argv[0] == "--prepare"
    assert "RUNDIR" not in environ and "WHERE" not in environ
    assert not (place / "out").exists()

    refused = gl("prepare", "asks")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "`$RUNDIR/data` in prepare of `asks` needs a run directory" in refused.stderr


def test_a_missing_requirement_is_met_by_advice_that_works(gl: Gl, place: Path) -> None:
    refused = gl("train", "needs")
    assert refused.returncode == 2 and "`./nope` is missing" in refused.stderr
    assert "give `needs` a `prepare` command" in refused.stderr
    assert not (place / "out").exists()


def test_a_flag_without_a_value_is_not_passed_then_nor_in_its_evaluation(
    gl: Gl, place: Path
) -> None:
    argv, _ = seen(gl, "train", "base", "datadir=", "lr=")
    assert not {"--datadir", "--lr"} & set(argv)
    argv, _ = seen(gl, "evaluate")
    assert not {"--datadir", "--lr"} & set(argv)
    argv, _ = seen(gl, "evaluate", "lr=0.1")
    assert argv[-2:] == ["--lr", "0.1"]

    argv, _ = seen(gl, "train", "base", "-F", "datadir=")
    assert argv[3:5] == ["--datadir", ""]
    argv, _ = seen(gl, "evaluate")
    assert argv[1:3] == ["--datadir", ""]


def test_an_unknown_flag_is_answered_with_those_that_are_known(gl: Gl, place: Path) -> None:
    refused = gl("train", "zzzzz=1")
    assert refused.returncode == 2
    assert "hint: known: datadir, rundir, epochs, nothing, hidden" in refused.stderr
    assert "`-F zzzzz=1` passes it anyway" in refused.stderr


def test_run_takes_a_command_in_quotes_and_knows_a_model_by_name(gl: Gl, place: Path) -> None:
    assert gl("run", "sh -c 'exit 3'").returncode == 3
    open_quote = gl("run", "sh -c 'exit")
    assert open_quote.returncode == 2 and "no closing quotation" in open_quote.stderr
    program = "import os; code = 3; os._exit(code)"
    assert gl("run", "--", sys.executable, "-c", program).returncode == 3
    model = gl("run", "leaf")
    assert model.returncode == 127 and "`gl run leaf:OPERATION`" in model.stderr


def test_stats_interval_is_passed_and_sets_the_period(gl: Gl, place: Path) -> None:
    project = PROJECT.replace("flags:\n", "interval: 9\nflags:\n  stats_interval:\n", 1)
    (place / "project.yml").write_text(project)
    for words, interval in ((["stats_interval=2"], 2.0), ([], 9.0)):
        argv, environ = seen(gl, "train", *words)
        manifest = json.loads(Path(environ["RUNDIR"], "gl.d/meta/manifest.json").read_text())
        assert manifest["interval"] == interval
        assert ("--stats_interval=2" in argv) is bool(words)


def test_run_lists_as_other_programs_read_them(gl: Gl, place: Path) -> None:
    seen(gl, "train", "--label", "first", "--note", "a word")
    seen(gl, "run", "middle:export")
    runs = json.loads(gl("runs", "--json").stdout)
    assert [(run["model"], run["operation"], run["label"]) for run in runs] == [
        ("middle", "export", ""), ("leaf", "train", "first"),
    ]  # fmt: skip
    promised = [
        "id",
        "uid",
        "status",
        "model",
        "operation",
        "started",
        "stopped",
        "duration",
        "label",
        "flags",
        "metrics",
        "dir",
    ]
    for run in runs:
        assert set(promised) <= set(run)
        assert Path(run["dir"]).name == run["id"] and run["status"] == "completed"
    assert list(runs[1]["flags"])[:3] == ["datadir", "rundir", "epochs"]
    assert runs[1]["flags"]["rundir"] == "$RUNDIR"
    assert [run["id"] for run in json.loads(gl("runs", "first", "--json").stdout)] == [
        runs[1]["id"]
    ]
    assert json.loads(gl("runs", "--trash", "--json").stdout) == []


def test_nothing_is_restored_from_an_empty_trash(gl: Gl, place: Path) -> None:
    seen(gl, "train")
    empty = gl("restore", "1")
    assert (empty.returncode, empty.stderr) == (1, "error: the trash is empty\n")
    gl("rm", "1")
    other = gl("restore", "nosuch")
    assert (other.returncode, other.stderr) == (
        1, "error: `nosuch` is not in the trash\nhint: see `gl runs --trash`\n",
    )  # fmt: skip


def test_sigterm_leaves_the_script_less_time_than_docker_stop_does(tmp_path: Path) -> None:
    (tmp_path / "end.py").write_text(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: exit(5))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    front = Front(tmp_path, "run", "end.py")
    run = front.started()
    front.said("ready")
    front.process.send_signal(signal.SIGTERM)
    assert front.end()[0] == 5
    asked = json.loads(run.paths.stop.read_text())
    # `docker stop` sends SIGKILL after 10 s.
    assert asked["grace_s"] < 10
