"""From the command lines a script builds to the flags gl knows of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from guildlite.flags import Flag, Value
from guildlite.scriptflags.modules import SourceUnreadable
from guildlite.scriptflags.reader import Reader
from guildlite.scriptflags.values import Command, Option, Scope


@dataclass(frozen=True)
class ScriptFlags:
    """What a script's source says about its flags.

    A flag is named as the script's code names the value (`--batch-size` is `batch_size`) and has
    `declared` False. A switch says in `Flag.arg` how to turn it on and off (`cuda/no-cuda`).
    """

    flags: Mapping[str, Flag] = field(default_factory=dict)
    #: `argparse`, `click` or `absl`: where the first flag is from; None without one.
    library: str | None = None
    #: The script ignores options it does not know (`parse_known_args`).
    accepts_unknown: bool = False
    #: One sentence each: what could not be read, or will not do what it seems to.
    problems: tuple[str, ...] = ()
    #: Every other way to write a flag's name (`batch-size`, `b`), and the name it stands for.
    aliases: Mapping[str, str] = field(default_factory=dict)
    #: Flags whose option takes several words (`--layers 64 32`), of which a flag passes only one.
    several: frozenset[str] = frozenset()
    #: Options the script has but does not take in this place, each with the reason.
    misplaced: Mapping[str, str] = field(default_factory=dict)
    #: The files read, the script first.
    files: tuple[Path, ...] = ()

    def find(self, name: str) -> Flag | None:
        """Return the flag that `name` means, however it is written, or None."""
        plain = name.lstrip("-")
        return self.flags.get(plain) or self.flags.get(self.aliases.get(plain, ""))


def read_script_flags(
    path: Path, *, subcommand: Sequence[str] = (), constants: bool = False
) -> ScriptFlags:
    """Return the flags a script's source shows.

    `subcommand` holds the fixed words after the script: sub-commands are chosen by them. With
    `constants`, assignments at the top of the script (`LR = 0.1`) are flags too. Never raises:
    a file that cannot be read gives no flags and a problem.
    """
    reader = Reader()
    try:
        reader.read(path)
    except SourceUnreadable as error:
        return ScriptFlags(problems=(str(error),), files=(path,))
    except Exception as error:  # whatever a script says, it must not cost the run
        reader.problems.append(f"{path.name} could not be followed: {type(error).__name__}")
    found = _Found(subcommand)
    for command in _command_lines(reader):
        found.take(command)
    flags = found.flags()
    if constants and reader.main is not None:
        for flag in _constants(reader.main):
            flags.setdefault(flag.name, flag)
    return ScriptFlags(
        flags=flags,
        library=found.library,
        accepts_unknown=found.accepts_unknown,
        problems=(*reader.problems, *found.problems),
        aliases={alias: name for alias, name in found.aliases.items() if alias not in flags},
        several=frozenset(name for name, option in found.options.items() if option.several),
        misplaced={k: why for k, why in found.misplaced.items() if k not in flags},
        files=tuple(reader.files),
    )


def _command_lines(reader: Reader) -> list[Command]:
    """Return the command lines the script reads: those it was seen to parse, else all it makes."""
    outer = [each for each in reader.commands if each.used or not each.inner]
    outer = [each for each in outer if each.options or each.children]
    used = [each for each in outer if each.used] or outer
    return [*used, reader.absl] if reader.absl.options else used


class _Found:
    """Gathers the options of several command lines, the first of a name winning."""

    def __init__(self, subcommand: Sequence[str]) -> None:
        self.words = subcommand
        self.options: dict[str, Option] = {}
        self.library: str | None = None
        self.aliases: dict[str, str] = {}
        self.misplaced: dict[str, str] = {}
        self.problems: list[str] = []
        self._strict = self._lenient = False

    @property
    def accepts_unknown(self) -> bool:
        # A first parser that looks for one option is often followed by one that takes the rest.
        return self._lenient and not self._strict

    def take(self, command: Command) -> None:
        """Take over the options that may stand after the fixed words."""
        outer = command
        for word in self.words:
            if word in command.children:
                for option in command.options:
                    self._misplace(option, f"stands before the sub-command `{word}`")
                command = command.children[word]
        for path, child in _descendants(command):
            for option in child.options:
                self._misplace(option, f"belongs to the sub-command `{path}`")
        self._lenient |= outer.accepts_unknown or command.accepts_unknown
        self._strict |= not (outer.accepts_unknown or command.accepts_unknown)
        for option in command.options:
            self._add(option)
        if command.options and self.library is None:
            self.library = command.library

    def _misplace(self, option: Option, why: str) -> None:
        self.misplaced.setdefault(option.name, f"`{_shown(option)}` {why}")

    def _add(self, option: Option) -> None:
        for spelling in option.spellings:
            self.aliases.setdefault(spelling.lstrip("-"), option.name)
        other = self.options.setdefault(option.name, option)
        if other is option:
            if option.several:
                self.problems.append(
                    f"line {option.line}: `{_shown(option)}` takes several words; a flag passes one"
                )
        elif other.switch and option.switch and not (other.on and other.off):
            # `--cuda` and `--no-cuda` declared one by one for the same name.
            self.options[option.name] = replace(
                other, on=other.on or option.on, off=other.off or option.off
            )

    def flags(self) -> dict[str, Flag]:
        return {name: _flag(option) for name, option in self.options.items()}


def _descendants(command: Command, path: str = "") -> Iterator[tuple[str, Command]]:
    """Yield every sub-command below `command` with the words that choose it."""
    if len(path) > 200:  # a command may be made its own sub-command
        return
    for word, child in command.children.items():
        words = f"{path} {word}".strip()
        yield words, child
        yield from _descendants(child, words)


def _shown(option: Option) -> str:
    """Return the option as one types it."""
    spelling = option.on or option.off or option.name
    if spelling.startswith("-"):
        return spelling
    return f"-{spelling}" if len(spelling) == 1 else f"--{spelling}"


def _flag(option: Option) -> Flag:
    """Return the flag an option is."""
    help_text = " ".join(option.help.split()) if option.help else None
    if option.switch:
        arg = f"{option.on or ''}/{option.off}" if option.off else option.on
        return Flag(
            name=option.name,
            default=option.default if isinstance(option.default, bool) else None,
            type="bool",
            help=help_text,
            arg=_unless_same(arg, option.name),
            switch=True,
            required=option.required,
            declared=False,
        )
    kind = option.type
    name = "str" if option.several else _type_name(option)
    numeric = name in ("int", "float", None)
    return Flag(
        name=option.name,
        default=_default(option.default, name, option.several),
        type=name,
        min=kind.min if numeric else None,
        max=kind.max if numeric else None,
        step=kind.step if numeric else None,
        choices=None if option.several else _converted_choices(kind.choices, name),
        help=help_text,
        arg=_unless_same(option.on, option.name),
        required=option.required,
        declared=False,
    )


def _unless_same(arg: str | None, name: str) -> str | None:
    """Return `arg`, or None where the name alone gives the same option."""
    return None if arg == name and len(name) > 1 else arg


def _type_name(option: Option) -> str | None:
    """Return the flag type; None lets the default's type decide, as it does in a project file."""
    name = option.type.name
    if name == "text":  # a function of the script's own reads it: any text may do
        return "bool" if isinstance(option.default, bool) else "str"
    if name is None:
        if isinstance(option.default, PurePath):
            return "path"
        return None if isinstance(option.default, int | float) else "str"
    return name


