"""The form of a new run as data: controls, what differs, and the command it stands for."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from support.run_dirs import make_run
from support.starting import make_place

from guildlite.errors import GuildliteError
from guildlite.project import load_project
from guildlite.runs import Run
from guildlite.runs.facts import read_fact
from guildlite.web.actions.form import (
    Control,
    Said,
    StartForm,
    default_op,
    read_choices,
    read_form,
    said_of,
)
from guildlite.web.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    make_place(tmp_path)
    return Workspace(tmp_path, load_project(tmp_path / "project.yml"))


def form_of(workspace: Workspace, **said: object) -> StartForm:
    return read_form(workspace, Said(**{"op": "expert:train", **said}))  # type: ignore[arg-type]


def control(form: StartForm, name: str) -> Control:
    return next(each for each in form.controls if each.name == name)


def words_of(form: StartForm) -> list[str]:
    """Return what is passed to the script, read as a shell would."""
    words = shlex.split(form.executed)
    return words[words.index("train.py") + 1 :]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("epochs", "number"),
        ("lr", "number"),
        ("optimizer", "choice"),
        ("augment", "switch"),
        ("datadir", "path"),
        ("rundir", "text"),
        ("api_key", "secret"),
    ],
)
def test_each_type_has_its_control(workspace: Workspace, name: str, kind: str) -> None:
    assert control(form_of(workspace), name).kind == kind


def test_a_number_has_bounds_step_and_scale(workspace: Workspace) -> None:
    form = form_of(workspace)
    epochs = control(form, "epochs")
    assert (epochs.low, epochs.high, epochs.step) == ("1", "500", "5")
    assert control(form, "lr").scale == "log"


def test_few_choices_are_all_shown_many_are_a_list(workspace: Workspace) -> None:
    form = form_of(workspace)
    assert control(form, "optimizer").radios
    assert not control(form, "dtype").radios


def test_a_path_says_whether_it_is_there(workspace: Workspace) -> None:
    assert control(form_of(workspace), "datadir").place == "a folder that is there"
    there = form_of(workspace, flags={"datadir": "train.py"})
    assert control(there, "datadir").place == "a file that is there"
    nowhere = form_of(workspace, flags={"datadir": "$RUNDIR/x"})
    assert control(nowhere, "datadir").place == "made with the run"
    assert control(form_of(workspace, flags={"datadir": "no"}), "datadir").place == "not there yet"


def test_the_defaults_are_the_whole_command(workspace: Workspace) -> None:
    form = form_of(workspace)
    assert form.command == "gl train expert -d"
    assert form.changes == []
    assert words_of(form) == [
        "--epochs", "10", "--lr", "0.5", "--optimizer", "sgd", "--dtype", "f32",
        "--augment", "True", "--datadir", "./data", "--rundir", "$RUNDIR",
    ]  # fmt: skip


def test_what_is_typed_changes_the_command(workspace: Workspace) -> None:
    form = form_of(
        workspace,
        flags={"lr": "1e-3", "augment": "False"},
        label="two words",
        note="why",
        free="extra=1\nbare",
    )
    assert shlex.split(form.command) == [
        "gl", "train", "expert", "lr=1e-3", "augment=False", "-F", "extra=1", "-F", "bare=true",
        "--label", "two words", "--note", "why", "-d",
    ]  # fmt: skip
    changes = [(each.name, each.default, each.value) for each in form.changes]
    assert changes[:2] == [("lr", "0.5", "0.001"), ("augment", "True", "False")]
    assert control(form, "lr").changed


def test_saying_the_default_changes_nothing(workspace: Workspace) -> None:
    form = form_of(workspace, flags={"lr": "0.50", "epochs": "1e1"})
    assert form.command == "gl train expert -d"
    assert not control(form, "lr").changed


def test_a_profile_is_the_base_and_later_ones_win(workspace: Workspace) -> None:
    form = form_of(workspace, profiles=("slow", "quick"))
    assert (control(form, "epochs").base, control(form, "epochs").from_profile) == ("1", "quick")
    assert not control(form, "epochs").changed
    assert form.profiles[:2] == ["slow", "quick"]
    assert form.command == "gl train expert --profile slow --profile quick -d"
    assert {(c.name, c.origin) for c in form.changes} == {
        ("epochs", "profile quick"),
        ("augment", "profile quick"),
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("epochs", "many", "flag `epochs` expects an integer from 1 to 500, got `many`"),
        ("epochs", "0", "flag `epochs` expects an integer from 1 to 500, got `0`"),
        ("lr", "-1", "flag `lr` expects a number of at least 0, got `-1`"),
        ("optimizer", "adm", "flag `optimizer` expects one of `sgd`, `adam`, `rmsprop`, got `adm`"),
    ],
)
def test_an_error_is_at_its_field_in_the_words_of_the_command_line(
    workspace: Workspace, name: str, text: str, message: str
) -> None:
    form = form_of(workspace, flags={name: text})
    assert control(form, name).error == message
    assert control(form, name).text == text
    assert form.plan is None
    assert [each.name for each in form.wrong] == [name]


def test_a_sweep_is_refused_as_on_the_command_line(workspace: Workspace) -> None:
    assert "sweeps are not there yet" in str(
        control(form_of(workspace, flags={"lr": "[0.1,0.01]"}), "lr").error
    )


def test_a_required_flag_and_a_missing_path(workspace: Workspace) -> None:
    form = form_of(workspace, op="needy:train")
    assert control(form, "must").error == "flag needs a value: `must`"
    form = form_of(workspace, op="needy:train", flags={"must": "x"})
    assert form.plan is not None
    assert form.missing is not None
    assert form.missing.message == "`./samples` is missing, which train of `needy` needs"
    assert form.can_prepare == "needy"
    assert form.fault() is not None


def test_secrets_stay_out_of_everything_shown(workspace: Workspace) -> None:
    form = form_of(workspace, flags={"api_key": "hunter2"})
    assert form.plan is not None
    assert "hunter2" in form.plan.argv("/r")
    form.plan = None
    shown = repr((form.controls, form.command, form.executed, form.changes, form.environment))
    assert "hunter2" not in shown
    assert "api_key=(secret)" in form.command


@pytest.mark.parametrize("op", ["expert:fly", "nobody:train", "expert", "/bin/sh", "../x.py", "'"])
def test_what_is_not_there_is_said(workspace: Workspace, op: str) -> None:
    form = form_of(workspace, op=op)
    assert form.problem is not None
    assert form.plan is None


def test_an_unknown_flag_and_profile_are_said(workspace: Workspace) -> None:
    unknown = form_of(workspace, flags={"lrr": "1"}).problem
    assert unknown is not None
    assert unknown.message == "flag `lrr` is not known"
    profile = form_of(workspace, profiles=("quik",)).problem
    assert profile is not None
    assert profile.hint == "did you mean `quick`?"


def test_flags_of_the_script_are_there_and_passed_only_when_set(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(
        "import argparse\np = argparse.ArgumentParser()\n"
        "p.add_argument('--momentum', type=float, default=0.9)\n"
        "p.add_argument('--nesterov', action='store_true')\n"
    )
    form = form_of(workspace)
    assert control(form, "momentum").found
    assert "--momentum" not in words_of(form)
    form = form_of(workspace, flags={"momentum": "0.9", "nesterov": "True"})
    assert words_of(form)[-3:] == ["--momentum", "0.9", "--nesterov"]


def test_what_can_be_started(workspace: Workspace) -> None:
    assert read_choices(workspace) == {
        "expert": ["expert:train", "expert:export"],
        "needy": ["needy:train"],
    }
    assert default_op(workspace) == "expert:train"


def test_without_a_project_scripts_are_started(tmp_path: Path) -> None:
    make_place(tmp_path)
    (tmp_path / "project.yml").unlink()
    alone = Workspace(tmp_path, None)
    assert read_choices(alone) == {"scripts": ["evaluate.py", "prepare.py", "train.py"]}
    form = read_form(alone, Said("train.py", flags={"lr": "0.1"}))
    assert form.command == "gl run train.py lr=0.1 -d"
    assert words_of(form) == ["--lr", "0.1"]


def test_the_form_follows_the_project_file(workspace: Workspace, tmp_path: Path) -> None:
    before = form_of(workspace)
    text = (tmp_path / "project.yml").read_text()
    (tmp_path / "project.yml").write_text(text.replace("default: 0.5", "default: 0.25"))
    after = form_of(workspace)
    assert (control(before, "lr").base, control(after, "lr").base) == ("0.5", "0.25")
    assert before.seen != after.seen


# From a run


def past_run(
    workspace: Workspace, flags: dict[str, str], changed: list[str], **more: object
) -> Run:
    run = make_run(workspace.store, "expert", flags=flags)
    manifest = {**(read_fact(run.paths.manifest) or {}), "changed": changed, **more}
    run.paths.manifest.write_text(json.dumps(manifest))
    return Run(run.path)


def test_a_run_is_repeated_whatever_the_defaults_are_now(workspace: Workspace) -> None:
    flags = {"epochs": "10", "lr": "0.1", "augment": "True", "gone": "7", "api_key": "(secret)"}
    said = said_of(workspace, past_run(workspace, flags, ["lr", "gone", "api_key", "datadir"]))
    assert said.op == "expert:train"
    assert dict(said.flags) == {"lr": "0.1"}
    assert said.free == "gone=7"
    assert said.cleared == {"datadir"}
    form = read_form(workspace, said)
    assert "--datadir" not in words_of(form)
    assert words_of(form)[:4] == ["--epochs", "10", "--lr", "0.1"]


def test_a_run_with_a_profile_keeps_it(workspace: Workspace) -> None:
    flags = {"epochs": "1", "lr": "0.5", "augment": "False"}
    run = past_run(workspace, flags, ["epochs", "augment"], profiles=["quick", "gone"])
    said = said_of(workspace, run)
    assert (said.profiles, dict(said.flags)) == (("quick",), {})


def test_a_run_whose_model_is_gone(workspace: Workspace) -> None:
    run = make_run(workspace.store, "forgotten")
    with pytest.raises(GuildliteError, match="neither an operation of a model nor a script"):
        said_of(workspace, run)
