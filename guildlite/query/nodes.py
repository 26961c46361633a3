"""The tree of a filter: as written it has `Condition`s; with meaning, from `fields`, `Check`s."""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """A field as written: `loss`, `flag.lr`, `min(loss)`. Positions are in characters from 0."""

    name: str
    summary: str | None
    position: int
    quoted: bool = False


class Literal(NamedTuple):
    """A value as written. `kind` is number, duration, ago, moment, word or quoted.

    `number` is the number, or the duration in seconds.
    """

    text: str
    kind: str
    number: float | None
    position: int


class Condition(NamedTuple):
    """`term operator literals`: one literal, several for `in`, none for `has`."""

    term: Term
    operator: str
    literals: tuple[Literal, ...]


class Field(NamedTuple):
    """Something a run has.

    `kind` is flag, series or attr. `summary` is what a series is reduced to. `type` says how its
    values compare: number, duration (seconds), time (seconds since the epoch), truth (0 or 1),
    text, or any (numbers and texts, each with its like).
    """

    kind: str
    name: str
    type: str
    summary: str = ""

    def __str__(self) -> str:
        if self.kind == "series":
            return f"{self.summary}({self.name})" if self.summary != "last" else self.name
        return f"flag.{self.name}" if self.kind == "flag" else self.name


class Check(NamedTuple):
    """A test whose field is known and whose values are of the field's type.

    `operator` is a comparison, `in`, `contains` or `has`. Values are all numbers or all texts;
    `written` compares the text as it was written, so that "0.10" is not 0.1. A run without the
    field passes no check, not even `!=`.
    """

    field: Field
    operator: str
    values: tuple[float | str, ...]
    written: bool = False


class Word(NamedTuple):
    """A bare word: somewhere in name, label or model, in either case."""

    text: str
    position: int


class Not(NamedTuple):
    node: Node


class And(NamedTuple):
    nodes: tuple[Node, ...]


class Or(NamedTuple):
    nodes: tuple[Node, ...]


Node = Condition | Check | Word | Not | And | Or

#: The filter that every run passes.
EVERYTHING = And(())
