"""A command of the project file becomes words to execute, and the script whose flags can be read.

The first word is, in this order: an existing file, that word + `.py`, a module, a command on PATH.
Modules are found by looking at files; nothing is imported and nothing is run.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from guildlite.errors import LaunchError, UsageError, nearest

Kind = Literal["python", "module", "command"]

_PYTHON = re.compile(r"python(3(\.\d+)?)?t?(\.exe)?")
#: Options of `python` that take the next word as their value.
_PYTHON_VALUED = ("-X", "-W", "--check-hash-based-pycs")


class CommandNotFound(UsageError):
    """Neither a script, a module nor a command answers to the word."""

    exit_code = 127


class NotExecutable(LaunchError):
    """The file is there but the system would not run it."""

    exit_code = 126


class Command(NamedTuple):
    """What to execute, with the project as working directory.

    `argv` holds the fixed arguments too; flags are appended to it. `script` is the Python file
    whose flags can be read, also behind a launcher (`torchrun train.py`), or None; `arguments` are
    the fixed words after it, among which a sub-command may be.
    """

    argv: tuple[str, ...]
    script: Path | None
    kind: Kind
    arguments: tuple[str, ...] = ()


def resolve_command(words: Sequence[str], directory: Path, environ: Mapping[str, str]) -> Command:
    """Return what the words of an operation execute in `directory`.

    Raises CommandNotFound, NotExecutable, or UsageError when there are no words.
    """
    if not words or not words[0]:
        raise UsageError("the command is empty", hint="name a script, a module or a command")
    word, rest = words[0], tuple(words[1:])
    interpreter = active_interpreter(environ)
    if word in ("python", "python3"):  # the same Python that a bare script name would get
        return _python_command(interpreter, rest, directory)
    path = directory / word
    if path.is_file():
        return _file_command(word, path, rest, interpreter)
    script = directory / f"{word}.py"
    if script.is_file():
        return Command((interpreter, f"{word}.py", *rest), script, "python", rest)
    module = find_module(word, directory, interpreter)
    if module is not None:
        return Command((interpreter, "-m", word, *rest), module, "module", rest)
    program = _find_program(word, interpreter, environ)
    if program is None:
        raise _not_found(word, directory)
    if _PYTHON.fullmatch(word):
        return _python_command(program, rest, directory)
    return _launcher_command(program, rest, directory, interpreter)


def _find_program(word: str, interpreter: str, environ: Mapping[str, str]) -> str | None:
    """Return how to call a command: by its name where PATH has it, else beside the interpreter.

    The scripts of an environment are there even when it was not activated.
    """
    if os.sep in word:
        return None
    from shutil import which

    if which(word, path=environ.get("PATH", os.defpath)):
        return word
    return which(word, path=os.path.dirname(interpreter))


def _not_found(word: str, directory: Path) -> CommandNotFound:
    looked = f"`{word}`, `{word}.py`" if not word.endswith(".py") else f"`{word}`"
    if os.sep not in word and not word.endswith(".py"):
        looked += f", a module `{word}` and a command `{word}`"
    match = nearest(word, _script_names(directory))
    hint = f"did you mean `{match}`?" if match else f"scripts are looked for in {directory}"
    return CommandNotFound(f"script `{word}` is not there: looked for {looked}", hint=hint)


def _script_names(directory: Path) -> Iterator[str]:
    try:
        for path in sorted(directory.glob("*.py")):
            yield path.name
            yield path.stem
    except OSError:
        return


def _file_command(word: str, path: Path, rest: tuple[str, ...], interpreter: str) -> Command:
    if path.suffix == ".py":
        return Command((interpreter, word, *rest), path, "python", rest)
    if not os.access(path, os.X_OK):
        raise NotExecutable(
            f"`{word}` is not executable",
            hint=f"`chmod +x {word}`, or name the program that runs it, as in `bash {word}`",
        )
    # A bare name would be looked for on PATH instead.
    program = word if os.sep in word else os.path.join(os.curdir, word)
    is_python = b"python" in _first_line(path)
    return Command((program, *rest), path if is_python else None, "command", rest)


def _first_line(path: Path) -> bytes:
    """Return the line that names the interpreter of a script, or nothing."""
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError:
        return b""
    return head.partition(b"\n")[0] if head.startswith(b"#!") else b""


def _python_command(program: str, rest: tuple[str, ...], directory: Path) -> Command:
    """Return the command of `python ...` as written, with the script it names."""
    argv = (program, *rest)
    place = 0
    while place < len(rest):
        word = rest[place]
        if word in ("-c", "-"):
            break
        if word.startswith("-m"):
            name = word[2:] or (rest[place + 1] if place + 1 < len(rest) else "")
            module = find_module(name, directory, program)
            arguments = rest[place + (1 if word[2:] else 2) :]
            return Command(argv, module, "module", arguments)
        if not word.startswith("-"):
            script = directory / word
            found = script if script.is_file() else None
            return Command(argv, found, "python", rest[place + 1 :])
        place += 2 if word in _PYTHON_VALUED else 1
    return Command(argv, None, "command", rest)


def _launcher_command(
    program: str, rest: tuple[str, ...], directory: Path, interpreter: str
) -> Command:
    """Return the command of another program; the first Python file it is given is the script."""
    argv = (program, *rest)
    for place, each in enumerate(rest):
        if each.endswith(".py") and (directory / each).is_file():
            return Command(argv, directory / each, "command", rest[place + 1 :])
        if each in ("-m", "--module") and place + 1 < len(rest):
            module = find_module(rest[place + 1], directory, interpreter)
            if module is not None:
                return Command(argv, module, "command", rest[place + 2 :])
    return Command(argv, None, "command", rest)


# Interpreters and their modules ------------------------------------------------------------------


def active_interpreter(environ: Mapping[str, str]) -> str:
    """Return the Python of the active environment: virtual, conda, else the one gl runs in."""
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        prefix = environ.get(name)
        if not prefix:
            continue
        if os.path.realpath(prefix) == os.path.realpath(sys.prefix):
            break
        for python in (Path(prefix, "bin", "python"), Path(prefix, "python.exe")):
            if os.access(python, os.X_OK):
                return str(python)
    return sys.executable


def _is_own(interpreter: str) -> bool:
    return interpreter == sys.executable


def site_packages(interpreter: str) -> list[Path]:
    """Return the directories that hold the packages installed for `interpreter`.

    Found by the layout of the environment, without starting it: a few conventions of venv, conda,
    Debian and macOS frameworks. Directories that do not exist are left out.
    """
    if _is_own(interpreter):
        import site

        own = [*site.getsitepackages(), *([site.getusersitepackages()] if _user_site() else [])]
        return _existing(Path(each) for each in own)
    prefix = Path(interpreter).parent.parent
    prefixes = [prefix]
    config = _pyvenv(prefix)
    if config.get("include-system-site-packages", "").lower() == "true" and "home" in config:
        prefixes.append(Path(config["home"]).parent)
    version = config.get("version_info") or config.get("version") or _version(interpreter)
    name = "python" + ".".join(version.split(".")[:2]) if version else "python3*"
    found: list[Path] = []
    for each in prefixes:
        for pattern in (f"lib/{name}", "lib/python3", f"local/lib/{name}", f"lib64/{name}"):
            for library in sorted(each.glob(pattern)):
                found += [library / "site-packages", library / "dist-packages"]
    return _existing(found)


def _user_site() -> bool:
    import site

    return bool(site.ENABLE_USER_SITE)


def _existing(paths: Sequence[Path] | Iterator[Path]) -> list[Path]:
    """Return the directories among `paths`, each once however it is reached."""
    found: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _pyvenv(prefix: Path) -> dict[str, str]:
    """Return the settings of a virtual environment; empty where there are none."""
    try:
        lines = (prefix / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition("=") for line in lines)
    return {key.strip().lower(): value.strip() for key, equals, value in pairs if equals}


def _version(interpreter: str) -> str:
    """Return `3.11` for an interpreter that is, or links to, `python3.11`; else nothing."""
    match = re.search(r"python(3\.\d+)", os.path.basename(os.path.realpath(interpreter)))
    return match[1] if match else ""


def find_module(name: str, directory: Path, interpreter: str) -> Path | None:
    """Return the file `python -m NAME` would run in `directory`, or None.

    That is a module's source file or a package's `__main__.py`; a package without one cannot be
    run, and a module without source (built in, compiled) tells nothing.
    """
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for place in _module_places(parts[0], directory, interpreter):
        stem = place.joinpath(*parts)
        for path in (stem / "__main__.py", stem.parent / f"{stem.name}.py"):
            if path.is_file():
                return path
    return None


def _module_places(top: str, directory: Path, interpreter: str) -> Iterator[Path]:
    """Yield the directories where the top-level name `top` may lie, nearest first."""
    yield directory
    if not _is_own(interpreter):
        yield from site_packages(interpreter)
        for each in site_packages(interpreter):
            yield from _linked(each)
        yield Path(os.__file__).parent  # names of the standard library hardly differ
        return
    from importlib.util import find_spec

    try:  # a top-level name only: for `a.b` it would import `a`
        spec = find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return
    if spec is not None and spec.submodule_search_locations:
        for location in spec.submodule_search_locations:
            yield Path(location).parent
    elif spec is not None and spec.has_location and spec.origin:
        yield Path(spec.origin).parent


def _linked(site: Path) -> Iterator[Path]:
    """Yield the directories a site directory adds by its `.pth` files (editable installs)."""
    for file in sorted(site.glob("*.pth")):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for line in lines:
            if line and not line.startswith(("#", "import ", "import\t")):
                yield site / line
