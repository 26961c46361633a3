"""Words of an operation to what is executed; Python itself says where it would look."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from guildlite.command import (
    CommandNotFound,
    NotExecutable,
    active_interpreter,
    find_module,
    resolve_command,
    site_packages,
)
from guildlite.errors import LaunchError, UsageError

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture
def project(tmp_path):
    for name in ("train.py", "pkg/__init__.py", "pkg/model.py", "runnable/__main__.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("" if path.name == "__init__.py" else "print('loss: 0.5')\n")
    return tmp_path


@pytest.fixture
def bin_dir(tmp_path_factory):
    """A PATH with one launcher that does what `torchrun` does: run the script it is given."""
    folder = tmp_path_factory.mktemp("bin")
    launcher = folder / "torchrun"
    launcher.write_text('#!/bin/sh\nshift 2\nexec "$PYTHON" "$@"\n')
    launcher.chmod(0o755)
    return folder


def resolve(words, project, **environ):
    return resolve_command(words.split(), project, environ)


class TestScripts:
    @pytest.mark.parametrize("word", ["train", "train.py"])
    def test_file_and_file_without_suffix(self, project, word):
        command = resolve(f"{word} --fixed 1", project)
        assert command.argv == (sys.executable, "train.py", "--fixed", "1")
        assert command.script == project / "train.py"
        assert command.arguments == ("--fixed", "1")
        assert command.kind == "python"

    def test_script_in_a_folder_and_absolute(self, project):
        assert resolve("pkg/model", project).argv[1] == "pkg/model.py"
        command = resolve(f"{project}/train.py", Path("/"))
        assert command.argv[1] == str(project / "train.py")

    def test_an_existing_file_comes_before_the_suffix(self, project):
        script = project / "train"
        script.write_text("#!/bin/sh\necho loss: 1\n")
        script.chmod(0o755)
        command = resolve("train -x", project)
        assert command.argv == ("./train", "-x")
        assert (command.kind, command.script) == ("command", None)
        done = subprocess.run(command.argv, cwd=project, capture_output=True, text=True)
        assert done.stdout == "loss: 1\n"

    def test_executable_python_without_suffix_can_be_read(self, project):
        script = project / "tool"
        script.write_text("#!/usr/bin/env python3\n")
        script.chmod(0o755)
        assert resolve("tool", project).script == script

    def test_not_executable(self, project):
        (project / "run.sh").write_text("echo\n")
        with pytest.raises(NotExecutable) as caught:
            resolve("run.sh", project)
        assert caught.value.exit_code == 126
        assert isinstance(caught.value, LaunchError)
        assert caught.value.message == "`run.sh` is not executable"
        assert "chmod +x run.sh" in caught.value.hint


class TestModules:
    @pytest.mark.parametrize(
        ("name", "file"),
        [
            ("pkg.model", "pkg/model.py"),
            ("runnable", "runnable/__main__.py"),
        ],
    )
    def test_module_of_the_project(self, project, name, file):
        command = resolve(f"{name} a", project)
        assert command.argv == (sys.executable, "-m", name, "a")
        assert (command.script, command.kind) == (project / file, "module")
        done = subprocess.run(command.argv, cwd=project, capture_output=True, text=True)
        assert done.stdout == "loss: 0.5\n"

    def test_installed_module(self, project):
        command = resolve("pytest --version", project)
        assert command.argv == (sys.executable, "-m", "pytest", "--version")
        assert command.script.parts[-2:] == ("pytest", "__main__.py")

    def test_a_package_that_cannot_be_run_is_not_chosen(self, project, bin_dir):
        # numpy has no __main__; a command of that name is what is meant.
        shutil.copy(bin_dir / "torchrun", bin_dir / "numpy")
        assert resolve("numpy", project, PATH=str(bin_dir)).argv == ("numpy",)
        assert resolve("pkg.model", project).kind == "module"
        with pytest.raises(CommandNotFound):
            resolve("pkg", project, PATH=str(bin_dir))

    def test_finding_imports_nothing(self, project):
        (project / "boom").mkdir()
        (project / "boom" / "__init__.py").write_text("raise SystemExit(3)\n")
        (project / "boom" / "train.py").write_text("")
        assert resolve("boom.train", project).script == project / "boom" / "train.py"

    @pytest.mark.parametrize("name", ["", "..", "a..b", "a-b", "a b", "sys", "zipimport\0"])
    def test_what_is_no_module(self, project, name):
        assert find_module(name, project, sys.executable) is None


class TestCommands:
    def test_on_path(self, project, bin_dir):
        command = resolve("torchrun --nproc 2 train.py --lr 1", project, PATH=str(bin_dir))
        assert command.argv == ("torchrun", "--nproc", "2", "train.py", "--lr", "1")
        assert command.script == project / "train.py"
        assert command.arguments == ("--lr", "1")
        assert command.kind == "command"
        done = subprocess.run(
            command.argv, cwd=project, capture_output=True, text=True,
            env={"PATH": f"{bin_dir}:/usr/bin:/bin", "PYTHON": sys.executable},
        )  # fmt: skip
        assert done.stdout == "loss: 0.5\n"

    def test_launcher_of_a_module(self, project, bin_dir):
        command = resolve("torchrun --nproc 2 -m pkg.model x", project, PATH=str(bin_dir))
        assert command.script == project / "pkg" / "model.py"
        assert command.arguments == ("x",)

    def test_beside_the_interpreter_of_an_environment_that_is_not_on_path(self, project, tmp_path):
        tools = tmp_path / "env" / "bin"
        tools.mkdir(parents=True)
        for name in ("python", "launch"):
            (tools / name).symlink_to(sys.executable)
        environ = {"VIRTUAL_ENV": str(tmp_path / "env"), "PATH": "/nonexistent"}
        command = resolve_command(["launch", "train.py"], project, environ)
        assert command.argv == (str(tools / "launch"), "train.py")
        assert command.script == project / "train.py"

    def test_without_a_script(self, project, bin_dir):
        assert resolve("torchrun a b", project, PATH=str(bin_dir)).script is None

    @pytest.mark.parametrize(
        ("words", "script", "kind", "arguments"),
        [
            ("python train.py a", "train.py", "python", ("a",)),
            ("python3 -u -X dev -W error train.py a", "train.py", "python", ("a",)),
            ("python -m pkg.model a", "pkg/model.py", "module", ("a",)),
            ("python -um", None, "command", ()),
            ("python -mpkg.model a", "pkg/model.py", "module", ("a",)),
            ("python -c pass", None, "command", ("-c", "pass")),
            ("python -", None, "command", ("-",)),
            ("python missing.py", None, "python", ()),
        ],
    )
    def test_python_as_written(self, project, words, script, kind, arguments):
        command = resolve(words, project)
        assert command.argv == (sys.executable, *words.split()[1:])
        assert command.script == (script and project / script)
        if kind != "command" or arguments:
            assert (command.kind, command.arguments) == (kind, arguments)

    def test_a_certain_python_is_kept(self, project, bin_dir):
        (bin_dir / "python3.99").symlink_to(sys.executable)
        command = resolve("python3.99 train.py", project, PATH=str(bin_dir))
        assert command.argv == ("python3.99", "train.py")
        assert command.script == project / "train.py"

    def test_not_there(self, project):
        with pytest.raises(CommandNotFound) as caught:
            resolve("trian", project)
        assert caught.value.exit_code == 127
        assert isinstance(caught.value, UsageError)
        assert caught.value.message == (
            "script `trian` is not there: looked for `trian`, `trian.py`, "
            "a module `trian` and a command `trian`"
        )
        assert caught.value.hint == "did you mean `train`?"

    def test_a_path_is_never_looked_for_on_path(self, project):
        with pytest.raises(CommandNotFound, match=r"looked for `bin/x`, `bin/x\.py`(\n|$)"):
            resolve("bin/x", project)

    @pytest.mark.parametrize("words", [[], [""]])
    def test_empty(self, project, words):
        with pytest.raises(UsageError, match="the command is empty"):
            resolve_command(words, project, {})


class TestInterpreters:
    @pytest.fixture
    def other(self, tmp_path_factory):
        """Another environment, with a package of its own and one linked by a .pth file."""
        root = tmp_path_factory.mktemp("other")
        venv.create(root / "env", with_pip=False)
        linked = root / "src"
        linked.mkdir()
        (linked / "linked.py").write_text("")
        return root

    def test_own_without_an_active_one(self):
        assert active_interpreter({}) == sys.executable
        assert active_interpreter({"VIRTUAL_ENV": "", "CONDA_PREFIX": "/nonexistent"}) == (
            sys.executable
        )

    def test_own_when_the_active_one_is_the_own(self):
        assert active_interpreter({"VIRTUAL_ENV": sys.prefix}) == sys.executable

    def test_virtual_before_conda(self, other, tmp_path):
        conda = tmp_path / "conda" / "bin"
        conda.mkdir(parents=True)
        (conda / "python").symlink_to(sys.executable)
        environ = {"CONDA_PREFIX": str(conda.parent)}
        assert active_interpreter(environ) == str(conda / "python")
        environ["VIRTUAL_ENV"] = str(other / "env")
        assert active_interpreter(environ) == str(other / "env" / "bin" / "python")

    def ask(self, interpreter):
        """Return the directories of installed packages as that Python itself names them."""
        code = (
            "import site, sys; print(*[p for p in sys.path if p.endswith('-packages')], sep='\\n')"
        )
        done = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True)
        return {os.path.realpath(line) for line in done.stdout.split()}

    def test_site_packages(self, other):
        for python in (sys.executable, str(other / "env" / "bin" / "python")):
            found = {os.path.realpath(each) for each in site_packages(python)}
            assert found == self.ask(python)

    def test_modules_of_another_environment(self, other, tmp_path):
        python = str(other / "env" / "bin" / "python")
        (site,) = site_packages(python)
        (site / "own_tool.py").write_text("")
        (site / "src.pth").write_text(f"# linked\nimport os\n{other / 'src'}\n")
        environ = {"VIRTUAL_ENV": str(other / "env")}
        command = resolve_command(["own_tool"], tmp_path, environ)
        assert command.argv == (python, "-m", "own_tool")
        assert find_module("linked", tmp_path, python) == other / "src" / "linked.py"
        assert find_module("timeit", tmp_path, python).name == "timeit.py"
        assert find_module("pytest", tmp_path, python) is None
