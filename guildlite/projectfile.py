"""Reading project.yml: text to checked plain data, with a position for every error.

What keys there are stands in `projectkeys`. `read_project_file` raises one ProjectFileError: where
the text is no YAML, for that; else for the first problem by position. This module brings yaml with
it and is imported only when a project file is read anew.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guildlite.errors import did_you_mean, nearest
from guildlite.flags import Flag, find_flaw, is_sweep, merge_layers, shown, sweep_refusal
from guildlite.projectkeys import (
    MAIN_OPERATIONS,
    PROJECT,
    Boolean,
    FlagValue,
    ListOf,
    MapOf,
    Number,
    Record,
    Shape,
    Spelling,
    Text,
    describe,
    resolve,
)
from guildlite.yamlnodes import Node, Source, decode_source, parse_nodes, read_source

__all__ = ["parse_project", "read_project_file"]

Place = tuple[str, ...]

#: Longest way from a model through `extends`; real projects have two or three.
MAX_BASES = 64


def read_project_file(path: Path) -> dict[str, Any]:
    """Return the plain checked data of a project file, as it was written (short forms stay short).

    Raises ProjectFileError for a file that cannot be read or used.
    """
    return _check(read_source(path))


def parse_project(text: str, path: str = "project.yml") -> dict[str, Any]:
    """Return the plain checked data of project file text; `path` names it in errors."""
    return _check(decode_source(text.encode("utf-8", "surrogatepass"), path))


def _check(source: Source) -> dict[str, Any]:
    checker = _Checker(parse_nodes(source))
    data: dict[str, Any] = checker.check()
    if checker.problems:
        first = min(checker.problems, key=lambda problem: (problem.line, problem.column))
        key = ".".join(first.place) or None
        raise source.error(first.line, first.column, first.message, first.hint, key)
    return data


# -- Nodes to checked data ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Problem:
    line: int
    column: int
    place: Place
    message: str
    hint: str | None


_BAD = object()


@dataclass
class _Checker:
    """Checks nodes against `projectkeys.PROJECT` and gathers every problem.

    A part with a problem is left out of the data, and what would be said of it because of that is
    not said (`is_broken`).
    """

    root: Node
    problems: list[_Problem] = field(default_factory=list)
    #: Where each value stands; of a value left empty, where its key does.
    positions: dict[Place, tuple[int, int]] = field(default_factory=dict)
    #: Places at or above a problem.
    _broken: set[Place] = field(default_factory=set)
    #: The flag whose values are being read.
    _flag: str = ""
    #: Flags declared somewhere as text, whose values stay as written.
    _text_flags: set[str] = field(default_factory=set)

    def check(self) -> Any:
        """Return the plain data; `problems` is empty if all of it can be used."""
        if self.root.pairs is None:
            got = self.root.described()
            self._report(
                self.root, (), f"a project file is a mapping, this is {got}", "begin with `name:`"
            )
            return {}
        self._text_flags = _find_text_flags(self.root)
        data = self._read(PROJECT, self.root, ())
        _Relations(self, data).check()
        return data

    def report(self, place: Place, message: str, hint: str | None = None) -> None:
        """Note a problem at a place of the data."""
        known = place
        while known not in self.positions:
            known = known[:-1]
        self._add(_Problem(*self.positions[known], place, message, hint))

    def is_broken(self, *place: str) -> bool:
        """Tell whether something at or under `place` has a problem already."""
        return place in self._broken

    def _report(self, node: Node, place: Place, message: str, hint: str | None = None) -> object:
        at = (node.line, node.column)
        if node.is_null:
            at = self.positions.get(place, at)
        self._add(_Problem(*at, place, message, hint))
        return _BAD

    def _add(self, problem: _Problem) -> None:
        self.problems.append(problem)
        self._broken.update(problem.place[:length] for length in range(len(problem.place) + 1))

    def _unexpected(self, shape: Shape, node: Node, place: Place) -> object:
        value = node.value if node.text is not None else None
        hint = None
        if isinstance(shape, Boolean) and isinstance(value, str):
            if value.lower() in ("yes", "no", "on", "off", "y", "n"):
                yes = value.lower() in ("yes", "on", "y")
                hint = f"write `{'true' if yes else 'false'}`"
        elif isinstance(shape, Text) and shape.choices and isinstance(value, str):
            match = nearest(value, shape.choices)
            hint = f"did you mean `{match}`?" if match else None
        elif isinstance(shape, Text) and isinstance(value, (bool, int, float)):
            hint = f'put it in quotes: `"{node.text}"`'
        expected = f"`{'.'.join(place)}` expects {describe(shape)}"
        return self._report(node, place, f"{expected}, got {node.described()}", hint)

    def _read(self, shape: Shape, node: Node, place: Place) -> Any:
        self.positions.setdefault(place, (node.line, node.column))
        if node.tag is not None:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            return self._report(
                node, place, f"tags such as {shown(tag)} are not accepted", "remove the tag"
            )
        if isinstance(shape, Record):
            return self._read_record(shape, node, place)
        if isinstance(shape, MapOf):
            return self._read_map(shape, node, place)
        if isinstance(shape, ListOf):
            return self._read_list(shape, node, place)
        return self._read_scalar(shape, node, place)

    def _read_record(self, shape: Record, node: Node, place: Place) -> Any:
        if node.pairs is None:
            # Nothing is a value only for a flag; elsewhere it is an empty mapping.
            written = node.text is not None and not node.is_null
            short = shape.short_shape
            if isinstance(short, FlagValue) or (short is not None and written):
                return self._read(short, node, place)
            if not node.is_null:
                return self._unexpected(shape, node, place)
        known = [key.name for key in shape.keys]
        data = {}
        for name, key_node, value in self._iter_pairs(node, place):
            inner = shape.shape(name)
            if inner is None:
                where = f" in `{'.'.join(place)}`" if place else ""
                self._report(
                    key_node, (*place, name), f"key {shown(name)} is not known{where}",
                    did_you_mean(name, known),
                )  # fmt: skip
                continue
            self._place(value, key_node, (*place, name))
            read = self._read(inner, value, (*place, name))
            if read is not _BAD:
                data[name] = read
        return data

    def _read_map(self, shape: MapOf, node: Node, place: Place) -> Any:
        if node.pairs is None and not node.is_null:
            return self._unexpected(shape, node, place)
        data = {}
        for name, key_node, value in self._iter_pairs(node, place):
            if not name or (shape.name and not re.fullmatch(shape.name, name)):
                self._report_name(shape, name, key_node, place)
                continue
            self._place(value, key_node, (*place, name))
            if shape.noun == "flag":
                self._flag = name
            read = self._read(shape.value, value, (*place, name))
            if read is not _BAD:
                data[name] = read
        return data

    def _report_name(self, shape: MapOf, name: str, node: Node, place: Place) -> None:
        hint = "use letters, digits, `_`, `-` and `.`"
        if shape.noun == "flag" and name.startswith("-") and name.strip("-"):
            hint = f"write it without dashes: `{name.lstrip('-')}`"
        self._report(node, (*place, name), f"{shown(name)} is not a valid {shape.noun} name", hint)

    def _iter_pairs(self, node: Node, place: Place) -> Iterator[tuple[str, Node, Node]]:
        """Yield (name, key, value) of a mapping; keys are always text as written."""
        lines: dict[str, int] = {}
        for key, value in node.pairs or ():
            name = key.text
            if name is None or key.tag is not None:
                self._report(key, place, "a key must be plain text", "put it in quotes")
            elif name == "<<" and key.plain:
                hint = "use `extends:` in models, or write the keys out"
                self._report(key, (*place, name), "merge keys `<<` are not part of YAML 1.2", hint)
            elif name in lines:
                first = f"key {shown(name)} is there twice, first on line {lines[name]}"
                self._report(key, (*place, name), first, "keep one of them")
            else:
                lines[name] = key.line
                yield name, key, value

    def _place(self, value: Node, key: Node, place: Place) -> None:
        node = key if value.is_null else value
        self.positions[place] = (node.line, node.column)

    def _read_list(self, shape: ListOf, node: Node, place: Place) -> Any:
        if node.items is None:
            if node.pairs is not None or (node.is_null and shape.filled):
                return self._unexpected(shape, node, place)
            return [] if node.is_null else self._read(shape.item, node, place)
        if shape.filled and not node.items:
            return self._report(node, place, f"`{'.'.join(place)}` is an empty list", "fill it")
        data: list[Any] = []
        seen: set[tuple[type, Any]] = set()
        for index, item in enumerate(node.items):
            inner = (*place, str(index))
            read = self._read(shape.item, item, inner)
            if read is _BAD:
                continue
            if shape.unique and (type(read), read) in seen:
                self._report(item, inner, f"{shown(read)} is there twice", "keep one of them")
            if shape.unique:
                seen.add((type(read), read))
            data.append(read)
        return data

    def _read_scalar(self, shape: Shape, node: Node, place: Place) -> Any:
        if node.text is None:
            if isinstance(shape, FlagValue) and node.items is not None:
                refusal = sweep_refusal(self._flag)
                return self._report(node, place, refusal.message, "give one value")
            return self._unexpected(shape, node, place)
        value = node.value
        match shape:
            case Text():
                return self._read_text(shape, node, place)
            case Number(positive=positive):
                fits = _is_number(value, positive)
            case Boolean():
                fits = isinstance(value, bool)
            case FlagValue():
                return self._read_flag_value(node, place)
            case Spelling():
                fits = value is False or (isinstance(value, str) and value.strip("-/ ") != "")
            case _:
                return node.text
        return value if fits else self._unexpected(shape, node, place)

    def _read_text(self, shape: Text, node: Node, place: Place) -> Any:
        value = node.value
        if not isinstance(value, str) or (shape.choices and value not in shape.choices):
            return self._unexpected(shape, node, place)
        complaint = shape.complaint(value) if shape.complaint else None
        if complaint:
            return self._report(node, place, f"`{'.'.join(place)}`: {shown(value)} {complaint}")
        return value

    def _read_flag_value(self, node: Node, place: Place) -> Any:
        value = node.value
        if isinstance(value, str) and node.plain and is_sweep(value):
            return self._report(
                node,
                place,
                sweep_refusal(self._flag).message,
                "text that looks like one needs quotes",
            )
        # `007` for a flag of type str is that text, as it is on the command line.
        return value if value is None or self._flag not in self._text_flags else node.text


def _is_number(value: object, positive: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    # An integer of 400 digits is finite and still cannot become a float.
    return abs(value) <= sys.float_info.max and (value > 0 or not positive)


def _find_text_flags(node: Node) -> set[str]:
    """Return the flags declared anywhere with `type: str` or `path`."""
    found: set[str] = set()
    for key, value in node.pairs or ():
        if key.text == "flags":
            for name, spec in value.pairs or ():
                kinds = [v.text for k, v in spec.pairs or () if k.text == "type"]
                if name.text is not None and kinds and kinds[0] in ("str", "path"):
                    found.add(name.text)
        found |= _find_text_flags(value)
    return found


@dataclass
class _Relations:
    """What keys say about one another: bases of `extends`, merged flags, what is there once."""

    checker: _Checker
    data: dict[str, Any]
    #: Each model with a sound `extends`: itself, its base, the base's base...
    chains: dict[str, list[str]] = field(default_factory=dict)

    def check(self) -> None:
        """Report problems to the checker."""
        if self.data is _BAD:
            return
        models: Mapping[str, Any] = self.data.get("models") or {}
        for name in models:
            chain = self._check_extends(name, models)
            if chain is not None:
                self.chains[name] = chain
        self._check_once(models, "default", "models")
        self._check_once(self.data.get("metrics") or {}, "primary", "metrics")
        self._check_twice_defined(models)
        full = resolve({**self.data, "models": {name: models[name] for name in self.chains}})
        self._check_flags(full)
        self._check_needs(full)

    def _check_extends(self, name: str, models: Mapping[str, Any]) -> list[str] | None:
        """Return the chain of a model; report a base that is missing or leads back here."""
        chain = [name]
        place = ("models", name, "extends")
        while (base := _base(models[chain[-1]])) is not None:
            if base == name:
                way = " extends ".join(shown(each) for each in [*chain, name])
                message = f"models extend one another in a circle: {way}"
                self.checker.report(place, message, "let one of them stand alone")
                return None
            if base in chain:
                return None  # a circle further up; its own models report it
            if base not in models:
                if len(chain) == 1 and not self.checker.is_broken("models", base):
                    message = (
                        f"model {shown(name)} extends {shown(base)}, which is not a model here"
                    )
                    others = [other for other in models if other != name]
                    self.checker.report(place, message, did_you_mean(base, others))
                return None
            if len(chain) == MAX_BASES:
                message = f"model {shown(name)} stands on more than {MAX_BASES} others"
                self.checker.report(place, message, "extend fewer")
                return None
            chain.append(base)
        return chain

    def _check_once(self, records: Mapping[str, Any], key: str, section: str) -> None:
        marked = [n for n, spec in records.items() if isinstance(spec, dict) and spec.get(key)]
        for name in marked[1:]:
            message = f"{shown(name)} is marked `{key}: true` like {shown(marked[0])}"
            self.checker.report((section, name, key), message, "mark one of them")

    def _check_twice_defined(self, models: Mapping[str, Any]) -> None:
        for name, spec in models.items():
            operations = spec.get("operations") if isinstance(spec, dict) else None
            for operation in operations or ():
                if operation in MAIN_OPERATIONS and operation in spec:
                    self.checker.report(
                        ("models", name, "operations", operation),
                        f"model {shown(name)} defines `{operation}` twice",
                        f"keep `{operation}:` or the one under `operations:`",
                    )

    def _check_needs(self, full: Mapping[str, Any]) -> None:
        for name, model in full["models"].items():
            for operation, spec in model.get("operations", {}).items():
                places = [self._operation_place(each, operation) for each in self.chains[name]]
                self._check_need(spec, "run", places)
        for name, resource in full.get("resources", {}).items():
            place = ("resources", name)
            self._check_need(resource, "prepare", [place])
            if "prepare" in resource:
                self._check_need(resource["prepare"], "run", [(*place, "prepare")])
        for index, chart in enumerate(full.get("view", {}).get("charts", ())):
            self._check_need(chart, "series", [("view", "charts", str(index))])

    def _check_need(self, spec: Mapping[str, Any], key: str, places: Sequence[Place]) -> None:
        """Report a record that lacks `key`; `places` are where it may come from."""
        if key not in spec and not any(self.checker.is_broken(*place) for place in places):
            name = ".".join(places[0])
            self.checker.report(places[0], f"`{name}` needs `{key}`", f"add `{key}: ...`")

    def _operation_place(self, model: str, operation: str) -> Place:
        direct = ("models", model, operation)
        further = ("models", model, "operations", operation)
        return further if further in self.checker.positions else direct

    def _check_flags(self, full: Mapping[str, Any]) -> None:
        """Check every flag as the operations that have it see it, layer upon layer."""
        common: Place = ("flags",)
        own = full.get("flags", {})
        self._check_layers(own, [common])
        for name, model in full["models"].items():
            chain = self.chains[name][::-1]
            layers = [common, *(("models", each, "flags") for each in chain)]
            flags = merge_layers(own, model.get("flags", {}))
            self._check_layers(flags, layers)
            for operation, spec in model.get("operations", {}).items():
                if "flags" in spec:
                    places = [(*self._operation_place(each, operation), "flags") for each in chain]
                    self._check_layers(merge_layers(flags, spec["flags"]), [*layers, *places])
        for name, resource in full.get("resources", {}).items():
            flags = resource.get("prepare", {}).get("flags", {})
            place = ("resources", name, "prepare", "flags")
            self._check_layers(merge_layers(own, flags), [common, place])

    def _check_layers(self, flags: Mapping[str, Any], layers: Sequence[Place]) -> None:
        for name, spec in flags.items():
            places = [(*layer, name) for layer in layers]
            if any(self.checker.is_broken(*place) for place in places):
                continue
            flaw = find_flaw(Flag(name, **spec))
            if flaw:
                # The most specific layer that says something about the flag is to blame.
                last = [place for place in places if place in self.checker.positions][-1]
                key = (*last, flaw[0])
                self.checker.report(key if key in self.checker.positions else last, flaw[1])


def _base(model: Any) -> str | None:
    return model.get("extends") if isinstance(model, dict) else None
