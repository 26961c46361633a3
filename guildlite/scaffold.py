"""Starting a project: the file `gl init` writes, the examples, and the diagnosis of `gl check`."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from guildlite.command import (
    active_interpreter,
    resolve_command,
    site_packages,
)
from guildlite.errors import GuildliteError, UsageError, did_you_mean
from guildlite.flags import Flag, format_value, parse_scalar
from guildlite.project import PROJECT_FILE, Operation, Project, find_project
from guildlite.scriptflags import read_script_flags

# A project file from the scripts that are there ---------------------------------------------------

#: Folders, besides the project's own, in which scripts are looked for.
_SCRIPT_FOLDERS = ("", "scripts", "src")
_TRAIN = re.compile(r"train|main|(train|fit)[-_].+|.+[-_]train")
_PREPARE = re.compile(r"(prepare|preprocess|download|get|make|fetch)([-_]?data(set)?)?([-_].+)?")
_EVALUATE = re.compile(r"(eval|evaluate|test)|(eval|evaluate)[-_].+|.+[-_](eval|evaluate)")
_NOT_SCRIPTS = re.compile(r"(test_.*|conftest|setup|noxfile|fabfile|__init__|__main__|manage)")
#: More files than this are a library, not a folder of scripts; each is opened once.
_MAX_SCRIPTS = 200


@dataclass(frozen=True)
class _Scripts:
    """The scripts of a folder by what their names say they do, as words for the project file."""

    train: list[str]
    prepare: list[str]
    evaluate: list[str]


def init_project(
    directory: Path, *, name: str | None = None, train_cmd: str | None = None
) -> list[Path]:
    """Write a commented project file made from the scripts in `directory`; return what was written.

    The file works as it is. `train_cmd` is the train command where the scripts' names do not tell.
    Raises UsageError when a project file is there already, or when `train_cmd` runs nothing.
    """
    path = directory / PROJECT_FILE
    if path.exists():
        raise _already_there(path)
    title = name or directory.resolve().name or "project"
    if train_cmd is not None:
        models = {_model_name(title): _given_command(train_cmd, directory)}
        scripts = _Scripts([], *_find_scripts(directory)[1:])
    else:
        scripts = _Scripts(*_find_scripts(directory))
        models = _models(scripts.train, title)
    text = "\n".join(_project_lines(title, directory, models, scripts)) + "\n"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise _already_there(path)
    except OSError as error:
        raise GuildliteError(f"`{path}` cannot be written: {error.strerror}")
    return [path]


def _already_there(path: Path) -> UsageError:
    return UsageError(f"`{path.name}` is already there", hint=f"edit {path}, or move it away first")


def _given_command(command: str, directory: Path) -> str:
    """Return the train command the user gave, after a look whether it runs anything."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"the train command cannot be read: {error}", hint="close the quotes")
    resolve_command(words, directory, os.environ)
    return command


def _find_scripts(directory: Path) -> tuple[list[str], list[str], list[str]]:
    train, prepare, evaluate = [], [], []
    for path in _python_files(directory):
        word = path.relative_to(directory).as_posix()
        if _EVALUATE.fullmatch(path.stem.lower()):
            evaluate.append(word)
        elif _TRAIN.fullmatch(path.stem.lower()):
            train.append(word)
        elif _PREPARE.fullmatch(path.stem.lower()):
            prepare.append(word)
    # `main.py` beside a `train.py` is most often the program around it.
    if any(Path(word).stem.lower() == "train" for word in train):
        train = [word for word in train if Path(word).stem.lower() != "main"]
    train = train or [word for word in _other_programs(directory) if word not in prepare + evaluate]
    return train, prepare, evaluate


def _python_files(directory: Path) -> Iterator[Path]:
    for folder in _SCRIPT_FOLDERS:
        try:
            found = sorted((directory / folder).glob("*.py"))[:_MAX_SCRIPTS]
        except OSError:
            continue
        for path in found:
            if path.is_file() and not _NOT_SCRIPTS.fullmatch(path.stem) and path.stem[0] != ".":
                yield path


