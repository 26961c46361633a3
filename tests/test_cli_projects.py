"""`gl init`, `check`, `project`, `models`, `schema`, and the way into `view` and `serve`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.commands import call
from support.run_dirs import START, make_run

from guildlite.project import load_project
from guildlite.runs import RunStore

PROJECT = """\
name: digits
flags: {epochs: 10}
models:
  intro:
    description: Softmax regression
    train: python intro.py
    evaluate: python intro.py --test
  expert:
    default: true
    extends: intro
    train: python expert.py
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def project_file(here: Path) -> Path:
    path = here / "project.yml"
    path.write_text(PROJECT)
    return path


# gl init ----------------------------------------------------------------------------------------


def test_init_writes_a_file_that_works(here: Path) -> None:
    (here / "train.py").write_text("print('hello')\n")
    answer = call("init", "--name", "first")
    assert (answer.status, answer.out) == (0, "project.yml\n")
    assert "gl check" in answer.err
    assert load_project(here / "project.yml").name == "first"


def test_init_overwrites_nothing(project_file: Path) -> None:
    answer = call("init")
    assert answer.status == 2
    assert answer.err.startswith("error: `project.yml` is already there\nhint: ")
    assert project_file.read_text() == PROJECT


def test_init_writes_the_example(here: Path) -> None:
    answer = call("init", "--example", "digits")
    assert answer.status == 0
    assert {"project.yml", "expert.py", "intro.py"} <= set(answer.out.split())
    assert all((here / name).is_file() for name in answer.out.split())


def test_init_refuses_an_unknown_example_and_mixed_wishes() -> None:
    assert call("init", "--example", "digit").err.endswith("hint: did you mean `digits`?\n")
    assert call("init", "--example", "digits", "--name", "x").status == 2


# gl check ---------------------------------------------------------------------------------------


def test_check_groups_its_findings() -> None:
    answer = call("check")
    lines = answer.out.splitlines()
    sections = [line for line in lines if line and not line.startswith(" ")]
    assert sections[-1] == "project"
    assert lines[-1].strip() == "hint: `gl init` writes one"
    assert any(line.split()[:2] == ["ok", "click"] for line in lines)


def test_check_fails_on_what_is_in_error(here: Path) -> None:
    (here / "project.yml").write_text("models: {m: no-such-script.py}\n")
    answer = call("check")
    assert answer.status == 1
    assert any(line.split()[:2] == ["error", "m:train"] for line in answer.out.splitlines())


def test_bare_gl_in_a_project_without_models_does_not_speak_of_training(here: Path) -> None:
    (here / "project.yml").write_text("name: bare\n")
    out = call().out
    assert "gl run SCRIPT" in out
    assert "gl train" not in out


def test_a_value_out_of_bounds_names_the_way_around(here: Path) -> None:
    (here / "project.yml").write_text("models: {m: m.py}\nflags: {lr: {default: 1, min: 0}}\n")
    (here / "m.py").write_text("")
    answer = call("train", "lr=-3", "--preview")
    assert (answer.status, answer.err.splitlines()[1]) == (
        2,
        "hint: `-F lr=-3` passes it anyway",
    )
    assert call("train", "-F", "lr=-3", "--preview").status == 0


def test_check_ends_like_every_command_on_a_bad_project_file(here: Path) -> None:
    (here / "project.yml").write_text("modles: {}\n")
    assert call("check").status == call("models").status == 2
    assert call("check", "--json").status == 2


def test_check_as_json() -> None:
    found = call("check", "--json").json
    assert {each["state"] for each in found} <= {"ok", "warning", "error", "absent"}
    assert all(set(each) == {"section", "name", "state", "text", "hint"} for each in found)


# gl project, models, schema -----------------------------------------------------------------------


def test_project_prints_yaml_that_reads_as_the_same(project_file: Path) -> None:
    answer = call("project")
    assert answer.status == 0
    assert yaml.safe_load(answer.out) == yaml.safe_load(PROJECT)
    assert call("project", "--json").json == yaml.safe_load(PROJECT)


def test_project_resolved_fills_in_what_is_extended(project_file: Path) -> None:
    full = call("project", "--json", "--resolve").json
    assert full["models"]["expert"]["operations"]["evaluate"]["run"] == "python intro.py --test"
    assert yaml.safe_load(call("project", "--resolve").out) == full


def test_project_by_section(project_file: Path) -> None:
    assert call("project", "flags", "--json").json == {"flags": {"epochs": 10}}
    assert call("project", "flag").err == (
        "error: project.yml has no `flag`\nhint: did you mean `flags`?\n"
    )


def test_without_a_project_the_directory_is_named(here: Path) -> None:
    answer = call("models")
    assert answer.status == 2
    assert f"`{here}`" in answer.err and "`gl init`" in answer.err


def test_a_bad_project_file_is_one_sentence_with_its_place(here: Path) -> None:
    (here / "project.yml").write_text("modles: {}\n")
    answer = call("models")
    assert answer.status == 2
    assert answer.err.startswith(f"error: {here / 'project.yml'}:1:1: ")
    assert answer.err.endswith("hint: did you mean `models`?\n")


