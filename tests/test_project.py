"""The project as typed objects: the example of the contract value by value, lookups, the cache."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guildlite import __version__
from guildlite import project as project_module
from guildlite.cache import CacheFile, file_stamp
from guildlite.errors import ProjectFileError, UsageError
from guildlite.flags import Flag, resolve_flags
from guildlite.project import Chart, Metric, Project, find_project, load_project

DIGITS = """\
name: digits                      # default: the directory's name
description: Handwritten digits
runs: runs                        # where run directories go, relative to this file
interval: 5                       # seconds between system samples
flags:                            # for every model
  datadir: ./data
  rundir: $RUNDIR                 # $RUNDIR, $GPU_COUNT, $PROJECT are filled in at launch
  epochs: 10
  batch_size: {default: 100, type: int, min: 1, help: examples per step}
models:
  intro:                          # a plain string is a script, module or command line
    description: Softmax regression
    prepare: intro --prepare
    train: intro
    evaluate: intro --test
    requires: [./data]            # train refuses (status 2) while one is missing
    flags: {lr: {default: 0.5, type: float, min: 0, scale: log}}
  expert:
    default: true
    extends: intro                # missing keys from there
    train: {run: expert, flag_style: equals, sources: ["*.py"], env: {OMP_NUM_THREADS: "1"}}
    serve: expert:predictor       # optional, a predictor for `gl serve`
    operations: {export: expert --export}
profiles:
  quick: {epochs: 1}
resources:
  samples: {prepare: get_samples.py}
metrics:                          # what matters; without a goal nothing is called best
  validation/accuracy: {goal: max, primary: true, format: "0.0%"}
  train/loss: {goal: min}
collect:                          # files without a header line, or with other names
  metrics.csv: [step, train/accuracy, validation/accuracy, train/loss, validation/loss]
view:
  fields: [validation/accuracy, train/loss, flag.lr]
  charts: [{title: Loss, series: "(train|validation)/loss"}]
  compare: [flag.lr, validation/accuracy]
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory for each test."""
    monkeypatch.setenv("GUILDLITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(directory: Path, text: str) -> Path:
    """Write a project file whose time is well in the past; return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "project.yml"
    path.write_text(text, encoding="utf-8")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


@pytest.fixture
def digits(tmp_path: Path) -> Project:
    return load_project(write(tmp_path / "work", DIGITS))


# -- The contract's example --------------------------------------------------------------------


def test_project_values(digits: Project, tmp_path: Path) -> None:
    assert digits.name == "digits"
    assert digits.description == "Handwritten digits"
    assert digits.file == tmp_path / "work" / "project.yml"
    assert digits.dir == tmp_path / "work"
    assert digits.runs_root == tmp_path / "work" / "runs"
    assert digits.interval == 5.0
    assert digits.profiles == {"quick": {"epochs": 1}}
    assert digits.metrics == {
        "validation/accuracy": Metric("validation/accuracy", "max", True, "0.0%"),
        "train/loss": Metric("train/loss", "min", False, None),
    }
    assert digits.collect == {
        "metrics.csv": (
            "step", "train/accuracy", "validation/accuracy", "train/loss", "validation/loss",
        )
    }  # fmt: skip
    assert digits.view.fields == ("validation/accuracy", "train/loss", "flag.lr")
    assert digits.view.charts == (Chart("Loss", "(train|validation)/loss"),)
    assert digits.view.compare == ("flag.lr", "validation/accuracy")


def test_flag_values(digits: Project) -> None:
    common = {
        "datadir": Flag("datadir", default="./data"),
        "rundir": Flag("rundir", default="$RUNDIR"),
        "epochs": Flag("epochs", default=10),
        "batch_size": Flag("batch_size", default=100, type="int", min=1, help="examples per step"),
    }
    lr = Flag("lr", default=0.5, type="float", min=0, scale="log")
    assert digits.flags == common
    assert digits.models["intro"].flags == {**common, "lr": lr}
    train = digits.models["expert"].operations["train"]
    assert list(train.flags.values()) == [*common.values(), lr]


def test_model_values(digits: Project) -> None:
    intro, expert = digits.models["intro"], digits.models["expert"]
    assert (intro.default, intro.extends, intro.serve) == (False, None, None)
    assert intro.description == "Softmax regression"
    assert {name: op.command for name, op in intro.operations.items()} == {
        "prepare": ("intro", "--prepare"), "train": ("intro",), "evaluate": ("intro", "--test"),
    }  # fmt: skip
    assert (expert.default, expert.extends, expert.serve) == (True, "intro", "expert:predictor")
    assert {name: op.command for name, op in expert.operations.items()} == {
        "prepare": ("intro", "--prepare"), "train": ("expert",), "evaluate": ("intro", "--test"),
        "export": ("expert", "--export"),
    }  # fmt: skip
    assert expert.requires == ("./data",)


