"""The picture in docs/decisions/2026-11-20-spine.md is the code: imports go only where it says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/decisions/2026-11-20-spine.md"


def layers() -> dict[str, set[str] | None]:
    """Return module or folder → what it may import; None is anything."""
    allowed: dict[str, set[str] | None] = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and (name := re.fullmatch(r"`(\w+)/?`", cells[0])):
            anything = cells[2].startswith("anything")
            allowed[name[1]] = None if anything else set(cells[2].split()) - {"standard", "library"}
    return allowed


LAYERS = layers()


def layer_of(file: Path) -> str:
    parts = file.relative_to(ROOT / "guildlite").with_suffix("").parts
    return parts[0]


def imported_layers(file: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, layer) of every import of our own package, also those inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "guildlite" and len(parts) > 1 and not parts[1].startswith("__"):
                yield node.lineno, parts[1]


FILES = sorted(
    file for file in (ROOT / "guildlite").rglob("*.py") if not file.name.startswith("__main__")
)


def test_every_module_is_in_the_picture() -> None:
    found = {layer_of(file) for file in FILES} - {"__init__"}
    assert found == set(LAYERS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_upwards(file: Path) -> None:
    layer = layer_of(file)
    allowed = LAYERS.get(layer, set())
    wrong = [
        f"line {line}: {layer} imports {name}"
        for line, name in imported_layers(file)
        if allowed is not None and name != layer and name not in allowed
    ]
    assert not wrong


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(file: Path, known: set[str]) -> Iterator[str]:
    """Yield the own modules that a module imports anywhere, for type checkers too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def test_no_two_modules_know_each_other() -> None:
    files = {module_of(file): file for file in FILES}
    imports = {name: set(imported_modules(file, {*files})) - {name} for name, file in files.items()}
    # Takes away what imports nothing that is left; what stays goes round in circles.
    while leaves := [name for name, inner in imports.items() if not inner & imports.keys()]:
        for name in leaves:
            del imports[name]
    assert not imports


#: What Windows lacks, of that which POSIX code is tempted to touch while it is imported.
ABSENT_MODULES = ("fcntl", "termios", "tty", "pty", "pwd", "grp", "resource")
ABSENT_SIGNALS = ("SIGKILL", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGCONT")
AS_ON_WINDOWS = f"""
import os, signal, subprocess, sys
# The standard library has been imported by what it really has; ours must do with less.
import asyncio, tempfile, uvicorn, fastapi, psutil, socketserver, sqlalchemy, click, jinja2, yaml
for name in {ABSENT_MODULES!r}:
    sys.modules[name] = None
for name in {ABSENT_SIGNALS!r}:
    delattr(signal, name)
for name in ("fork", "posix_spawn", "killpg", "setsid", "getuid", "O_NOFOLLOW", "O_NONBLOCK",
             "O_CLOEXEC", "WNOHANG", "POSIX_SPAWN_DUP2", "P_ALL"):
    delattr(os, name)
for name in sys.argv[1:]:
    try:
        __import__(name)
    except Exception as error:
        print(name, type(error).__name__, error)
"""


def test_modules_import_where_posix_is_not() -> None:
    # The second needs a library that is not in every installation.
    apart = ("bootstrap.py", "over_httptools.py")
    names = [module_of(file) for file in FILES if file.name not in apart]
    done = subprocess.run(
        [sys.executable, "-c", AS_ON_WINDOWS, *names],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
