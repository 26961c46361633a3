"""The files of a script: its source as a syntax tree, and the local modules it imports."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence
from pathlib import Path

#: Larger files hold data, not options.
MAX_FILE_BYTES = 1 << 20
#: Folders around a file that may be the package an absolute import begins with.
MAX_PACKAGE_DEPTH = 3


class SourceUnreadable(Exception):
    """A file cannot be read as Python; the text says why."""


def parse_source(path: Path) -> ast.Module:
    """Return a file's syntax tree; raises SourceUnreadable."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SourceUnreadable(f"{path.name} is over 1 MiB")
        with path.open("rb") as file:
            source = file.read(MAX_FILE_BYTES + 1)
        with warnings.catch_warnings():  # of the script's own oddities, such as "\d"
            warnings.simplefilter("ignore")
            return ast.parse(source, filename=path.name)
    except SyntaxError as error:
        line = f" in line {error.lineno}" if error.lineno else ""
        raise SourceUnreadable(f"{path.name} is not valid Python{line}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise SourceUnreadable(f"{path.name} cannot be parsed: {error}") from None
    except OSError as error:
        raise SourceUnreadable(f"{path.name} cannot be read: {error.strerror}") from None


def find_module(dotted: str, importer: Path, level: int) -> Path | None:
    """Return the file a local import means, or None for a module from elsewhere.

    An absolute import is looked for beside the importing file and, when its first word is the name
    of a folder around that file, beside that folder.
    """
    parts = dotted.split(".") if dotted else []
    if not all(part.isidentifier() for part in parts):
        return None
    if level:
        base = importer.parent
        for _ in range(level - 1):
            base = base.parent
        return _module_file(base, parts)
    if not parts:
        return None
    found = _module_file(importer.parent, parts)
    for folder in list(importer.parents)[:MAX_PACKAGE_DEPTH]:
        if found is None and folder.name == parts[0]:
            found = _module_file(folder.parent, parts)
    return found


def _module_file(base: Path, parts: Sequence[str]) -> Path | None:
    stem = base.joinpath(*parts)
    candidates = [stem / "__init__.py"]
    if parts:
        candidates.append(stem.parent / f"{stem.name}.py")
    return next((path for path in candidates if path.is_file()), None)
