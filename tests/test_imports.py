"""The picture in docs/decisions/2026-11-20-spine.md is the code: imports go only where it says."""

from __future__ import annotations

import ast
import re
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
