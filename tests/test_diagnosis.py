"""`gl check` on real folders of scripts, and the file system kinds it names."""

import re
import shutil
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

from guildlite import diagnosis
from guildlite.diagnosis import check
from guildlite.platform import file_system, is_network_file_system
from guildlite.scaffold import init_project

SCRIPTS = Path(__file__).parent / "scripts"
CHECKOUT = Path(__file__).parent.parent

pytestmark = pytest.mark.usefixtures("own_places")


class TestCheck:
    def lines(self, report, section):
        return [(f.name, f.state, f.text) for f in report.section(section)]

    def test_versions(self):
        report = check()
        system = {f.name: f.text for f in report.section("system")}
        assert system["Python"] == sys.version.split()[0]
        packages = {f.name: f for f in report.section("packages")}
        assert packages["click"].state == "ok"
        assert re.match(r"\d+\.", packages["click"].text)

    def test_the_list_of_packages_is_the_one_of_the_package(self):
        text = (CHECKOUT / "pyproject.toml").read_text()
        block = text.partition("\ndependencies = [")[2].partition("\n]")[0]
        assert list(diagnosis.REQUIRED) == re.findall(r'^\s*"([\w-]+)', block, re.MULTILINE)

    def test_missing_packages(self, monkeypatch):
        monkeypatch.setattr(diagnosis, "REQUIRED", ("click", "no-such-distribution"))
        monkeypatch.setattr(diagnosis, "OPTIONAL", {"none": (("no-such-thing",), "pip install x")})
        report = check()
        assert not report.ok
        assert self.lines(report, "packages")[1:] == [
            ("no-such-distribution", "error", "not installed"),
            ("none", "absent", "not installed"),
        ]

    def test_packages_of_the_scripts_own_environment(self, tmp_path, monkeypatch):
        site = tmp_path / "env" / "lib" / "python3.12" / "site-packages"
        (site / "torch-2.9.1.dist-info").mkdir(parents=True)
        (site / "torch-2.9.1.dist-info" / "METADATA").write_text("Name: torch\nVersion: 2.9.1\n")
        (site / "keras-3.0.dist-info").mkdir()  # what a broken removal leaves
        python = tmp_path / "env" / "bin" / "python"
        python.parent.mkdir()
        python.symlink_to(sys.executable)
        (tmp_path / "env" / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.12.1\n")
        monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "env"))
        found = self.lines(check(tmp_path), "environment")
        assert found[0] == ("Python of scripts", "ok", str(python))
        assert ("torch", "ok", "2.9.1") in found
        assert ("numpy", "absent", "not installed") in found
        assert ("keras", "absent", "not installed") in found

    @pytest.mark.parametrize(
        ("system", "state"), [("Linux", "ok"), ("Darwin", "warning"), ("Windows", "error")]
    )
    def test_platforms(self, system, state):
        found = diagnosis._platform_finding(system, "1.0", "x")
        assert found.state == state
        assert (found.hint is not None and "WSL" in found.hint) == (system == "Windows")

    def test_no_project(self, tmp_path):
        (found,) = check(tmp_path).section("project")
        assert (found.state, found.hint) == ("absent", "`gl init` writes one")

    def test_bad_project_file(self, tmp_path):
        (tmp_path / "project.yml").write_text("modles: {}\n")
        report = check(tmp_path)
        assert not report.ok
        (found,) = report.section("project")
        assert found.state == "error"
        assert "project.yml:1:1" in found.text

    def test_everything_that_is_missing_is_named(self, tmp_path):
        (tmp_path / "project.yml").write_text(
            "models:\n  m:\n    prepare: get.py\n    train: {run: trainn}\n"
            "    requires: [./data, ./more]\n"
            "resources:\n  samples: nothing.py\n"
        )
        (tmp_path / "get.py").write_text("")
        (tmp_path / "train.py").write_text("")
        (tmp_path / "data").mkdir()
        report = check(tmp_path)
        found = {(f.name, f.state): f for f in report.section("project")}
        assert found["m:prepare", "ok"].text == "get.py"
        assert found["m:train", "error"].text.startswith("script `trainn` is not there: looked for")
        assert found["m:train", "error"].hint == "did you mean `train`?"
        assert found["m:train", "warning"].text == "`./more` is not there"
        assert found["m:train", "warning"].hint == "run `gl prepare m`"
        assert found["samples", "error"].text.startswith("script `nothing.py` is not there")
        assert not report.ok

    def test_flags_are_counted_and_their_problems_told_when_asked(self, folder):
        init_project(folder)
        texts = [f.text for f in check(folder).section("project")]
        assert "train.py (40 flags in its source)" in texts
        problems = [f.text for f in check(folder, verbose=True).section("project")]
        assert any("`--layers` takes several words" in text for text in problems)
        assert not any("several words" in text for text in texts)

    def test_runs_root_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        (tmp_path / "project.yml").write_text("runs: file/runs\n")
        (found,) = [f for f in check(tmp_path).section("project") if f.name == "runs"]
        assert found.state == "error"

    def test_little_space(self, tmp_path, monkeypatch):
        (tmp_path / "project.yml").write_text("name: x\n")
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1 << 28))
        found = {f.name: f for f in check(tmp_path).section("project")}
        assert (found["disk space"].state, found["disk space"].text) == ("warning", "0.2 GiB free")

    def test_a_check_changes_nothing(self, folder):
        init_project(folder)
        before = sorted(folder.rglob("*"))
        check(folder)
        assert sorted(folder.rglob("*")) == before


