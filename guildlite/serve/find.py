"""Which file of a run directory is its exported model.

`kinds` tells files apart by content. A search is bounded and never leaves the run directory; when
it does not show clearly which file is meant the user is asked, never guessed for.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from guildlite.errors import GuildliteError, UsageError
from guildlite.runs.paths import OWN_DIR
from guildlite.serve.kinds import KINDS, kind_of
from guildlite.serve.model import printable
from guildlite.serve.signature import signature_path

#: Directories below the run directory that are looked into.
MAX_LEVELS = 4
#: Entries looked at before giving up: a run may hold a data set.
MAX_ENTRIES = 20_000
#: Candidates an error names.
MAX_LISTED = 12

_INTERMEDIATE = re.compile(r"(?<![a-z])(checkpoint|ckpt|epoch|step)s?(?![a-z])", re.IGNORECASE)


class NoModel(GuildliteError):
    """The run has no file that can be served."""

    http_status = 404


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model in a run directory. `relative` is its path there, with `/` between parts.

    `kind` is a name in `kinds.KINDS`; `described` says whether a signature file is beside it.
    """

    path: Path
    relative: str
    kind: str
    described: bool = False

    @property
    def intermediate(self) -> bool:
        """Whether the name says that training went on after it was written."""
        return _INTERMEDIATE.search(self.relative) is not None

    @property
    def rank(self) -> tuple[bool, bool, bool, str]:
        """Sorts what is more clearly meant first: final, exported with care, safe to load."""
        kind = KINDS[self.kind]
        return not kind.served, self.intermediate, not self.described, kind.trust


def find_model(run_dir: Path, *, name: str, file: str | None = None) -> ModelFile:
    """Return the model of the run called `name`.

    Raises UsageError when several files would do, listing them with the line to paste, and when
    `file` is not a model inside the run; NoModel when the run has none.
    """
    if file is not None:
        return _named(run_dir, name, file)
    found, complete = _search(run_dir)
    served = [model for model in found if KINDS[model.kind].served]
    best = [model for model in served if model.rank == served[0].rank]
    if len(best) == 1:
        return best[0]
    if best:
        raise _several(name, best)
    if not complete and not found:
        raise NoModel(
            f"run `{name}` has too many files to look for a model in",
            hint=f"name it: gl serve {shlex.quote(name)} --file PATH",
        )
    raise _none(name, found)


def list_models(run_dir: Path) -> list[ModelFile]:
    """Return every model of a run that we know, also those we do not serve, likeliest first."""
    return _search(run_dir)[0]


def model_files(run_dir: Path) -> list[str]:
    """Return the paths in a run of the files that can be served, likeliest first."""
    return [model.relative for model in list_models(run_dir) if KINDS[model.kind].served]


def _search(run_dir: Path) -> tuple[list[ModelFile], bool]:
    paths, complete = _files(run_dir)
    found = [model for path in paths if (model := _recognise(run_dir, path))]
    # Sorting is stable: nearest first and by name among equals.
    return sorted(found, key=lambda model: model.rank), complete


def _named(run_dir: Path, name: str, file: str) -> ModelFile:
    path = run_dir / file
    if not path.exists():
        raise UsageError(f"run `{name}` has no file `{printable(file)}`")
    if not _is_inside(path, run_dir):
        raise UsageError(
            f"`{printable(file)}` is not inside run `{name}`", hint="give a path inside the run"
        )
    if path.is_dir() and (path / "saved_model.pb").is_file():
        path = path / "saved_model.pb"
    model = _recognise(run_dir, path)
    if model is None:
        raise UsageError(
            f"`{printable(file)}` is not a model that can be served",
            hint="export it to ONNX: a file whose name ends in `.onnx`",
        )
    if not KINDS[model.kind].served:
        raise _none(name, [model])
    return model


def _files(run_dir: Path) -> tuple[list[Path], bool]:
    """Return the files of a run, nearest first and by name, and whether these are all.

    Links count only where they stay inside.
    """
    files: list[Path] = []
    seen = 0
    level = [run_dir]
    for _ in range(MAX_LEVELS + 1):
        below: list[Path] = []
        for folder in level:
            for entry in _entries(folder):
                seen += 1
                if seen > MAX_ENTRIES:
                    return files, False
                if entry.is_dir(follow_symlinks=False):
                    # gl's own folder holds a copy of the sources, which may hold models.
                    if entry.name != OWN_DIR and not entry.name.startswith("."):
                        below.append(Path(entry.path))
                elif not entry.is_symlink() or _is_inside(Path(entry.path), run_dir):
                    files.append(Path(entry.path))
        level = below
    return files, True


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _recognise(run_dir: Path, path: Path) -> ModelFile | None:
    kind = kind_of(path)
    if kind is None:
        return None
    described = signature_path(path).is_file()
    return ModelFile(path, _relative(path, run_dir), kind, described)


def _relative(path: Path, run_dir: Path) -> str:
    try:
        return path.relative_to(run_dir).as_posix()
    except ValueError:
        return path.resolve().relative_to(run_dir.resolve()).as_posix()


def _is_inside(path: Path, run_dir: Path) -> bool:
    try:
        return path.resolve().is_relative_to(run_dir.resolve())
    except (OSError, RuntimeError):
        return False


def _several(name: str, models: list[ModelFile]) -> UsageError:
    names = [printable(model.relative) for model in models]
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    listed = ", ".join(f"`{name}`" for name in names[:MAX_LISTED])
    return UsageError(
        f"run `{name}` contains several exported models: {listed}{more}",
        hint=f"gl serve {shlex.quote(name)} --file {shlex.quote(names[0])}",
    )


def _none(name: str, known: list[ModelFile]) -> NoModel:
    if not known:
        return NoModel(
            f"run `{name}` does not contain an exported model",
            hint="let the script write an ONNX file (`.onnx`) into $RUNDIR",
        )
    model = known[0]
    kind = KINDS[model.kind]
    return NoModel(
        f"run `{name}` does not contain an exported model: `{printable(model.relative)}` is "
        f"{kind.words}, which cannot be served by itself",
        hint=kind.instead,
    )
