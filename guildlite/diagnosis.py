"""The diagnosis of `gl check`: versions, GPU, and what the project lacks."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from guildlite.command import active_interpreter, resolve_command, site_packages
from guildlite.errors import GuildliteError
from guildlite.platform import file_system, is_network_file_system
from guildlite.project import PROJECT_FILE, Operation, Project, find_project
from guildlite.scriptflags import read_script_flags

State = Literal["ok", "warning", "error", "absent"]


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis: what was looked at, how it is, and what to do about it."""

    section: str
    name: str
    state: State
    text: str
    hint: str | None = None


@dataclass(frozen=True)
class Report:
    """Everything `gl check` found, section by section."""

    findings: tuple[Finding, ...]

    @property
    def bad_project_file(self) -> bool:
        """Whether there is a project file and it cannot be read."""
        return any(
            (each.section, each.name, each.state) == ("project", PROJECT_FILE, "error")
            for each in self.findings
        )

    @property
    def ok(self) -> bool:
        """Whether nothing is in error; what is merely absent or worth a warning does not count."""
        return all(each.state != "error" for each in self.findings)

    def section(self, name: str) -> list[Finding]:
        """Return the findings of one section."""
        return [each for each in self.findings if each.section == name]


#: Distributions gl needs, as in `dependencies` of pyproject.toml.
REQUIRED = (
    "click",
    "psutil",
    "nvidia-ml-py",
    "tensorboard",
    "tbparse",
    "sqlalchemy",
    "pyyaml",
    "fastapi",
    "uvicorn",
    "jinja2",
    "google-crc32c",
)
#: What scripts and `gl serve` may use: name shown, distributions that bring it, how to get it.
OPTIONAL = {
    "numpy": (("numpy",), "pip install numpy"),
    "onnxruntime": (("onnxruntime", "onnxruntime-gpu"), 'pip install "guildlite[onnx]"'),
    "torch": (("torch",), 'pip install "guildlite[torch]"'),
    "tensorflow": (("tensorflow", "tensorflow-cpu", "tf-nightly"), "pip install tensorflow"),
    "keras": (("keras",), 'pip install "guildlite[keras]"'),
}
#: Before 3.31 SQLite lacks what run.db's readers rely on.
_OLDEST_SQLITE = (3, 31, 0)
#: Less free space than this is worth a warning: an event file may grow faster than one looks.
_LITTLE_SPACE_BYTES = 1 << 30


def check(directory: Path | None = None, verbose: bool = False) -> Report:
    """Return what is there and what is missing: versions, GPU, and the project of `directory`.

    `directory` None means the current one. `verbose` adds where things lie and what the scripts'
    flags leave unclear. Nothing is run, nothing is changed.
    """
    where = directory or Path.cwd()
    return Report(
        (
            *_check_system(verbose),
            *_check_packages(verbose),
            *_check_environment(),
            *_check_gpu(),
            *_check_project(where, verbose),
        )
    )


def _check_system(verbose: bool) -> Iterator[Finding]:
    import platform
    import sqlite3

    import guildlite

    place = f" in {Path(guildlite.__file__).parent}" if verbose else ""
    yield Finding("system", "guildlite", "ok", guildlite.__version__ + place)
    python = platform.python_version() + (f" at {sys.executable}" if verbose else "")
    yield Finding("system", "Python", "ok", python)
    new_enough = sqlite3.sqlite_version_info >= _OLDEST_SQLITE
    yield Finding(
        "system",
        "SQLite",
        "ok" if new_enough else "error",
        sqlite3.sqlite_version,
        None if new_enough else "use a Python built with SQLite 3.31 or newer",
    )
    yield _platform_finding(platform.system(), platform.release(), platform.machine())


def _platform_finding(system: str, release: str, machine: str) -> Finding:
    text = f"{system} {release} {machine}"
    if system == "Linux":
        return Finding("system", "platform", "ok", text)
    if system == "Darwin":
        lacks = "no GPU figures, and disk figures only for the whole machine"
        return Finding("system", "platform", "warning", f"{text}: {lacks}")
    return Finding("system", "platform", "error", f"{text} cannot run gl", hint="use it inside WSL")


def _check_packages(verbose: bool) -> Iterator[Finding]:
    for name in REQUIRED:
        found = _find_distribution((name,), None)
        if found is None:
            hint = f"pip install {name}"
            yield Finding("packages", name, "error", "not installed", hint)
        else:
            yield Finding("packages", name, "ok", found[0] + (f" in {found[1]}" if verbose else ""))
    yield from _optional_findings("packages", None)


def _check_environment() -> Iterator[Finding]:
    """Say what the scripts' own Python has, where that is another one than gl's."""
    interpreter = active_interpreter(os.environ)
    if interpreter == sys.executable:
        return
    yield Finding("environment", "Python of scripts", "ok", interpreter)
    yield from _optional_findings("environment", [str(p) for p in site_packages(interpreter)])


def _optional_findings(section: str, places: list[str] | None) -> Iterator[Finding]:
    for name, (distributions, hint) in OPTIONAL.items():
        found = _find_distribution(distributions, places)
        if found is None:
            yield Finding(section, name, "absent", "not installed", hint)
        else:
            yield Finding(section, name, "ok", found[0])


