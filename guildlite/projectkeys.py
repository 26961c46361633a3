"""Every key of the project file, once: its shape, its default and its help.

`projectfile` checks a file against `PROJECT`; the JSON Schema for editors (`json_schema`) and the
reference page of the documentation (`iter_keys`) are made from the same table. `resolve` writes
plain checked data out in full: long forms, and `extends` filled in.

A shape describes plain data as JSON has it. A `Record` may have a short form: where a mapping is
expected, a scalar stands for the key named by `short`.
"""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from guildlite import defaults
from guildlite.flags import FLAG_STYLES, SCALES, TYPES, merge_layers

#: Operations with a key of their own in a model; others stand under `operations`.
MAIN_OPERATIONS = ("prepare", "train", "evaluate")

NAME = r"[^\s/\\:=,.-][^\s/\\:=,]*"
FLAG_NAME = r"[^\s=-][^\s=]*"
ENV_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
FORMAT = r"(#,##)?0(\.0+)?%?"


@dataclass(frozen=True)
class Text:
    """Text. `choices` lists what it may be; `complaint` says what is wrong with a text, or None."""

    what: str = "text"
    choices: tuple[str, ...] = ()
    complaint: Callable[[str], str | None] | None = None


@dataclass(frozen=True)
class Number:
    """A finite number."""

    positive: bool = False

    @property
    def what(self) -> str:
        return "a number above 0" if self.positive else "a number"


@dataclass(frozen=True)
class Boolean:
    """true or false."""

    what: str = "`true` or `false`"


@dataclass(frozen=True)
class FlagValue:
    """A scalar that a flag may be set to; null is no value."""

    what: str = "one value: a number, text, `true` or `false`"


@dataclass(frozen=True)
class Verbatim:
    """Any scalar, taken as the text that was written."""

    what: str = "text"


@dataclass(frozen=True)
class Spelling:
    """How a script spells a flag, or false."""

    what: str = "text or `false`"


@dataclass(frozen=True)
class ListOf:
    """A list; one item may stand for a list of one."""

    item: Text | FlagValue | Record
    plural: str
    unique: bool = False
    filled: bool = False

    @property
    def what(self) -> str:
        return f"a list of {self.plural}"


@dataclass(frozen=True)
class MapOf:
    """A mapping from names to values of one shape.

    `noun` is what a name names; `name` is the pattern of names, None for any text.
    """

    value: Shape
    noun: str
    plural: str
    name: str | None = NAME

    @property
    def what(self) -> str:
        return f"a mapping of {self.plural}"


@dataclass(frozen=True)
class Record:
    """A mapping with known keys. `needs` names the key that must be there once resolved."""

    noun: str
    keys: tuple[Key, ...]
    short: str | None = None
    needs: str | None = None

    @property
    def what(self) -> str:
        return f"a mapping for the {self.noun}"

    def shape(self, name: str) -> Shape | None:
        """Return the shape of key `name`, None for an unknown key."""
        return next((key.shape for key in self.keys if key.name == name), None)

    @property
    def short_shape(self) -> Shape | None:
        """Shape of what may stand for the whole mapping, None without a short form."""
        shape: Shape | None = self.shape(self.short) if self.short else None
        return shape.short_shape if isinstance(shape, Record) else shape


Shape = Text | Number | Boolean | FlagValue | Verbatim | Spelling | ListOf | MapOf | Record


@dataclass(frozen=True)
class Key:
    """One key of a record. `default` is what holds when it is left out, in words or as a value."""

    name: str
    shape: Shape
    help: str
    default: str | int | None = None


def _complain_command(text: str) -> str | None:
    try:
        words = shlex.split(text)
    except ValueError as error:
        reason = str(error)
        return f"is not a command line: {reason[:1].lower()}{reason[1:]}"
    return None if words else "is empty"


def _complain_empty(text: str) -> str | None:
    return None if text.strip() else "is empty"


