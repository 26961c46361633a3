"""Starting, following and stopping runs from Python; the form of a notebook."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import call
from support.processes import assert_sealed, left_over, wait_for

import guildlite as gl
from guildlite.errors import FlagError, GuildliteError, UsageError
from guildlite.runs import Run, RunStore

PROJECT = """
name: tiny
interval: 0.2
models:
  tiny:
    train:
      run: train
      flags:
        lr: {default: 0.5, min: 0, max: 1}
        steps: {default: 3, min: 1, max: 100}
        optimizer: {default: adam, choices: [adam, sgd]}
        nesterov: false
        text: {type: str, default: ''}
    operations: {export: export}
profiles:
  quick: {steps: 1}
"""
SCRIPT = """
import sys
print('args', *sys.argv[1:])
print('step: 1 loss: 0.25')
"""
SLOW = """
import time
print('ready', flush=True)
time.sleep(600)
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_places: None) -> Iterator[Path]:
    """A project of one model; what its runs leave running is killed."""
    (tmp_path / "project.yml").write_text(PROJECT)
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "export.py").write_text(SCRIPT)
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for process in left_over(tmp_path):
        process.kill()


def test_launch_starts_a_run_and_waits_for_all_of_it(tiny: Path) -> None:
    run = gl.launch("tiny", lr=0.25, nesterov=True, profile="quick", label="first", note="why")
    assert run.wait(timeout_s=60) is run
    assert (run.status, run.label, run.note, run.model) == ("completed", "first", "why", "tiny")
    assert (run.flags["lr"], run.flags["optimizer"]) == (0.25, "adam")
    assert (run.flags["steps"], run.flags["nesterov"]) == (1, True)
    assert run.logs().startswith("args ") and "--lr 0.25" in run.logs()
    assert run.summary["loss"].last == 0.25
    assert gl.run() == run and gl.runs("label = first")[0] == run
    assert_sealed(Run(run.path))


def test_a_run_is_the_same_as_one_of_the_command_line(tiny: Path) -> None:
    mine = gl.launch("tiny", lr=0.25).wait(60)
    assert call("train", "tiny", "lr=0.25").status == 0
    other = gl.run()
    assert other != mine
    differing = {"id", "uid", "created", "command", "env", "launcher", "environment"}
    kept = [
        {name: value for name, value in run.manifest.items() if name not in differing}
        for run in (mine, other)
    ]
    assert kept[0] == kept[1]


def test_other_operations_and_scripts(tiny: Path) -> None:
    assert gl.launch("tiny:export").wait(60).operation == "export"
    script = gl.launch("export.py", flags={"anything": 3}).wait(60)
    assert (script.model, script.operation, script.flags) == ("export", "run", {"anything": 3})
    assert gl.launch().wait(60).model == "tiny", "the only model is the default"


def test_a_project_elsewhere(tiny: Path, tmp_path_factory: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    run = gl.launch("tiny", project=tiny)
    assert run.wait(60).path.parent == tiny / "runs"
    with pytest.raises(UsageError, match=r"there is no project\.yml in"):
        gl.launch("tiny")


class Kind(str, enum.Enum):
    SGD = "sgd"


def test_values_of_other_libraries_are_numbers(tiny: Path) -> None:
    run = gl.launch(
        "tiny", lr=np.float32(0.5), steps=np.int64(7), optimizer=Kind.SGD, text=Path("a/b")
    ).wait(60)
    assert run.flags["lr"] == 0.5 and run.flags["steps"] == 7
    assert (run.flags["optimizer"], run.flags["text"]) == ("sgd", "a/b")


@pytest.mark.parametrize(("words", "flags"), [
    (["tiny", "lr=2"], {"lr": 2}),
    (["tiny", "lrr=0.1"], {"lrr": 0.1}),
    (["tiny", "optimizer=adan"], {"optimizer": "adan"}),
    (["tiny", "steps=1.5"], {"steps": 1.5}),
    (["tiny", "-p", "quikc"], {"profile": "quikc"}),
    (["tinny"], {}),
])  # fmt: skip
def test_errors_are_the_sentences_of_the_command_line(
    tiny: Path, words: list[str], flags: dict[str, Any]
) -> None:
    with pytest.raises(UsageError) as caught:
        gl.launch(words[0], **flags)
    said = call("train", *words)
    assert said.status == 2 and caught.value.message in said.err
    assert (caught.value.hint or "") in said.err
    assert not RunStore(tiny / "runs").list(), "nothing was made"


def test_a_script_does_not_draw_into_cells(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tiny / "train.py").write_text("import os\nprint(os.environ.get('MPLBACKEND'))\n")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    assert gl.launch("tiny").wait(60).logs() == "None\n"
    monkeypatch.setenv("MPLBACKEND", "agg")
    assert gl.launch("tiny").wait(60).logs() == "agg\n"


def test_several_values_and_objects_are_refused(tiny: Path) -> None:
    with pytest.raises(FlagError, match="takes one value"):
        gl.launch("tiny", lr=[0.1, 0.2])
    with pytest.raises(FlagError, match="cannot hold a value of type `object`"):
        gl.launch("tiny", lr=object())


def test_a_script_that_fails_is_no_error_of_launch(tiny: Path) -> None:
    (tiny / "train.py").write_text("raise SystemExit(3)\n")
    run = gl.launch("tiny").wait(60)
    assert (run.status, run.exit_code, run.ending) == ("failed", 3, "exit status 3")


def test_stop_ends_a_live_run(tiny: Path) -> None:
    run = gl.launch("slow.py")
    wait_for("output", lambda: "ready" in run.logs())
    assert run.status == "running" and gl.runs("status = running")[0] == run
    with pytest.raises(UsageError, match="`grace_s` is -1"):
        run.stop(grace_s=-1)
    assert run.stop().status == "stopped"
    assert_sealed(Run(run.path))
    with pytest.raises(GuildliteError, match="is not running: it is stopped"):
        run.stop()


# The form -----------------------------------------------------------------------------------------


@pytest.fixture
def widgets() -> Any:
    return pytest.importorskip("ipywidgets")


def test_a_form_has_a_widget_for_each_flag(tiny: Path, widgets: Any) -> None:
    form = gl.form("tiny")
    kinds = {name: type(each).__name__ for name, each in form.inputs.items()}
    assert kinds == {
        "lr": "FloatSlider", "steps": "IntSlider", "optimizer": "Dropdown",
        "nesterov": "Checkbox", "text": "Text",
    }  # fmt: skip
    assert (form.inputs["lr"].min, form.inputs["lr"].max) == (0, 1)
    assert form.inputs["optimizer"].options == (("adam", "adam"), ("sgd", "sgd"))
    assert form.values() == {}, "nothing was changed"


def test_a_form_starts_a_run_and_follows_it(tiny: Path, widgets: Any) -> None:
    form = gl.form("tiny")
    form.inputs["lr"].value = 0.25
    run = form.start()
    assert run is not None and run == form.run
    wait_for("the report", lambda: "completed" in form.report)
    assert run.flags["lr"] == 0.25 and "lr=0.25" in form.report


def test_a_form_says_why_it_did_not_start(tiny: Path, widgets: Any) -> None:
    form = gl.form("tiny")
    (tiny / "train.py").unlink()
    assert form.start() is None and form.run is None
    assert "train" in form.report and "<b>" in form.report


def test_a_form_for_what_is_not_there(tiny: Path, widgets: Any) -> None:
    with pytest.raises(UsageError, match="is not defined"):
        gl.form("tinny")
