"""What the reader knows about a script's names: constants, references and command lines.

A plain Python value (number, text, tuple, list, dict, range, path) stands for itself; everything
the reader cannot know without running the script is `UNKNOWN`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Unknown:
    """The value of everything that only running the script would tell."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()

#: Arguments of a call as the reader evaluated them.
Args = Sequence[Any]
Keywords = Mapping[str, Any]


@dataclass(frozen=True)
class Ref:
    """Something defined outside the files read, by its full name: `argparse.ArgumentParser`."""

    name: str


@dataclass(eq=False)
class Scope:
    """The names of a module or of one call of a function."""

    directory: Path
    file: Path
    parent: Scope | None = None
    names: dict[str, Any] = field(default_factory=dict)
    returns: list[Any] = field(default_factory=list)

    def lookup(self, name: str) -> Any:
        """Return what the name stands for; a name nobody assigned is a reference to outside."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return Ref(name)

    def module(self) -> Scope:
        """Return the scope of the module around this one."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope


@dataclass(eq=False)
class Function:
    """A function of the script; click's decorators hang their options on it."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    closure: Scope
    receiver: Any = None
    options: list[Option] = field(default_factory=list)
    called: bool = False
    #: What a method gets first: the `instance`, the `class`, or nothing (`static`).
    binding: str = "instance"

    @property
    def name(self) -> str:
        return getattr(self.node, "name", "")


@dataclass(eq=False)
class Class:
    """A class of the script."""

    node: ast.ClassDef
    bases: list[Any]
    scope: Scope

    def find(self, name: str) -> Any:
        """Return the member of that name, the nearest base first, or UNKNOWN."""
        if name in self.scope.names:
            return self.scope.names[name]
        for base in self.bases:
            if isinstance(base, Class) and base is not self:
                member = base.find(name)
                if member is not UNKNOWN:
                    return member
        return UNKNOWN

    def outside_bases(self) -> list[Ref]:
        """Return the bases that are defined outside the files read."""
        found: list[Ref] = []
        for base in self.bases:
            if isinstance(base, Ref):
                found.append(base)
            elif isinstance(base, Class) and base is not self:
                found += base.outside_bases()
        return found


@dataclass(eq=False)
class Instance:
    """An object of one of the script's classes."""

    cls: Class
    names: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Super:
    """What `super` and `super()` stand for inside a method."""

    cls: Class
    receiver: Any


@dataclass(frozen=True)
class Member:
    """An attribute of a known value, waiting to be called: `parser.add_argument`."""

    owner: Any
    name: str


@dataclass(frozen=True)
class ValueType:
    """What an option accepts: a flag type with its limits; `name` None follows from the default."""

    name: str | None = None
    min: float | None = None
    max: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] | None = None


@dataclass
class Option:
    """One option of a command line, before it becomes a flag.

    `on` is the spelling that takes the value (of a switch: says yes), `off` the one that says no.
    """

    name: str
    on: str | None
    off: str | None = None
    spellings: tuple[str, ...] = ()
    type: ValueType = ValueType()
    default: Any = None
    has_default: bool = False
    help: str | None = None
    required: bool = False
    switch: bool = False
    #: The option takes a number of words that is not one (`nargs="+"`, `nargs=2`).
    several: bool = False
    line: int = 0


@dataclass(eq=False)
class Command:
    """A command line: an argparse parser, a click command, or the absl flags of the program."""

    library: str
    options: list[Option] = field(default_factory=list)
    children: dict[str, Command] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    argument_default: Any = None
    prefix: str = "-"
    name: str = ""
    #: Somebody asked it to parse the command line.
    used: bool = False
    accepts_unknown: bool = False
    #: It is a sub-command, or only a part that another parser takes over by `parents=`.
    inner: bool = False


@dataclass(eq=False)
class Subcommands:
    """What argparse's `add_subparsers()` returns."""

    command: Command


@dataclass(eq=False)
class Decorator:
    """A click decorator waiting for its function: adds an option, or makes a command of it."""

    option: Option | None = None
    parent: Command | None = None
    name: str | None = None
    accepts_unknown: bool = False
