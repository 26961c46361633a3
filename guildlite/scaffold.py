"""Starting a project: the file `gl init` writes, and the examples."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guildlite.command import resolve_command
from guildlite.errors import GuildliteError, UsageError, did_you_mean
from guildlite.flags import Flag, format_value, parse_scalar
from guildlite.project import PROJECT_FILE
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
    scripts = _find_scripts(directory)
    if train_cmd is not None:
        models = {_model_name(title): _given_command(train_cmd, directory)}
    else:
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


def _find_scripts(directory: Path) -> _Scripts:
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
    return _Scripts(train, prepare, evaluate)


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
            hint=f"choose an empty directory: `gl -C DIR init --example {name}`",
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