class TestFileSystem:
    MOUNTS = (
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "23 22 0:5 / /proc rw - proc proc rw\n"
        "24 22 0:44 / /mnt/my\\040data rw shared:2 - nfs4 server:/x rw,vers=4.2\n"
        "25 24 0:45 / /mnt/my\\040data/local rw - xfs /dev/sdb rw\n"
        "26 22 0:46 / /mnt/remote rw - fuse.sshfs me@host:/ rw\n"
        "broken line\n"
    )

    @pytest.mark.parametrize(
        ("path", "kind", "network"),
        [
            ("/nonexistent/x", "ext4", False),
            ("/mnt/my data", "nfs4", True),
            ("/mnt/my data/runs", "nfs4", True),
            ("/mnt/my data/local/runs", "xfs", False),
            ("/mnt/my datas", "ext4", False),
            ("/mnt/remote/a", "fuse.sshfs", True),
        ],
    )
    def test_by_the_longest_mount_point(self, tmp_path, path, kind, network):
        (tmp_path / "mountinfo").write_text(self.MOUNTS)
        assert file_system(Path(path), tmp_path / "mountinfo") == kind
        assert is_network_file_system(Path(path), tmp_path / "mountinfo") is network

    def test_where_there_is_no_table(self, tmp_path):
        assert file_system(tmp_path, tmp_path / "none") == ""


class TestGpu:
    def test_driver_without_nvml(self, tmp_path):
        (tmp_path / "version").write_text(
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 2024\n"
        )
        gpu = tmp_path / "gpus" / "0000:01:00.0"
        gpu.mkdir(parents=True)
        (gpu / "information").write_text("Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ: 1\n")
        found = diagnosis._read_proc_driver(tmp_path)
        assert found.state == "warning"
        assert found.text == "NVIDIA A100-SXM4-40GB (driver 550.54.15), but NVML does not answer"
        assert diagnosis._read_proc_driver(tmp_path / "none") is None

    class NvmlError(Exception):
        pass

    def nvml(self, **answers):
        """Return a library that answers as NVML does where there are two GPUs."""
        closed = []
        library = SimpleNamespace(
            NVMLError=self.NvmlError,
            closed=closed,
            nvmlInit=lambda: None,
            nvmlShutdown=lambda: closed.append(True),
            nvmlDeviceGetCount=lambda: 2,
            nvmlDeviceGetHandleByIndex=lambda place: place,
            nvmlDeviceGetName=lambda handle: [b"NVIDIA A100", "NVIDIA H200"][handle],
            nvmlSystemGetDriverVersion=lambda: b"550.54.15",
        )
        vars(library).update(answers)
        return library

    def failing(self, *args):
        raise self.NvmlError("GPU is lost")

    def test_nvml(self, monkeypatch):
        library = self.nvml()
        monkeypatch.setitem(sys.modules, "pynvml", library)
        (found,) = check().section("gpu")
        assert (found.state, found.text) == (
            "ok",
            "NVIDIA A100, NVIDIA H200 (driver 550.54.15)",
        )
        assert library.closed == [True]

    @pytest.mark.parametrize(
        ("answers", "state", "text"),
        [
            ({"nvmlDeviceGetCount": lambda: 0}, "absent", "driver 550.54.15, no GPU"),
            ({"nvmlDeviceGetName": None}, "warning", "NVML answers, but not about GPUs"),
        ],
    )
    def test_nvml_with_trouble(self, monkeypatch, answers, state, text):
        answers = {name: answer or self.failing for name, answer in answers.items()}
        library = self.nvml(**answers)
        monkeypatch.setitem(sys.modules, "pynvml", library)
        (found,) = check().section("gpu")
        assert found.state == state
        assert found.text.startswith(text)
        assert library.closed == [True]

    def test_no_nvml(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pynvml", self.nvml(nvmlInit=self.failing))
        assert diagnosis._ask_nvml() is None
        monkeypatch.setitem(sys.modules, "pynvml", None)
        assert diagnosis._ask_nvml() is None

    def test_one_line_whatever_is_there(self):
        (found,) = check().section("gpu")
        assert found.name == "NVIDIA"
        assert found.state in ("ok", "warning", "absent")