def test_operation_values(digits: Project) -> None:
    train = digits.models["expert"].operations["train"]
    assert (train.name, train.model) == ("train", "expert")
    assert train.flag_style == "equals"
    assert train.sources == ("*.py",)
    assert train.env == {"OMP_NUM_THREADS": "1"}
    assert train.requires == ("./data",)
    evaluate = digits.models["expert"].operations["evaluate"]
    assert (evaluate.flag_style, evaluate.sources, evaluate.env) == ("space", None, {})
    assert evaluate.requires == ()
    samples = digits.resources["samples"].prepare
    assert (samples.name, samples.model, samples.command) == (
        "prepare", "samples", ("get_samples.py",),
    )  # fmt: skip
    assert list(samples.flags) == ["datadir", "rundir", "epochs", "batch_size"]


def test_launch_of_the_example(digits: Project) -> None:
    train = digits.operation(digits.model(None), "train")
    values = resolve_flags(train.flags, [("quick", digits.profile("quick"))], [("lr", "1e-2")])
    assert values.to_argv(train.flag_style, {"RUNDIR": "/r"}) == [
        "--datadir=./data", "--rundir=/r", "--epochs=1", "--batch_size=100", "--lr=0.01",
    ]  # fmt: skip
    assert values.recorded()["rundir"] == "$RUNDIR"


def test_resolved_fills_in_the_base(digits: Project) -> None:
    expert = digits.resolved()["models"]["expert"]
    assert "extends" not in expert
    assert expert["requires"] == ["./data"]
    assert expert["flags"] == {"lr": {"default": 0.5, "type": "float", "min": 0, "scale": "log"}}
    assert expert["operations"]["evaluate"] == {"run": "intro --test"}
    assert digits.data["models"]["expert"]["extends"] == "intro"


# -- Defaults and merging ----------------------------------------------------------------------


def test_defaults(tmp_path: Path) -> None:
    project = load_project(write(tmp_path / "mnist", "description: x\n"))
    assert project.name == "mnist"
    assert project.runs_root == tmp_path / "mnist" / "runs"
    assert project.interval == 5.0
    assert (project.models, project.metrics, project.view.charts) == ({}, {}, ())


def test_runs_may_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_project(write(tmp_path / "a", "runs: /data/r\n")).runs_root == Path("/data/r")
    assert load_project(write(tmp_path / "b", "runs: ~/r\n")).runs_root == tmp_path / "r"


def test_merging_is_by_name_at_every_depth_and_default_is_not_inherited(tmp_path: Path) -> None:
    text = """\
flags: {n: {default: 1, max: 9, help: how many}}
models:
  base:
    default: true
    env: {A: a, B: b}
    train: {run: x --fast, env: {B: op, C: c}, flag_style: hydra, flags: {n: 3}}
    operations: {export: x --export}
  leaf:
    extends: base
    env: {B: leaf}
    train: {flag_style: equals}
    flags: {n: 2}
"""
    project = load_project(write(tmp_path / "p", text))
    leaf = project.models["leaf"]
    train = leaf.operations["train"]
    assert not leaf.default
    assert train.command == ("x", "--fast")
    assert train.flag_style == "equals"
    assert train.env == {"A": "a", "B": "op", "C": "c"}
    assert leaf.operations["export"].env == {"A": "a", "B": "leaf"}
    assert leaf.flags["n"] == Flag("n", default=2, max=9, help="how many")
    assert train.flags["n"].default == 3
    assert project.model(None).name == "base"


def test_short_forms(tmp_path: Path) -> None:
    text = "models: {m: train.py}\nresources: {d: get.py --all}\nmetrics: {loss: min}\n" \
           "view: {charts: loss}\n"  # fmt: skip
    project = load_project(write(tmp_path / "p", text))
    assert project.model(None).operations["train"].command == ("train.py",)
    assert project.resources["d"].prepare.command == ("get.py", "--all")
    assert project.metrics["loss"].goal == "min"
    assert project.view.charts == (Chart("loss", "loss"),)


def test_names_of_all_flags(digits: Project) -> None:
    assert digits.flag_names() == {"datadir", "rundir", "epochs", "batch_size", "lr"}


# -- Lookups -----------------------------------------------------------------------------------


def test_default_model(tmp_path: Path, digits: Project) -> None:
    assert digits.model(None).name == "expert"
    assert digits.model("intro").name == "intro"
    two = load_project(write(tmp_path / "two", "models: {a: x, b: y}\n"))
    with pytest.raises(UsageError) as caught:
        two.model(None)
    assert caught.value.message == "this project has no default model: name one of `a`, `b`"
    none = load_project(write(tmp_path / "none", "name: x\n"))
    with pytest.raises(UsageError, match="defines no models"):
        none.model(None)