def _complain_pattern(text: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is not a regular expression: {error}"
    return None if text else "is empty"


def _complain_format(text: str) -> str | None:
    if re.fullmatch(FORMAT, text):
        return None
    return "is not a number format such as `0.000`, `0.0%` or `#,##0`"


_PLAIN = Text(complaint=_complain_empty)
_COMMAND = Text("a command line", complaint=_complain_command)


def _texts(plural: str, *, unique: bool = False, filled: bool = False) -> ListOf:
    return ListOf(_PLAIN, plural, unique=unique, filled=filled)


FLAG = Record(
    "flag",
    (
        Key("default", FlagValue(), "value when nothing else sets it; without one the flag is "
            "not passed"),
        Key("type", Text(choices=TYPES), "what values are checked against",
            "inferred from `default`"),
        Key("min", Number(), "smallest value accepted"),
        Key("max", Number(), "largest value accepted"),
        Key("step", Number(positive=True), "distance of neighbouring values in forms"),
        Key("choices", ListOf(FlagValue(), "values", unique=True, filled=True),
            "the only values accepted"),
        Key("scale", Text(choices=SCALES), "how values are spread in forms and charts", "linear"),
        Key("help", Text(), "one line that says what it is"),
        Key("arg", Spelling(), "its spelling for the script: a word, one letter (`-b`), `on/off` "
            "for a switch (`cuda/no-cuda`), or `false` to keep it from the script",
            "the flag's name"),
        Key("switch", Boolean(), "pass true as a bare `--name` and false as nothing", "false"),
        Key("secret", Boolean(), "record a mark instead of the value",
            "true for names like `api_key`, `token` or `password`"),
        Key("required", Boolean(), "refuse to start without a value", "false"),
    ),
    short="default",
)  # fmt: skip

_FLAGS = MapOf(FLAG, "flag", "flags", FLAG_NAME)
_ENV = MapOf(Verbatim(), "environment variable", "environment variables", ENV_NAME)

OPERATION = Record(
    "operation",
    (
        Key("run", _COMMAND, "script, module or command line; fixed arguments may follow"),
        Key("description", Text(), "one line for lists"),
        Key("flag_style", Text(choices=FLAG_STYLES), "how flags reach the script: `--name value`, "
            "`--name=value`, `name=value`, environment variables, or not at all", "space"),
        Key("sources", _texts("patterns"), "source files that the run keeps a copy of, relative "
            "to the project", "the project's source files"),
        Key("env", _ENV, "environment variables for the script"),
        Key("flags", _FLAGS, "flags of this operation, over those of the model"),
        Key("requires", _texts("paths"), "files and folders that must exist before it starts, "
            "relative to the project", "for `train`, the model's"),
    ),
    short="run",
    needs="run",
)  # fmt: skip

MODEL = Record(
    "model",
    (
        Key("description", Text(), "one line for lists"),
        Key("default", Boolean(), "use this model where none is named", "false"),
        Key("extends", _PLAIN, "model that keys left out are taken from; flags, env and "
            "operations merge by name"),
        Key("prepare", OPERATION, "gets what training needs, with `gl prepare`"),
        Key("train", OPERATION, "makes a run, with `gl train`"),
        Key("evaluate", OPERATION, "works on an existing run, with `gl evaluate`"),
        Key("operations", MapOf(OPERATION, "operation", "operations"),
            "further operations, with `gl run MODEL:OPERATION`"),
        Key("requires", _texts("paths"), "files and folders that `train` needs; `gl prepare` is "
            "suggested while one is missing"),
        Key("serve", _PLAIN, "predictor for `gl serve`, as `module:name`"),
        Key("flags", _FLAGS, "flags of this model, over those of the project"),
        Key("env", _ENV, "environment variables for every operation of the model"),
    ),
    short="train",
)  # fmt: skip

RESOURCE = Record(
    "resource",
    (
        Key("prepare", OPERATION, "makes the resource, with `gl prepare NAME`"),
        Key("description", Text(), "one line for lists"),
    ),
    short="prepare",
    needs="prepare",
)

METRIC = Record(
    "metric",
    (
        Key("goal", Text(choices=("min", "max")), "which end is better; without a goal nothing is "
            "called best"),
        Key("primary", Boolean(), "the one metric that runs are sorted and judged by", "false"),
        Key("format", Text("a number format", complaint=_complain_format),
            "how values are shown: `0.000`, `0.0%`, `#,##0`", "four significant digits"),
    ),
    short="goal",
)  # fmt: skip

CHART = Record(
    "chart",
    (
        Key("title", _PLAIN, "heading of the chart", "the expression"),
        Key("series", Text("a regular expression", complaint=_complain_pattern),
            "regular expression; series whose whole key matches are drawn together"),
    ),
    short="series",
    needs="series",
)  # fmt: skip

VIEW = Record(
    "view",
    (
        Key("fields", _texts("columns"), "figures at the top of a run's page, eight at most: "
            "a series (its last value), `flag.NAME`, or a word around a series: `min(loss)`, "
            "`max`, `first`, `mean`, `count`, `last_5_average`, `steps`, `duration`"),
        Key("charts", ListOf(CHART, "charts"), "charts at the top of a run's page"),
        Key("compare", _texts("columns"), "columns of `gl compare` and the comparison page"),
    ),
)  # fmt: skip

PROJECT = Record(
    "project",
    (
        Key("name", _PLAIN, "title of the project", "the directory's name"),
        Key("description", Text(), "one line for lists"),
        Key("runs", _PLAIN, "where run directories go, relative to this file", defaults.RUNS_DIR),
        Key("interval", Number(positive=True), "seconds between two system samples",
            defaults.INTERVAL_S),
        Key("flags", _FLAGS, "flags of every model: `name: default`, or a mapping"),
        Key("models", MapOf(MODEL, "model", "models"), "what can be run"),
        Key("profiles", MapOf(MapOf(FlagValue(), "flag", "flag values", FLAG_NAME), "profile",
            "profiles"), "named sets of flag values, for `--profile NAME`"),
        Key("resources", MapOf(RESOURCE, "resource", "resources"),
            "things to prepare that are not models"),
        Key("metrics", MapOf(METRIC, "metric", "metrics", None), "series that matter"),
        Key("collect", MapOf(_texts("columns", unique=True, filled=True), "file", "files",
            None), "columns of CSV files without a header line, or whose header should read "
            "differently"),
        Key("view", VIEW, "what the viewer shows first"),
    ),
)  # fmt: skip


# -- Reference and schema ----------------------------------------------------------------------


@dataclass(frozen=True)
class KeyDoc:
    """One line of the reference: `path` as in `models.NAME.train`, `type` in words."""

    path: str
    type: str
    help: str
    default: str | None


def iter_keys() -> Iterator[KeyDoc]:
    """Yield every key in order; a shape used several times is spelt out where it first occurs."""
    yield from _iter_keys(PROJECT, "", set())


def _iter_keys(record: Record, prefix: str, seen: set[str]) -> Iterator[KeyDoc]:
    seen.add(record.noun)
    for key in record.keys:
        path = prefix + key.name
        default = None if key.default is None else str(key.default)
        yield KeyDoc(path, describe(key.shape), key.help, default)
        inner: Shape = key.shape
        while not isinstance(inner, Record) and isinstance(inner, (MapOf, ListOf)):
            path += ".NAME" if isinstance(inner, MapOf) else "[]"
            inner = inner.value if isinstance(inner, MapOf) else inner.item
        if isinstance(inner, Record) and inner.noun not in seen:
            yield from _iter_keys(inner, path + ".", seen)


def describe(shape: Shape) -> str:
    """Return in words what is accepted, as in `a command line, or a mapping for the operation`."""
    if isinstance(shape, Text) and shape.choices:
        return "one of " + ", ".join(f"`{choice}`" for choice in shape.choices)
    short = shape.short_shape if isinstance(shape, Record) else None
    return f"{describe(short)}, or {shape.what}" if short else shape.what


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of project files, for editors."""
    definitions: dict[str, Any] = {}
    project = _record_schema(PROJECT, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "guildlite project file (project.yml)",
        **project,
        "$defs": definitions,
    }


def _schema(shape: Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    match shape:
        case Text(choices=choices) if choices:
            return {"enum": list(choices)}
        case Text(complaint=complaint):
            return {"type": "string", "minLength": 1} if complaint else {"type": "string"}
        case Number(positive=positive):
            return {"type": "number", "exclusiveMinimum": 0} if positive else {"type": "number"}
        case Boolean():
            return {"type": "boolean"}
        case FlagValue() | Verbatim():
            return {"type": ["string", "number", "boolean", "null"]}
        case Spelling():
            return {"anyOf": [{"type": "string", "minLength": 1}, {"const": False}]}
        case ListOf():
            return _list_schema(shape, definitions)
        case MapOf():
            return {
                "type": ["object", "null"],
                "propertyNames": {"pattern": f"^{shape.name}$"} if shape.name else {"minLength": 1},
                "additionalProperties": _schema(shape.value, definitions),
            }  # fmt: skip
        case Record():
            if shape.noun not in definitions:
                definitions[shape.noun] = {}
                definitions[shape.noun] = _long_or_short(shape, definitions)
            return {"$ref": f"#/$defs/{shape.noun}"}


def _list_schema(shape: ListOf, definitions: dict[str, Any]) -> dict[str, Any]:
    item = _schema(shape.item, definitions)
    items: dict[str, Any] = {"type": "array", "items": item}
    if shape.unique:
        items["uniqueItems"] = True
    if shape.filled:
        return {"anyOf": [items | {"minItems": 1}, item]}
    return {"anyOf": [items, item, {"type": "null"}]}


def _long_or_short(record: Record, definitions: dict[str, Any]) -> dict[str, Any]:
    long = _record_schema(record, definitions)
    short = record.shape(record.short) if record.short else None
    return {"anyOf": [long, _schema(short, definitions)]} if short else long


def _record_schema(record: Record, definitions: dict[str, Any]) -> dict[str, Any]:
    properties = {}
    for key in record.keys:
        text = key.help if key.default is None else f"{key.help} (default: {key.default})"
        properties[key.name] = {"description": text, **_schema(key.shape, definitions)}
    return {"type": "object", "properties": properties, "additionalProperties": False}


# -- Writing out in full -----------------------------------------------------------------------


def resolve(data: dict[str, Any]) -> dict[str, Any]:
    """Return checked plain data in full: long forms, and what `extends` takes from other models.

    The result is itself a valid project file in which no key depends on another model. Every
    operation of a model stands under `operations`.
    """
    full: dict[str, Any] = _long_form(PROJECT, data)
    models = {name: _gather_operations(model) for name, model in full.get("models", {}).items()}
    if models:
        full["models"] = {name: _extended(name, models) for name in models}
    return full


def _long_form(shape: Shape, value: Any) -> Any:
    match shape:
        case Record():
            if not isinstance(value, dict):
                value = {shape.short: value}
            return {key.name: _long_form(key.shape, value[key.name])
                    for key in _in_order(shape, value)}  # fmt: skip
        case MapOf():
            return {name: _long_form(shape.value, inner) for name, inner in (value or {}).items()}
        case ListOf():
            items = value if isinstance(value, list) else [] if value is None else [value]
            return [_long_form(shape.item, item) for item in items]
        case _:
            return value


def _in_order(record: Record, value: dict[str, Any]) -> Iterator[Key]:
    by_name = {key.name: key for key in record.keys}
    return (by_name[name] for name in value)


def _gather_operations(model: dict[str, Any]) -> dict[str, Any]:
    main = {name: model[name] for name in model if name in MAIN_OPERATIONS}
    operations = main | model.get("operations", {})
    rest = {k: v for k, v in model.items() if k not in main and k != "operations"}
    return rest | ({"operations": operations} if operations else {})


def _extended(name: str, models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    own = dict(models[name])
    base = own.pop("extends", None)
    if base is None:
        return own
    inherited = _extended(base, models)
    # Being the default is about one model, not about its relatives.
    inherited.pop("default", None)
    return merge_layers(inherited, own)