def _find_distribution(names: Iterable[str], places: list[str] | None) -> tuple[str, str] | None:
    """Return version and place of the first distribution that is installed, or None."""
    from importlib.metadata import Distribution

    for name in names:
        context = {"name": name} if places is None else {"name": name, "path": places}
        for found in Distribution.discover(**context):
            # The remains of a removed distribution may lack the file, or the line in it.
            text = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
            version = re.search(r"^Version: *(\S+)", text, re.MULTILINE)
            if version:
                return version[1], str(found.locate_file(""))
    return None


def _check_gpu() -> Iterator[Finding]:
    found = _ask_nvml() or _read_proc_driver()
    yield found or Finding("gpu", "NVIDIA", "absent", "no GPU found")


def _ask_nvml() -> Finding | None:
    """Return what NVML says of driver and GPUs, or None where it does not answer."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        count = pynvml.nvmlDeviceGetCount()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(place) for place in range(count)]
        names = [_decoded(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
        driver = _decoded(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError as error:
        return Finding("gpu", "NVIDIA", "warning", f"NVML answers, but not about GPUs: {error}")
    finally:
        pynvml.nvmlShutdown()
    if not names:
        return Finding("gpu", "NVIDIA", "absent", f"driver {driver}, no GPU")
    return Finding("gpu", "NVIDIA", "ok", f"{', '.join(names)} (driver {driver})")


def _decoded(text: str | bytes) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def _read_proc_driver(root: Path = Path("/proc/driver/nvidia")) -> Finding | None:
    """Return what the kernel's driver says where NVML is silent, as in a container without it."""
    try:
        version = (root / "version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(r"\b\d+\.\d+(\.\d+)?\b", version)
    names = []
    for file in sorted(root.glob("gpus/*/information")):
        try:
            model = re.search(r"^Model:\s*(.+)$", file.read_text(errors="replace"), re.MULTILINE)
        except OSError:
            continue
        names.append(model[1].strip() if model else "unknown GPU")
    text = f"{', '.join(names) or 'no GPU'} (driver {match[0] if match else 'unknown'})"
    hint = "in a container, make `libnvidia-ml.so.1` visible (`--gpus all`)"
    return Finding("gpu", "NVIDIA", "warning", f"{text}, but NVML does not answer", hint)


# The project --------------------------------------------------------------------------------------


def _check_project(where: Path, verbose: bool) -> Iterator[Finding]:
    try:
        project = find_project(where)
    except GuildliteError as error:
        yield Finding("project", PROJECT_FILE, "error", error.message, error.hint)
        return
    if project is None:
        yield Finding("project", PROJECT_FILE, "absent", f"not in {where}", "`gl init` writes one")
        return
    yield Finding("project", PROJECT_FILE, "ok", str(project.file))
    if not project.models:
        hint = f"add them under `models:` in {PROJECT_FILE}"
        yield Finding("project", "models", "warning", "none yet", hint)
    for name, model in project.models.items():
        prepare = f"run `gl prepare {name}`" if "prepare" in model.operations else None
        for word, operation in model.operations.items():
            yield from _check_operation(f"{name}:{word}", operation, project, prepare, verbose)
    for name, resource in project.resources.items():
        yield from _check_operation(name, resource.prepare, project, None, verbose)
    yield from _check_runs_root(project.runs_root)


def _check_operation(
    label: str, operation: Operation, project: Project, prepare: str | None, verbose: bool
) -> Iterator[Finding]:
    yield from _check_command(label, operation.command, project.dir, verbose)
    missing = [each for each in operation.requires if not (project.dir / each).exists()]
    if missing:
        paths = ", ".join(f"`{each}`" for each in missing)
        verb = "is" if len(missing) == 1 else "are"
        yield Finding("project", label, "warning", f"{paths} {verb} not there", prepare)


def _check_command(
    label: str, words: Sequence[str], directory: Path, verbose: bool
) -> Iterator[Finding]:
    try:
        command = resolve_command(words, directory, os.environ)
    except GuildliteError as error:
        yield Finding("project", label, "error", error.message, error.hint)
        return
    text = shlex.join(command.argv if verbose else words)
    read = (
        read_script_flags(command.script, subcommand=command.arguments) if command.script else None
    )
    if read is not None and read.flags:
        text += f" ({len(read.flags)} flag{'s' if len(read.flags) > 1 else ''} in its source)"
    yield Finding("project", label, "ok", text)
    for problem in read.problems if read is not None and verbose else ():
        yield Finding("project", label, "warning", problem)


def _check_runs_root(root: Path) -> Iterator[Finding]:
    place = root
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        hint = "change its permissions, or `runs:` in the project file"
        yield Finding("project", "runs", "error", f"{root} cannot be written", hint)
        return
    network = ""
    if is_network_file_system(place):
        network = f", on a network file system ({file_system(place)})"
    yield Finding("project", "runs", "ok", f"{root}{network}")
    free = shutil.disk_usage(place).free
    little = free < _LITTLE_SPACE_BYTES
    yield Finding(
        "project",
        "disk space",
        "warning" if little else "ok",
        f"{free / (1 << 30):.1f} GiB free",
        "make room: a run that cannot write loses what it measures" if little else None,
    )
