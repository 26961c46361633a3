"""The project: what can be run here, as typed objects made from project.yml.

`find_project` and `load_project` are the ways in. Everything of a loaded project has been checked;
flags, environment and operations are merged the way they apply, so an `Operation` stands by
itself. The checked data is cached by the file's identity, so that yaml is imported only when the
file changed; the cache is a convenience that may be damaged, unwritable or deleted at any time.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from guildlite import __version__, defaults
from guildlite.cache import CacheFile, file_stamp, is_settled
from guildlite.errors import GuildliteError, ProjectFileError, UsageError, did_you_mean
from guildlite.flags import Flag, Value, make_flag, merge_layers, shown

PROJECT_FILE = "project.yml"

T = TypeVar("T")


class Operation(NamedTuple):
    """A named thing that can be run.

    `command` is the `run` text split into words: script, module or program, then fixed arguments.
    `flags` are those of project, model and operation merged, in project order. `sources` None
    means the project's own choice. `requires` are paths relative to the project.
    """

    name: str
    model: str
    command: tuple[str, ...]
    flag_style: str
    sources: tuple[str, ...] | None
    env: dict[str, str]
    flags: dict[str, Flag]
    requires: tuple[str, ...]
    description: str | None


class Model(NamedTuple):
    """Operations that belong together, with what `extends` took from other models filled in."""

    name: str
    description: str | None
    default: bool
    extends: str | None
    operations: dict[str, Operation]
    requires: tuple[str, ...]
    serve: str | None
    flags: dict[str, Flag]
    env: dict[str, str]


class Resource(NamedTuple):
    """Something to prepare that is not a model."""

    name: str
    prepare: Operation
    description: str | None


class Metric(NamedTuple):
    """A series that matters. `goal` is `min`, `max` or None; `format` as in `0.0%`."""

    key: str
    goal: str | None
    primary: bool
    format: str | None


class Chart(NamedTuple):
    """A chart of all series whose whole key matches the regular expression `series`."""

    title: str
    series: str


class View(NamedTuple):
    """What the viewer shows first."""

    fields: tuple[str, ...]
    charts: tuple[Chart, ...]
    compare: tuple[str, ...]


class Project(NamedTuple):
    """A project file, checked. `data` is what it says as written; `dir` is the folder it is in."""

    name: str
    description: str | None
    file: Path
    dir: Path
    runs_root: Path
    interval: float
    flags: dict[str, Flag]
    models: dict[str, Model]
    profiles: dict[str, dict[str, Value]]
    resources: dict[str, Resource]
    metrics: dict[str, Metric]
    collect: dict[str, tuple[str, ...]]
    view: View
    data: dict[str, Any]

    def model(self, name: str | None) -> Model:
        """Return the model of that name; of None the only one, else the one marked default.

        Raises UsageError for an unknown name or where there is no default.
        """
        if name is not None:
            return _get(self.models, name, f"model {shown(name)} is not defined for this project")
        if not self.models:
            raise UsageError(
                "this project defines no models", hint="`gl run SCRIPT` runs any script"
            )
        if len(self.models) == 1:
            return next(iter(self.models.values()))
        for model in self.models.values():
            if model.default:
                return model
        raise UsageError(
            f"this project has no default model: name one of {_listed(self.models)}",
            hint=f"or add `default: true` to a model in {self.file.name}",
        )

    def operation(self, model: Model, name: str) -> Operation:
        """Return the operation of a model; raises UsageError where it has none of that name."""
        if name in model.operations:
            return model.operations[name]
        has = f"it has {_listed(model.operations)}" if model.operations else "it has none"
        article = "an" if name[:1] in "aeiou" else "a"
        raise UsageError(
            f"model `{model.name}` does not support {article} {shown(name)} operation", hint=has
        )

    def profile(self, name: str) -> dict[str, Value]:
        """Return the flag values of a profile; raises UsageError for an unknown name."""
        return _get(self.profiles, name, f"profile {shown(name)} is not defined for this project")

    def resource(self, name: str) -> Resource:
        """Return the resource of that name; raises UsageError for an unknown name."""
        return _get(self.resources, name, f"resource {shown(name)} is not defined for this project")

    def flag_names(self) -> frozenset[str]:
        """Return the names of all flags that something in the project declares."""
        operations = [op for model in self.models.values() for op in model.operations.values()]
        layers = [self.flags, *(model.flags for model in self.models.values())]
        layers += [operation.flags for operation in operations]
        return frozenset(name for layer in layers for name in layer)

    def resolved(self) -> dict[str, Any]:
        """Return the file's data in full: long forms, `extends` filled in; itself a valid file."""
        from guildlite.projectkeys import resolve

        return resolve(self.data)


def _get(known: Mapping[str, T], name: str, message: str) -> T:
    if name not in known:
        raise UsageError(message, hint=did_you_mean(name, known))
    return known[name]


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def find_project(start: Path) -> Project | None:
    """Return the project of a directory: the project file there or in the nearest parent.

    The search ends at the home directory, or at the root for directories outside it. A file in
    a parent that belongs to another user is refused with UsageError: it says what is executed,
    and anyone can put one into a folder like /tmp. Raises ProjectFileError for a bad file.
    """
    here = Path(os.path.abspath(start))
    home = os.path.abspath(os.path.expanduser("~"))
    for directory in (here, *here.parents):
        file = directory / PROJECT_FILE
        if os.path.isfile(file):
            if directory != here:
                _check_owner(file)
            return load_project(file)
        if str(directory) == home:
            break
    return None