def test_models(project_file: Path) -> None:
    assert call("models").out == (
        "model             operations      description\n"
        "intro             train evaluate  Softmax regression\n"
        "expert (default)  train evaluate  Softmax regression\n"
    )
    assert call("models", "--json").json[1] == {
        "name": "expert",
        "description": "Softmax regression",
        "default": True,
        "extends": "intro",
        "operations": ["train", "evaluate"],
    }


def test_the_only_model_is_the_default(here: Path) -> None:
    (here / "project.yml").write_text("models: {m: {train: 'true'}}\n")
    assert call("models", "--json").json[0]["default"] is True


def test_schema_is_a_json_schema() -> None:
    schema = json.loads(call("schema").out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "models" in schema["properties"]


# gl view, gl serve --------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the servers were called with, instead of being started."""
    seen: list[dict[str, Any]] = []

    def record(where: Any, **settings: Any) -> int:
        seen.append({"where": where, **settings})
        return 130

    monkeypatch.setattr("guildlite.web.serve_viewer", record)
    monkeypatch.setattr("guildlite.serve.serve_run", record)
    monkeypatch.setattr("guildlite.serve.check_run", record)
    return seen


def test_view_is_told_where_and_how(
    project_file: Path, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    below = project_file.parent / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    assert call("view", "--no-browser", "--port", "0").status == 130
    (seen,) = calls
    assert seen["where"] == project_file.parent
    assert (seen["port"], seen["host"], seen["open_browser"]) == (0, "127.0.0.1", False)
    assert seen["read_only"] is False
    assert seen["models"].files(below) == []
    assert call("view", "--no-browser", "--read-only").status == 130
    assert calls[1]["models"] is None


def test_serve_takes_the_latest_run_with_a_model(here: Path, calls: list[dict[str, Any]]) -> None:
    store = RunStore(here / "runs")
    runs = [make_run(store, started=START + index) for index in range(3)]
    (runs[1].path / "m.onnx").write_bytes(b"x")
    answer = call("serve")
    assert answer.status == 130
    assert answer.err == f"serving the latest run with a model, {runs[1].id}\n"
    source = calls[0]["where"]
    assert (source.run_dir, source.name, source.uid) == (runs[1].path, runs[1].id, runs[1].uid)
    assert calls[0]["port"] == 6444


def test_serve_takes_the_run_that_is_named(here: Path, calls: list[dict[str, Any]]) -> None:
    run = make_run(RunStore(here / "runs"))
    assert call("serve", str(run.path), "--file", "m.onnx", "--check", "--trust").status == 130
    source = calls[0]["where"]
    assert (source.run_dir, source.file, source.trust) == (run.path, "m.onnx", True)


def test_serve_takes_the_projects_predictor(here: Path, calls: list[dict[str, Any]]) -> None:
    (here / "project.yml").write_text(
        "models: {expert: {train: 'true', serve: 'expert:predict'}}\n"
    )
    run = make_run(RunStore(here / "runs"))
    assert call("serve").status == 130
    assert call("serve", run.id, "--file", "m.onnx").status == 130
    assert call("serve", "--predictor", "other:p", "--timeout", "2").status == 130
    assert [seen["where"].predictor for seen in calls] == ["expert:predict", None, "other:p"]
    assert calls[0]["where"].folder == here
    assert calls[2]["limits"].timeout_s == 2


def test_serve_is_told_its_limits_and_its_name(here: Path, calls: list[dict[str, Any]]) -> None:
    run = make_run(RunStore(here / "runs"))
    words = ("--max-body", "64", "--threads", "2", "--name", "digits-2.1")
    assert call("serve", run.id, *words).status == 130
    assert calls[0]["limits"].threads == 2
    assert calls[0]["limits"].max_body_bytes == 64 * 2**20
    assert calls[0]["where"].served_as == "digits-2.1"
    for name in ("", "a/b", "..", "a b"):
        assert call("serve", run.id, "--name", name).status == 2
    assert len(calls) == 1


def test_serve_lists_the_models_of_a_run(here: Path) -> None:
    run = make_run(RunStore(here / "runs"))
    assert call("serve", run.id, "--list").status == 1
    assert call("serve", run.id, "--list", "--json").json == []
    (run.path / "m.onnx").write_bytes(b"x")
    (run.path / "weights.safetensors").write_bytes(b"x")
    listed = call("serve", run.id, "--list")
    assert listed.status == 0
    assert [line.split("  ")[0] for line in listed.out.splitlines()] == [
        "m.onnx             ".strip(), "weights.safetensors",
    ]  # fmt: skip
    assert "an ONNX model, class A" in listed.out
    assert "not served by itself" in listed.out
    assert call("serve", run.id, "--list", "--json").json[0]["kind"] == "onnx"


def test_serve_refuses_two_answers_to_one_question(here: Path) -> None:
    assert call("serve", "--file", "a", "--predictor", "b:c").status == 2
    assert call("serve", "--json").status == 2


def test_serve_without_anything_to_serve(here: Path, calls: list[dict[str, Any]]) -> None:
    assert (
        call("serve").err == "error: there are no runs to serve\nhint: `gl run SCRIPT` starts one\n"
    )
    make_run(RunStore(here / "runs"))
    assert call("serve").err.startswith("error: no run holds a model to serve\n")
    assert call("serve", "1", "--latest-run").status == 2
    assert calls == []