def _other_programs(directory: Path) -> list[str]:
    """Return the scripts that are run rather than imported, whatever they are called."""
    found = []
    for path in _python_files(directory):
        try:
            with path.open("rb") as file:
                source = file.read(1 << 20)
        except OSError:
            continue
        if re.search(rb"""^if __name__ == ["']__main__["']""", source, re.MULTILINE):
            found.append(path.relative_to(directory).as_posix())
    return found


def _models(scripts: Sequence[str], title: str) -> dict[str, str]:
    """Return model names and the script that trains each: `train_cnn.py` trains `cnn`."""
    models: dict[str, str] = {}
    for word in scripts:
        stem = Path(word).stem
        name = re.sub(r"^(train|fit|main)([-_]|$)|[-_]train$", "", stem, flags=re.IGNORECASE)
        name = _model_name(name or title)
        models[name if name not in models else _model_name(word.removesuffix(".py"))] = word
    return models


def _model_name(text: str) -> str:
    """Return `text` as the name of a model, which is also part of run directories' names."""
    return re.sub(r"[^\w]+", "-", text).strip("-_") or "model"


def _project_lines(
    title: str, directory: Path, models: Mapping[str, str], scripts: _Scripts
) -> Iterator[str]:
    yield "# What can be run here, and with which flags. `gl check` says what is missing,"
    yield "# `gl schema` prints every key there is."
    yield ""
    yield f"name: {_yaml(title)}"
    yield "# description: one line for lists"
    yield "# runs: runs                 # where run directories go"
    yield ""
    if models:
        yield "models:"
        for place, (name, command) in enumerate(models.items()):
            first = place == 0 and len(models) > 1
            yield from _model_lines(name, command, directory, scripts, is_default=first)
    else:
        yield "# No script that trains was found here. Name yours, with or without `.py`, a module"
        yield "# or a command line, and take the number signs away:"
        yield "# models:"
        yield f"#   {_yaml(_model_name(title))}:"
        yield "#     train: train.py"
        yield "#     flags:"
        yield "#       lr: 0.1            # passed to the script as `--lr 0.1`"
    yield ""
    yield "# Flag values that go together, for `gl train --profile quick`:"
    yield "# profiles:"
    yield "#   quick: {epochs: 1}"
    yield ""
    yield "# What matters. The goal decides which run is called best:"
    yield "# metrics:"
    yield "#   validation/accuracy: {goal: max, primary: true}"


def _model_lines(
    name: str, command: str, directory: Path, scripts: _Scripts, *, is_default: bool
) -> Iterator[str]:
    yield f"  {_yaml(name)}:"
    if is_default:
        yield "    default: true              # what `gl train` trains when no model is named"
    prepare = _script_for(name, scripts.prepare)
    if prepare:
        yield f"    prepare: {_yaml(prepare)}"
    yield f"    train: {_yaml(command)}"
    evaluate = _script_for(name, scripts.evaluate)
    if evaluate:
        yield f"    evaluate: {_yaml(evaluate)}"
    if prepare:
        yield "    # requires: [./data]       # `gl train` refuses to start while one is missing"
    yield ""
    yield from _flag_lines(command, directory)


def _script_for(model: str, scripts: Sequence[str]) -> str | None:
    """Return the script whose name mentions the model, else the plainest one."""
    named = [word for word in scripts if model.lower() in Path(word).stem.lower()]
    return min(named or scripts, key=len, default=None)


def _flag_lines(command: str, directory: Path) -> Iterator[str]:
    found = resolve_command(shlex.split(command), directory, os.environ)
    read = read_script_flags(found.script, subcommand=found.arguments) if found.script else None
    if read is None or not read.flags:
        yield "    # flags:                   # passed as `--name value`"
        yield "    #   lr: 0.1"
        return
    yield f"    # Found in {_one_line(command)}, with its defaults. They can be set as they are;"
    yield "    # take the number signs away from those that gl should always pass."
    yield "    # flags:"
    for flag in read.flags.values():
        if flag.name not in read.several:
            line = f"    #   {_yaml(flag.name)}: {_yaml_value(flag)}"
            yield f"{line:<40}  # {_about(flag)}"
    if read.several:
        names = ", ".join(name for name in read.flags if name in read.several)
        yield ""
        yield f"    # With several words each, and so best written into `train`: {_one_line(names)}"