def _check_owner(file: Path) -> None:
    if hasattr(os, "getuid") and os.stat(file).st_uid not in (0, os.getuid()):
        raise UsageError(
            f"project file {shown(file)} in a parent directory belongs to another user",
            hint=f"if you trust it: `gl -C {shlex.quote(str(file.parent))} ...`",
        )


def load_project(path: Path) -> Project:
    """Return the project of a project file, or of the directory it is in.

    Raises ProjectFileError with file, line, column and key for a file that cannot be used.
    """
    file = Path(os.path.abspath(path))
    if file.is_dir():
        file /= PROJECT_FILE
    identity = file_stamp(file)
    kept, stamp = CacheFile("projects", str(file)), [__version__, identity]
    try:
        data, full = kept.read(stamp)
        return _build(file, data, full)
    except (GuildliteError, LookupError, TypeError, ValueError, AttributeError):
        pass  # nothing kept, or by a development version with other keys
    from guildlite.projectfile import read_project_file
    from guildlite.projectkeys import resolve

    data = read_project_file(file)
    full = resolve(data)
    if identity is not None and is_settled(identity):
        kept.write([data, full], stamp)
    return _build(file, data, full)


# -- Typed objects -----------------------------------------------------------------------------


def _build(file: Path, data: dict[str, Any], full: dict[str, Any]) -> Project:
    """Make the objects; `full` is the resolved `data`."""
    common = full.get("flags", {})
    try:
        return Project(
            name=full.get("name") or file.parent.name or "project",
            description=full.get("description"),
            file=file,
            dir=file.parent,
            runs_root=file.parent / os.path.expanduser(full.get("runs", defaults.RUNS_DIR)),
            interval=float(full.get("interval", defaults.INTERVAL_S)),
            flags=_flags(common),
            models={n: _model(n, spec, data, common) for n, spec in _items(full, "models")},
            profiles=full.get("profiles", {}),
            resources={n: _resource(n, spec, common) for n, spec in _items(full, "resources")},
            metrics={key: _metric(key, spec) for key, spec in _items(full, "metrics")},
            collect={name: tuple(columns) for name, columns in _items(full, "collect")},
            view=_view(full.get("view", {})),
            data=data,
        )
    except GuildliteError as error:
        # The file was checked, so this is a gap between checking and building; name the file.
        raise ProjectFileError(error.message, hint=error.hint, path=str(file))


def _items(full: Mapping[str, Any], section: str) -> Iterable[tuple[str, Any]]:
    return full.get(section, {}).items()  # type: ignore[no-any-return]


def _flags(specs: Mapping[str, Any]) -> dict[str, Flag]:
    return {name: make_flag(name, spec) for name, spec in specs.items()}


def _model(
    name: str, spec: dict[str, Any], data: Mapping[str, Any], common: dict[str, Any]
) -> Model:
    flags = merge_layers(common, spec.get("flags", {}))
    env = spec.get("env", {})
    requires = tuple(spec.get("requires", ()))
    written = data["models"][name]
    return Model(
        name=name,
        description=spec.get("description"),
        default=spec.get("default", False),
        extends=written.get("extends") if isinstance(written, dict) else None,
        operations={
            operation: _operation(
                operation, name, inner, flags, env, requires if operation == "train" else ()
            )
            for operation, inner in _items(spec, "operations")
        },
        requires=requires,
        serve=spec.get("serve"),
        flags=_flags(flags),
        env=env,
    )


def _operation(
    name: str,
    model: str,
    spec: dict[str, Any],
    flags: dict[str, Any],
    env: dict[str, str],
    requires: tuple[str, ...],
) -> Operation:
    sources = spec.get("sources")
    return Operation(
        name=name,
        model=model,
        command=tuple(shlex.split(spec["run"])),
        flag_style=spec.get("flag_style", "space"),
        sources=None if sources is None else tuple(sources),
        env={**env, **spec.get("env", {})},
        flags=_flags(merge_layers(flags, spec.get("flags", {}))),
        requires=tuple(spec["requires"]) if "requires" in spec else requires,
        description=spec.get("description"),
    )


def _resource(name: str, spec: dict[str, Any], common: dict[str, Any]) -> Resource:
    prepare = _operation("prepare", name, spec["prepare"], common, {}, ())
    return Resource(name, prepare, spec.get("description"))


def _metric(key: str, spec: dict[str, Any]) -> Metric:
    return Metric(key, spec.get("goal"), spec.get("primary", False), spec.get("format"))


def _view(spec: dict[str, Any]) -> View:
    charts = tuple(
        Chart(chart.get("title", chart["series"]), chart["series"])
        for chart in spec.get("charts", ())
    )
    return View(tuple(spec.get("fields", ())), charts, tuple(spec.get("compare", ())))
