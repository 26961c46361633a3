"""YAML text as nodes that know their position: bytes in, scalars, lists and mappings out.

yaml serves as a parser of events only: no constructor of it ever runs, so no tag can make an
object, and size, depth and alias expansion are limited while the nodes are put together. Plain
scalars are read by `flags.parse_scalar`, the rules of YAML 1.2. Every fault is a ProjectFileError
with file, line and column, in words about what people get wrong.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from guildlite.errors import ProjectFileError
from guildlite.flags import Value, parse_scalar, shown

__all__ = ["Node", "Source", "parse_nodes", "read_source"]

MAX_SIZE_BYTES = 1 << 20
MAX_DEPTH = 64
#: Nodes that aliases may add, counted with everything below them.
MAX_ALIAS_NODES = 10_000

# Built without libyaml, PyYAML has only the parser in Python; both report the same positions.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What YAML does not allow unescaped, less the byte order mark, which editors leave inside files.
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\ufeff"
)
_WIDE_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_source(path: Path) -> Source:
    """Return the text of a file; raises ProjectFileError if it cannot be read or is no text."""
    return decode_source(_read_bytes(path), str(path))


def parse_nodes(source: Source) -> Node:
    """Return the root node of the one document in `source`; raises ProjectFileError."""
    return _Composer(source).document()


# -- Bytes to text -----------------------------------------------------------------------------


def _read_bytes(path: Path) -> bytes:
    # Without O_NONBLOCK opening a named pipe would wait for a writer.
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise ProjectFileError(
            "there is no such project file", hint="`gl init` writes one", path=str(path)
        )
    except (OSError, ValueError) as error:
        raise _unreadable(path, error)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ProjectFileError("is not a regular file", path=str(path))
        content = b""
        if facts.st_size <= MAX_SIZE_BYTES:
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(MAX_SIZE_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error)
    finally:
        os.close(descriptor)
    if max(facts.st_size, len(content)) > MAX_SIZE_BYTES:
        raise ProjectFileError(
            f"is {facts.st_size:,} bytes long, more than {MAX_SIZE_BYTES:,}",
            hint="keep data in files of their own",
            path=str(path),
        )
    return content


def _unreadable(path: Path, error: Exception) -> ProjectFileError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return ProjectFileError(f"cannot be read: {reason.lower()}", path=str(path))


def decode_source(content: bytes, path: str) -> Source:
    """Return the text in `content`; `path` names it in errors."""
    for mark, name in _WIDE_MARKS:
        if content.startswith(mark):
            raise ProjectFileError(
                f"is written in {name}", hint="save it as UTF-8", path=path, line=1, column=1
            )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8-sig", "replace")
        line, column = _position(before, len(before))
        wrong = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise ProjectFileError(wrong, hint="save it as UTF-8", path=path, line=line, column=column)
    bad = _UNPRINTABLE.search(text)
    if bad:
        line, column = _position(text, bad.start())
        what = "a NUL character" if bad[0] == "\0" else f"the control character U+{ord(bad[0]):04X}"
        hint = "save it as UTF-8 text" if bad[0] == "\0" else "remove it"
        raise ProjectFileError(f"holds {what}", hint=hint, path=path, line=line, column=column)
    return Source(path, text)


def _position(text: str, index: int) -> tuple[int, int]:
    """Return line and column, from 1, of the character at `index`."""
    lines = re.split("\r\n|\r|\n", text[:index])
    return len(lines), len(lines[-1]) + 1


@dataclass(frozen=True)
class Source:
    """The text of a file, and errors that point into it."""

    path: str
    text: str

    def error(
        self, line: int, column: int, message: str, hint: str | None = None, key: str | None = None
    ) -> ProjectFileError:
        """Return the error for a place in the text; line and column count from 1."""
        return ProjectFileError(
            message, hint=hint, path=self.path, line=line, column=column, key=key
        )

    def syntax_error(self, error: yaml.MarkedYAMLError) -> ProjectFileError:
        """Return the error for text that is no YAML."""
        mark, context = error.problem_mark, error.context_mark
        if mark is None:
            return self.error(1, 1, f"is not YAML: {error.problem}")
        here = self.text[mark.index : mark.index + 1]
        start = self.text[context.index : context.index + 1] if context else ""
        if here == "\t":
            message, hint = "a tab cannot indent", "use spaces"
        elif context and error.context in ("while scanning an alias", "while scanning an anchor"):
            message = f"text cannot begin with `{start}`"
            hint = f'put it in quotes, as in `"{start}.py"`'
            return self.error(context.line + 1, context.column + 1, message, hint)
        elif here and here in "@`%" and "token" in str(error.problem):
            message, hint = f"text cannot begin with `{here}`", "put it in quotes"
        elif here == ":" and "mapping values" in str(error.problem):
            message = "a second `:` does not belong here"
            hint = "put text with `: ` in quotes, and check the indentation"
        else:
            message = f"is not YAML: {_in_words(error)}"
            hint = "check brackets, quotes and indentation around here"
        return self.error(mark.line + 1, mark.column + 1, message, hint)


def _in_words(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem).replace("'", "`")
    if not error.context or error.context_mark is None:
        return problem
    return f"{problem} {error.context} from line {error.context_mark.line + 1}"


# -- Text to nodes -----------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Node:
    """A scalar (`text`), a list (`items`) or a mapping (`pairs`). Positions count from 1.

    `size` counts the node and everything below it, aliases written out.
    """

    line: int
    column: int
    tag: str | None = None
    text: str | None = None
    plain: bool = False
    items: list[Node] | None = None
    pairs: list[tuple[Node, Node]] | None = None
    size: int = 1

    @property
    def value(self) -> Value:
        """Value of a scalar: quoted text is text."""
        assert self.text is not None
        return parse_scalar(self.text) if self.plain else self.text

    @property
    def is_null(self) -> bool:
        return self.text is not None and self.value is None

    def described(self) -> str:
        """Return what the node is, for messages."""
        if self.items is not None:
            return "a list"
        if self.pairs is not None:
            return "a mapping"
        value = self.value
        if value is None:
            return "nothing"
        if isinstance(value, bool):
            return shown(self.text)
        kind = "the text" if isinstance(value, str) else "the number"
        return f"{kind} {shown(self.text)}"


def _line_column(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    assert mark is not None
    return mark.line + 1, mark.column + 1


class _Composer:
    """Puts the nodes of the one document together from parser events."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._events = self._iter_events()
        self._anchors: dict[str, Node | None] = {}
        self._alias_nodes = 0

    def document(self) -> Node:
        """Return the root node; raises ProjectFileError."""
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._error(event, "a second document begins here", "keep one `---`")
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, 1)
        if root is None or root.is_null:
            raise self._source.error(1, 1, "the file is empty", "`gl init` writes a commented one")
        return root

    def _iter_events(self) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(self._source.text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            raise self._source.syntax_error(error)
        except yaml.YAMLError as error:
            raise self._source.error(1, 1, f"is not YAML: {error}")

    def _error(self, event: yaml.Event, message: str, hint: str) -> ProjectFileError:
        return self._source.error(*_line_column(event), message, hint)

    def _node(self, event: yaml.Event, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth > MAX_DEPTH:
            raise self._error(event, f"is nested more than {MAX_DEPTH} deep", "flatten it")
        node = Node(*_line_column(event), getattr(event, "tag", None))
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node.text, node.plain = event.value, bool(event.implicit[0])
            self._check_text(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node.items = list(self._children(depth))
            node.size += sum(item.size for item in node.items)
        else:
            children = list(self._children(depth))
            node.pairs = list(zip(children[::2], children[1::2], strict=True))
            node.size += sum(child.size for child in children)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _children(self, depth: int) -> Iterator[Node]:
        for event in self._events:
            if isinstance(event, yaml.CollectionEndEvent):
                return
            yield self._node(event, depth + 1)

    def _alias(self, event: yaml.AliasEvent) -> Node:
        name = event.anchor
        if name not in self._anchors:
            hint = f'text that begins with `*` needs quotes, as in `"*{name}"`'
            raise self._error(event, f"alias `*{name}` has no anchor above", hint)
        node = self._anchors[name]
        if node is None:
            raise self._error(event, f"alias `*{name}` stands inside itself", "write it out")
        self._alias_nodes += node.size
        if self._alias_nodes > MAX_ALIAS_NODES:
            wrong = f"aliases add more than {MAX_ALIAS_NODES:,} nodes"
            raise self._error(event, wrong, "write out what is needed")
        return node

    def _check_text(self, event: yaml.ScalarEvent) -> None:
        # Escapes in double quotes can spell what the file itself may not hold.
        if "\0" in event.value:
            raise self._error(event, "text holds a NUL character", "remove the escape")
        if any("\ud800" <= character <= "\udfff" for character in event.value):
            raise self._error(event, "text holds half a surrogate pair", "remove the escape")