def _about(flag: Flag) -> str:
    """Return what stands behind a flag's line: type, choices, help."""
    words = flag.kind or "text"
    if flag.choices:
        words = "one of " + ", ".join(format_value(choice) for choice in flag.choices)
    text = f"{words}: {flag.help}" if flag.help else words
    return _one_line(text)


def _one_line(text: str) -> str:
    """Return text fit for a comment."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain if len(plain) <= 100 else plain[:97] + "..."


def _yaml_value(flag: Flag) -> str:
    if flag.default is None:
        return "null"
    if isinstance(flag.default, str):
        return _yaml(flag.default)
    if isinstance(flag.default, bool):
        return "true" if flag.default else "false"
    text = format_value(flag.default)
    return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(text, text)


def _yaml(text: str) -> str:
    """Return text as YAML writes it: plain where that is safe, else quoted."""
    plain = re.fullmatch(r"[\w./][\w./ +@-]*(?<! )", text, re.ASCII)
    if plain and isinstance(parse_scalar(text), str):
        return text
    # ASCII escapes of JSON write a letter beyond U+FFFF as two, which YAML reads as two letters.
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(each if each.isprintable() else _escaped(each) for each in quoted)


def _escaped(letter: str) -> str:
    number = ord(letter)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


# Examples -----------------------------------------------------------------------------------------

#: What running an example leaves behind; never copied.
_LEFT_BEHIND = ("runs", "data", "__pycache__")


def list_examples() -> list[str]:
    """Return the names of the examples that ship with gl."""
    root = _examples_root()
    if root is None:
        return []
    return sorted(each.name for each in root.iterdir() if (each / PROJECT_FILE).is_file())


def init_example(name: str, directory: Path) -> list[Path]:
    """Copy the example project `name` into `directory`; return the files written.

    Raises UsageError for an unknown example and, before anything is written, when a file of the
    same name is there already.
    """
    root = _examples_root()
    if root is None or name not in list_examples():
        raise UsageError(
            f"example `{name}` does not ship with gl", hint=did_you_mean(name, list_examples())
        )
    source = root / name
    files = list(_example_files(source))
    clashes = [file.as_posix() for file in files if os.path.lexists(directory / file)]
    if clashes:
        raise UsageError(
            f"{', '.join(f'`{each}`' for each in clashes)} already there",
            hint="choose an empty directory: `gl -C DIR init --example " + name + "`",
        )
    try:
        for file in files:
            target = directory / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file, target)
    except OSError as error:
        raise GuildliteError(f"the example cannot be written to {directory}: {error.strerror}")
    return [directory / file for file in files]


def _examples_root() -> Path | None:
    """Return where the examples lie: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for root in (package / "examples", package.parent / "examples"):
        if root.is_dir() and any(root.glob(f"*/{PROJECT_FILE}")):
            return root
    return None


def _example_files(source: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(each for each in folders if each not in _LEFT_BEHIND)
        for name in sorted(names):
            if not name.endswith(".pyc"):
                yield Path(folder, name).relative_to(source)


# Diagnosis ----------------------------------------------------------------------------------------

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

    findings: tuple[Finding, ...] = field(default_factory=tuple)

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
_NETWORK_FILE_SYSTEMS = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "lustre", "gpfs", "beegfs", "ceph")
)
#: Those that are served by a program of the user's: `fuse.sshfs` and its like.
_NETWORK_FUSE = frozenset(
    ("sshfs", "glusterfs", "ceph-fuse", "juicefs", "s3fs", "gcsfuse", "rclone", "davfs")
)


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
    kind = file_system(place)
    network = f", on a network file system ({kind})" if _is_network(kind) else ""
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


def _is_network(kind: str | None) -> bool:
    return kind is not None and (
        kind in _NETWORK_FILE_SYSTEMS or kind.removeprefix("fuse.") in _NETWORK_FUSE
    )


def file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the kind of file system `path` lies on (`ext4`, `nfs4`), or None where unknown."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    best, kind = "", None
    target = os.path.realpath(path)
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or not kinds:
            continue
        mount = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):  # a later mount on the same place hides the earlier
            best, kind = mount, kinds[0]
    return kind