def test_unknown_names(digits: Project) -> None:
    with pytest.raises(UsageError) as caught:
        digits.model("exprt")
    assert caught.value.message == "model `exprt` is not defined for this project"
    assert caught.value.hint == "did you mean `expert`?"
    with pytest.raises(UsageError) as caught:
        digits.operation(digits.models["intro"], "export")
    assert caught.value.message == "model `intro` does not support an `export` operation"
    assert caught.value.hint == "it has `prepare`, `train`, `evaluate`"
    with pytest.raises(UsageError) as caught:
        digits.profile("quik")
    assert caught.value.message == "profile `quik` is not defined for this project"
    assert caught.value.hint == "did you mean `quick`?"
    with pytest.raises(UsageError, match="resource `x` is not defined"):
        digits.resource("x")


# -- Finding -----------------------------------------------------------------------------------


def test_found_from_below(digits: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    below = digits.dir / "a" / "b"
    below.mkdir(parents=True)
    assert find_project(digits.dir) == digits
    assert find_project(below) == digits
    monkeypatch.chdir(below)
    assert find_project(Path(".")) == digits
    assert load_project(digits.dir) == digits


def test_search_ends_at_home(digits: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    home = digits.dir / "home"
    (home / "x").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    assert find_project(home / "x") is None
    assert find_project(digits.dir) == digits


def test_a_strangers_file_in_a_parent_is_refused(
    digits: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = digits.dir / "below"
    below.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    if os.stat(digits.file).st_uid == 0:
        os.chown(digits.file, 4343, -1)
    with pytest.raises(UsageError, match="belongs to another user") as caught:
        find_project(below)
    assert f"gl -C {digits.dir}" in str(caught.value.hint)
    assert find_project(digits.dir) is not None


# -- Cache -------------------------------------------------------------------------------------


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any reading of YAML fail the test."""
    from guildlite import projectfile

    def fail(path: Path) -> None:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(projectfile, "read_project_file", fail)


def test_unchanged_file_is_not_read_again(digits: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_reading(monkeypatch)
    assert load_project(digits.file) == digits


def test_yaml_is_imported_only_for_a_changed_file(digits: Project) -> None:
    code = (
        "import sys; from pathlib import Path; from guildlite.project import find_project; "
        "find_project(Path(sys.argv[1])); print('yaml' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(digits.dir)]
    outcomes = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()]
    os.utime(digits.file, (1_700_000_001, 1_700_000_001))
    outcomes.append(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    )
    assert outcomes == ["False", "True"]


def test_values_come_back_from_the_cache_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path / "p", "flags: {a: .inf, b: 1.0, c: 1, d: null, e: 1e-3, f: 'é', g: no}\n"
    )
    first = load_project(path)
    forbid_reading(monkeypatch)
    assert repr(load_project(path)) == repr(first)


@pytest.mark.parametrize(
    "damage",
    [b"", b"\n\n", b"null\n0\nnull", b"\xff\xfe", b"[]", b'{"a": 1}\n1\n{}'],
)
def test_damaged_cache_does_not_matter(digits: Project, cache: Path, damage: bytes) -> None:
    (entry,) = (cache / "projects").iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(damage)
    assert load_project(digits.file) == digits
    assert entry.read_bytes() == whole
    entry.write_bytes(whole.replace(b'"digits"', b'"digitz"'))
    assert load_project(digits.file) == digits
    entry.write_bytes(whole[:-9])
    assert load_project(digits.file) == digits


def test_cache_of_another_version_or_shape_is_not_believed(
    digits: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = CacheFile("projects", str(digits.file))
    stamp = [__version__, file_stamp(digits.file)]
    assert kept.read(stamp) is not None
    kept.write([{}, {"models": {"a": {"bad": 1}}}], stamp)
    assert load_project(digits.file) == digits
    monkeypatch.setattr(project_module, "__version__", "99")
    forbid_reading(monkeypatch)
    with pytest.raises(AssertionError, match="was read"):
        load_project(digits.file)


def test_unwritable_cache_does_not_matter(
    digits: Project, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GUILDLITE_CACHE", str(tmp_path / "file" / "cache"))
    assert load_project(digits.file) == digits


def test_changed_file_is_read_again(digits: Project) -> None:
    write(digits.dir, "name: other\n")
    assert load_project(digits.file).name == "other"


def test_young_file_is_not_cached(tmp_path: Path, cache: Path) -> None:
    path = write(tmp_path / "p", "name: a\n")
    # Two writes of the same length within one tick of the clock have one time.
    now = time.time()
    os.utime(path, (now, now))
    assert load_project(path).name == "a"
    path.write_text("name: b\n")
    os.utime(path, (now, now))
    assert load_project(path).name == "b"
    assert not cache.exists()


def test_bad_files_are_not_cached(tmp_path: Path, cache: Path) -> None:
    path = write(tmp_path / "p", "nam: a\n")
    for _ in range(2):
        with pytest.raises(ProjectFileError, match=r"project\.yml:1:1: key `nam`"):
            load_project(path)
    assert not cache.exists()
