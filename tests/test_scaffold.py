"""`gl init` on real folders of scripts."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from guildlite.diagnosis import check
from guildlite.errors import UsageError
from guildlite.flags import merge_script_flags, resolve_flags
from guildlite.project import load_project
from guildlite.scaffold import init_example, init_project, list_examples
from guildlite.scriptflags import read_script_flags

SCRIPTS = Path(__file__).parent / "scripts"
CHECKOUT = Path(__file__).parent.parent

pytestmark = pytest.mark.usefixtures("own_places")


def uncommented(path, marker):
    """Take the number signs away from a block of comments, as the file tells people to."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.strip() == marker)
    depth = lines[start].index("#")
    for place in range(start, len(lines)):
        if lines[place][depth : depth + 2] != "# ":
            break
        lines[place] = lines[place][:depth] + lines[place][depth + 2 :]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


class TestInitProject:
    def test_works_unedited(self, folder):
        assert init_project(folder) == [folder / "project.yml"]
        project = load_project(folder / "project.yml")
        assert project.name == "my digits"
        (model,) = project.models.values()
        assert model.name == "my-digits"
        assert {name: op.command for name, op in model.operations.items()} == {
            "prepare": ("prepare_data.py",),
            "train": ("train.py",),
            "evaluate": ("evaluate.py",),
        }
        assert model.operations["train"].flags == {}

    def test_flags_stand_there_with_their_defaults(self, folder):
        init_project(folder)
        uncommented(folder / "project.yml", "# flags:")
        flags = load_project(folder / "project.yml").models["my-digits"].flags
        assert len(flags) == 38  # two take several words
        assert flags["lr"].default == 0.001
        assert flags["data_dir"].default == "data/digits"
        assert flags["bias"].default is True
        assert flags["limit"].default is None
        text = (folder / "project.yml").read_text()
        assert re.search(r"^ +batch_size: 32 +# int: examples per step$", text, re.MULTILINE)

    def test_uncommented_flags_are_what_the_script_does_anyway(self, folder):
        init_project(folder)
        uncommented(folder / "project.yml", "# flags:")
        declared = load_project(folder / "project.yml").models["my-digits"].flags
        flags = merge_script_flags(declared, read_script_flags(folder / "train.py").flags)
        words = resolve_flags(flags).to_argv("space", {})
        sys.path.insert(0, str(SCRIPTS))
        try:
            parser = importlib.import_module("argparse_forty").build_parser()
        finally:
            sys.path.remove(str(SCRIPTS))
        plain, given = vars(parser.parse_args([])), vars(parser.parse_args(words))
        assert given == plain | {"workers": 1}  # a default its own type function never saw
        assert len(words) > 50

    def test_the_other_comments_are_right_too(self, folder):
        init_project(folder)
        for marker in ("# profiles:", "# metrics:", "# requires: [./data]       # `gl train` "
                       "refuses to start while one is missing"):  # fmt: skip
            uncommented(folder / "project.yml", marker)
        project = load_project(folder / "project.yml")
        assert project.profiles == {"quick": {"epochs": 1}}
        assert project.metrics["validation/accuracy"].goal == "max"
        assert project.models["my-digits"].requires == ("./data",)

    def test_several_models(self, tmp_path):
        for name in ("train_cnn.py", "train_mlp.py", "eval_mlp.py", "eval.py", "download.py"):
            (tmp_path / name).write_text("")
        init_project(tmp_path, name="pair")
        project = load_project(tmp_path / "project.yml")
        assert project.model(None).name == "cnn"
        commands = {
            f"{name}:{op}": operation.command[0]
            for name, model in project.models.items()
            for op, operation in model.operations.items()
        }
        assert commands == {
            "cnn:prepare": "download.py",
            "cnn:train": "train_cnn.py",
            "cnn:evaluate": "eval.py",
            "mlp:prepare": "download.py",
            "mlp:train": "train_mlp.py",
            "mlp:evaluate": "eval_mlp.py",
        }

    def test_a_program_of_any_name(self, tmp_path):
        (tmp_path / "mnist.py").write_text("if __name__ == '__main__':\n    print(1)\n")
        (tmp_path / "layers.py").write_text("x = 1\n")
        init_project(tmp_path)
        assert list(load_project(tmp_path / "project.yml").models) == ["mnist"]

    def test_without_scripts_a_skeleton(self, tmp_path):
        init_project(tmp_path, name="empty")
        path = tmp_path / "project.yml"
        assert load_project(path).models == {}
        assert "No script that trains was found" in path.read_text()
        uncommented(path, "# models:")
        (model,) = load_project(path).models.values()
        assert model.operations["train"].command == ("train.py",)
        assert model.flags["lr"].default == 0.1

    def test_given_command(self, folder):
        init_project(folder, name="n", train_cmd="train.py --epochs 2 'a: # b'")
        project = load_project(folder / "project.yml")
        train = project.models["n"].operations["train"]
        assert train.command == ("train.py", "--epochs", "2", "a: # b")

    @pytest.mark.parametrize("command", ["nothing.py", "train.py 'x", ""])
    def test_given_command_that_runs_nothing(self, folder, command):
        with pytest.raises(UsageError):
            init_project(folder, train_cmd=command)
        assert not (folder / "project.yml").exists()

    def test_never_overwrites(self, folder):
        (folder / "project.yml").write_text("mine")
        with pytest.raises(UsageError, match=r"`project\.yml` is already there"):
            init_project(folder)
        assert (folder / "project.yml").read_text() == "mine"

    @pytest.mark.parametrize(
        "text", ["null", "12:30", "1e3", "a: b", "a #b", "- x", '"', "\n", "é", "😀", "\x07",
                 "\x85", "@x", "x ", "~", "true", "{}", "&a", "c:\\d", "\ufeff", "\u2028"]
    )  # fmt: skip
    def test_any_text_is_read_back(self, tmp_path, text):
        (tmp_path / "train.py").write_text(
            "import argparse\np = argparse.ArgumentParser()\n"
            f"p.add_argument('--x', default={text!r}, help={text!r})\np.parse_args()\n",
            encoding="utf-8",
        )
        init_project(tmp_path, name=text + "x")
        uncommented(tmp_path / "project.yml", "# flags:")
        project = load_project(tmp_path / "project.yml")
        assert project.name == text + "x"
        (model,) = project.models.values()
        assert model.flags["x"].default == text


class TestExamples:
    def test_copies_every_file_and_runs(self, tmp_path):
        assert "digits" in list_examples()
        written = init_example("digits", tmp_path / "new")
        names = {path.relative_to(tmp_path / "new").as_posix() for path in written}
        assert {"project.yml", "intro.py", "expert.py"} <= names
        assert not {name for name in names if name.startswith(("runs/", "data/"))}
        for path in written:
            source = CHECKOUT / "examples" / "digits" / path.relative_to(tmp_path / "new")
            assert path.read_bytes() == source.read_bytes()
        report = check(tmp_path / "new")
        assert [f for f in report.section("project") if f.state == "error"] == []

    def test_nothing_is_overwritten(self, tmp_path):
        (tmp_path / "intro.py").write_text("mine")
        with pytest.raises(UsageError, match=r"^`intro\.py` already there(\n|$)"):
            init_example("digits", tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["intro.py"]

    def test_unknown(self, tmp_path):
        with pytest.raises(UsageError, match="example `digit` does not") as caught:
            init_example("digit", tmp_path)
        assert caught.value.hint == "did you mean `digits`?"