def _default(value: Any, kind: str | None, several: bool) -> Value:
    """Return a default as a flag's value; lists become the text one would type for them."""
    if isinstance(value, list | tuple):
        if not all(isinstance(each, str | int | float) for each in value):
            return None
        return " ".join(map(str, value)) if several else str(list(value))
    if isinstance(value, PurePath):
        return str(value)
    if not isinstance(value, str | int | float):
        return None
    if kind in ("str", "path"):
        return str(value)
    return _number(value, kind)


def _number(value: str | int | float, kind: str | None) -> Value:
    """Return a default of a number flag as that kind of number where argparse would make it one."""
    convert = {"int": int, "float": float}.get(kind or "")
    if convert is None or isinstance(value, bool) or (kind == "int" and isinstance(value, float)):
        return value
    try:
        return int(value) if convert is int else float(value)
    except (ValueError, OverflowError):
        return value


def _converted_choices(values: Iterable[Any] | None, kind: str | None) -> tuple[Value, ...] | None:
    if values is None:
        return None
    choices = tuple(
        str(each) if kind in ("str", "path") else _number(each, kind) for each in values
    )
    return choices or None


def _constants(scope: Scope) -> Iterator[Flag]:
    """Yield a flag for every plain value assigned at the top of the script."""
    for name, value in scope.names.items():
        if isinstance(value, str | int | float) and not name.startswith("_"):
            yield Flag(name=name, default=value, type=type(value).__name__, declared=False)
