"""What the calls of argparse, click and absl mean: options of a command line.

Each function takes arguments the reader has evaluated and follows the documented behaviour of the
library. A call the library itself would reject tells nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from guildlite.scriptflags.values import (
    UNKNOWN,
    Args,
    Class,
    Command,
    Decorator,
    Function,
    Keywords,
    Option,
    Ref,
    Subcommands,
    Unknown,
    ValueType,
)

_TYPES = {"int": "int", "float": "float", "bool": "bool", "str": "str"}
_PATH_TYPES = {"Path", "PosixPath", "PurePath", "PurePosixPath", "WindowsPath", "FileType"}


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _choices(value: Any) -> tuple[Any, ...] | None:
    """Return the choices if every one of them is known, else None."""
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        values = tuple(value)
        if all(isinstance(each, str | int | float | PurePath) for each in values):
            return tuple(str(each) if isinstance(each, PurePath) else each for each in values)
    return None


def dest_of(spelling: str) -> str:
    """Return the name an option is stored under when nobody says: `--batch-size` → `batch_size`."""
    return spelling.lstrip("-+/").replace("-", "_")


# argparse ----------------------------------------------------------------------------------------


def is_parser(value: Any) -> bool:
    """Say whether calling `value` makes an argparse parser."""
    if isinstance(value, Ref):
        return _last(value.name) == "ArgumentParser"
    return isinstance(value, Class) and any(is_parser(base) for base in value.outside_bases())


def make_parser(keywords: Keywords) -> Command:
    """Return the parser that `ArgumentParser(**keywords)` makes."""
    command = Command("argparse", prefix=_text(keywords.get("prefix_chars")) or "-")
    default = keywords.get("argument_default")
    if not isinstance(default, Ref | Unknown):
        command.argument_default = default
    parents = keywords.get("parents")
    for parent in parents if isinstance(parents, list | tuple) else ():
        if isinstance(parent, Command):
            parent.inner = True
            command.options += parent.options
            command.defaults.update(parent.defaults)
            for word, child in parent.children.items():
                command.children.setdefault(word, child)
    return command


def _argparse_type(given: Any) -> ValueType:
    """Return what `type=` accepts. An unknown function may read any text."""
    if isinstance(given, ValueType):
        return given
    if given is None:
        return ValueType()
    if isinstance(given, Ref):
        last = _last(given.name)
        if last in _PATH_TYPES:
            return ValueType("path")
        return ValueType(_TYPES.get(last, "text"))
    return ValueType("text")


def _with_choices(kind: ValueType, given: Any) -> ValueType:
    """Narrow a type to `choices=`; a range becomes limits."""
    if isinstance(given, range) and given:
        step = abs(given.step)
        low, high = min(given[0], given[-1]), max(given[0], given[-1])
        return ValueType(kind.name, low, high, step if step != 1 else None)
    return ValueType(kind.name, kind.min, kind.max, kind.step, _choices(given))


def _argparse_switch(option: Option, action: str, spellings: Sequence[str]) -> None:
    """Shape an option whose presence is its value."""
    option.switch = True
    if action == "store_true":
        if not option.has_default:
            option.default = False
    elif action == "store_false":
        option.on, option.off = None, option.on
        if not option.has_default:
            option.default = True
    elif action == "boolean":
        positive = [each for each in spellings if each.startswith("--")]
        if positive:
            option.off = "no-" + positive[0][2:]
            option.spellings += tuple("no-" + each[2:] for each in positive)
        else:
            option.off = None
    else:  # store_const, append_const, count: the flag says whether the option is given
        option.name = dest_of(spellings[0] if len(spellings) == 1 else _longest(spellings))
        option.default = False


def _longest(spellings: Sequence[str]) -> str:
    """Return the spelling argparse names an option by: the first long one, else the first."""
    return next((each for each in spellings if len(each) > 1 and each[1] in "-+/"), spellings[0])


def add_argument(command: Command, args: Args, keywords: Keywords, line: int) -> str | None:
    """Add what `parser.add_argument(...)` adds; return a problem in words, or None."""
    if not args:
        return None
    if any(not isinstance(each, str) for each in args):
        return f"line {line}: the name of an option is computed when the script runs"
    spellings = [each for each in args if each[:1] and each[0] in command.prefix and len(each) > 1]
    action = _action(keywords.get("action"))
    if not spellings or action in ("help", "version"):
        return None
    main = _longest(spellings)
    name = _text(keywords.get("dest")) or dest_of(main)
    if not name:
        return None
    option = Option(
        name=name,
        on=_spelled(main),
        spellings=tuple(_spelled(each) for each in spellings),
        help=_text(keywords.get("help")),
        required=keywords.get("required") is True,
        line=line,
    )
    if "default" in keywords:
        option.default, option.has_default = keywords["default"], True
    elif name in command.defaults:
        option.default, option.has_default = command.defaults[name], True
    elif command.argument_default is not None:
        option.default, option.has_default = command.argument_default, True
    if action in ("store_true", "store_false", "store_const", "append_const", "count", "boolean"):
        _argparse_switch(option, action, spellings)
    else:
        option.type = _with_choices(_argparse_type(keywords.get("type")), keywords.get("choices"))
        option.several = _several(keywords.get("nargs"))
    command.options.append(option)
    if option.type.name == "bool":
        return (
            f"line {line}: `{main}` uses type=bool, which takes every text for true, even `False`"
        )
    return None


def _action(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Ref) and _last(value.name) == "BooleanOptionalAction":
        return "boolean"
    return "store"


def _several(nargs: Any) -> bool:
    if isinstance(nargs, Ref):
        return _last(nargs.name) == "REMAINDER"
    return (isinstance(nargs, int) and nargs != 1) or nargs in ("*", "+", "...")


def _spelled(option: str) -> str:
    """Return an option as `Flag.arg` writes it: `lr` for `--lr`, `b` for `-b`, others as typed."""
    dashes = len(option) - len(option.lstrip("-"))
    plain = option[dashes:]
    # One letter after two dashes, or a word after one, would be given the other's dashes.
    return plain if dashes == (1 if len(plain) == 1 else 2) and "/" not in plain else option


def call_parser(
    command: Command, method: str, args: Args, keywords: Keywords, line: int
) -> tuple[Any, str | None]:
    """Do what a method of a parser does; return its value and a problem in words, or None."""
    if method == "add_argument":
        return UNKNOWN, add_argument(command, args, keywords, line)
    if method in ("add_argument_group", "add_mutually_exclusive_group"):
        return command, None
    if method == "add_subparsers":
        return Subcommands(command), None
    if method == "set_defaults":
        _set_defaults(command, keywords)
    elif method in ("parse_args", "parse_intermixed_args"):
        command.used = True
    elif method in ("parse_known_args", "parse_known_intermixed_args"):
        command.used = command.accepts_unknown = True
    return UNKNOWN, None


def _set_defaults(command: Command, keywords: Keywords) -> None:
    command.defaults.update(keywords)
    for option in command.options:
        if option.name in keywords:
            option.default, option.has_default = keywords[option.name], True


def add_parser(subcommands: Subcommands, args: Args, keywords: Keywords) -> Command:
    """Return the parser of a new sub-command; one whose name is computed stays nameless."""
    child = make_parser(keywords)
    child.inner = True
    aliases = keywords.get("aliases")
    words = [*args[:1], keywords.get("name")]
    words += aliases if isinstance(aliases, list | tuple) else []
    for word in words:
        if isinstance(word, str):
            subcommands.command.children[word] = child
    return child


# click -------------------------------------------------------------------------------------------

_CLICK_TYPES = {
    **_TYPES,
    "INT": "int",
    "FLOAT": "float",
    "BOOL": "bool",
    "STRING": "str",
    "Path": "path",
    "PosixPath": "path",
}


def is_click(name: str) -> bool:
    """Say whether a reference names something of click (or of a library with its face)."""
    return name.partition(".")[0] in ("click", "rich_click", "asyncclick")


def call_click(name: str, args: Args, keywords: Keywords, line: int) -> Any:
    """Return what `click.NAME(...)` makes as far as options are concerned."""
    last = _last(name)
    if last in ("command", "group"):
        return click_command(None, args, keywords)
    if last == "option":
        return _click_option(args, keywords, line)
    if last in ("Path", "File"):
        return ValueType("path")
    if last == "Choice":
        given = args[0] if args else keywords.get("choices")
        return ValueType("str", choices=_choices(given))
    if last in ("IntRange", "FloatRange"):
        return _click_range("int" if last == "IntRange" else "float", args, keywords)
    return UNKNOWN


def _click_range(kind: str, args: Args, keywords: Keywords) -> ValueType:
    """Return the limits of a range. An open end of a float range is taken as closed."""
    limits: dict[str, float | None] = {}
    for place, end in enumerate(("min", "max")):
        limits[end] = _number(args[place] if len(args) > place else keywords.get(end))
        if kind == "int" and keywords.get(f"{end}_open") is True and limits[end] is not None:
            limits[end] = (limits[end] or 0) + (1 if end == "min" else -1)
    if keywords.get("clamp") is True:  # values outside are moved inside, not refused
        return ValueType(kind)
    return ValueType(kind, limits["min"], limits["max"])


def click_command(parent: Command | None, args: Args, keywords: Keywords) -> Decorator:
    """Return what `@click.command(...)` or `@group.command(...)` does to its function."""
    given = args[0] if args else keywords.get("name")
    settings = keywords.get("context_settings")
    unknown = isinstance(settings, Mapping) and settings.get("ignore_unknown_options") is True
    return Decorator(parent=parent, name=_text(given), accepts_unknown=unknown)


def decorate(decorator: Decorator, value: Any) -> Any:
    """Apply a click decorator to what it decorates."""
    if decorator.option is not None:
        if isinstance(value, Function | Command):
            value.options.insert(0, decorator.option)
        return value
    if not isinstance(value, Function):
        return value
    name = decorator.name or value.name.lower().replace("_", "-")
    command = Command("click", value.options, name=name, accepts_unknown=decorator.accepts_unknown)
    if decorator.parent is not None:
        decorator.parent.children[name] = command
        command.inner = True
        for suffix in ("-command", "-cmd", "-group", "-grp"):  # click 8.2 leaves these out
            if decorator.name is None and name.endswith(suffix):
                decorator.parent.children.setdefault(name.removesuffix(suffix), command)
    return command


def add_click_command(group: Command, command: Command, word: Any) -> None:
    """Do what `group.add_command(command, name)` does."""
    command.inner = True
    if isinstance(word, str) or command.name:
        group.children[word if isinstance(word, str) else command.name] = command


def _click_option(args: Args, keywords: Keywords, line: int) -> Decorator:
    option = _read_click_option([each for each in args if isinstance(each, str)], keywords, line)
    return Decorator(option=option) if option else Decorator(option=Option("", None))


def _read_click_option(words: Sequence[str], keywords: Keywords, line: int) -> Option | None:
    given_name = next((word for word in words if word.isidentifier()), None)
    positive, negative = [], []
    for word in words:
        if word.isidentifier():
            continue
        splitter = ";" if word[:1] == "/" else "/"
        yes, _, no = (part.strip() for part in word.partition(splitter))
        positive += [yes] if yes else []
        negative += [no] if no else []
    if not positive:
        return None
    main = max(positive, key=lambda word: len(word) - len(word.lstrip("-")))
    spelled = [_spelled(each) for each in positive + negative]
    option = Option(
        name=given_name or dest_of(main).lower(),
        on=_spelled(main),
        off=_spelled(negative[0]) if negative else None,
        spellings=tuple(spelled),
        default=keywords.get("default"),
        has_default="default" in keywords,
        help=_text(keywords.get("help")),
        required=keywords.get("required") is True,
        line=line,
    )
    flag_value = "flag_value" in keywords and keywords.get("is_flag") is not False
    if keywords.get("is_flag") is True or negative or keywords.get("count") is True or flag_value:
        option.switch = True
        if flag_value or not isinstance(option.default, bool):
            option.default = False
        if flag_value:  # several options may share the name: each is a switch of its own
            option.name = dest_of(main).lower()
        return option
    option.type = _click_type(keywords.get("type"))
    if keywords.get("type") is None and type(option.default) in (int, float):
        option.type = ValueType(type(option.default).__name__)
    nargs = keywords.get("nargs")
    option.several = isinstance(nargs, int) and nargs != 1
    if keywords.get("multiple") is True and isinstance(option.default, list | tuple):
        option.default = option.default[0] if len(option.default) == 1 else None
    return option


def _click_type(given: Any) -> ValueType:
    if isinstance(given, ValueType):
        return given
    if isinstance(given, Ref):
        return ValueType(_CLICK_TYPES.get(_last(given.name), "text"))
    if isinstance(given, list | tuple):  # a tuple of types takes several words
        return ValueType("text")
    return ValueType() if given is None else ValueType("text")


# absl --------------------------------------------------------------------------------------------

_ABSL_TYPES = {
    "integer": "int",
    "float": "float",
    "string": "str",
    "boolean": "bool",
    "bool": "bool",
    "enum": "str",
    "enum_class": "str",
    "list": "str",
    "spaceseplist": "str",
    "multi_integer": "int",
    "multi_float": "float",
    "multi_string": "str",
    "multi_enum": "str",
}


def is_absl(name: str) -> bool:
    """Say whether a reference names one of absl's `DEFINE_` functions (TensorFlow has them too)."""
    head, _, last = name.rpartition(".")
    return last.startswith("DEFINE_") and (head == "" or head.endswith("flags"))


def define_absl(command: Command, name: str, args: Args, keywords: Keywords, line: int) -> None:
    """Add what `flags.DEFINE_...(name, default, help, ...)` defines."""
    kind = _last(name).removeprefix("DEFINE_")
    places = ["name", "default", "enum_values" if "enum" in kind else "help", "help"]
    given = dict(keywords) | dict(zip(places, args, strict=False))
    spelling = _text(given.get("name"))
    if kind not in _ABSL_TYPES or not spelling:
        return
    option = Option(
        name=spelling,
        on=spelling,
        spellings=(spelling,),
        default=given.get("default"),
        has_default=True,
        help=_text(given.get("help")),
        required=given.get("required") is True,
        line=line,
    )
    if _ABSL_TYPES[kind] == "bool":
        option.switch, option.off = True, "no" + spelling
        option.spellings += (option.off,)
        option.default = option.default is True or str(option.default).lower() in ("true", "t", "1")
    else:
        option.type = ValueType(
            _ABSL_TYPES[kind],
            _number(given.get("lower_bound")),
            _number(given.get("upper_bound")),
            choices=_choices(given.get("enum_values")) if kind.endswith("enum") else None,
        )
        words = _choices(option.default) if isinstance(option.default, list | tuple) else None
        if words is not None:
            option.default = (" " if kind == "spaceseplist" else ",").join(map(str, words))
    short = _text(given.get("short_name"))
    option.spellings += (short,) if short else ()
    command.options.append(option)


def require_absl(command: Command, args: Args) -> None:
    """Do what `flags.mark_flag(s)_as_required` does."""
    names = args[0] if args else ()
    wanted = {names} if isinstance(names, str) else set(_choices(names) or ())
    for option in command.options:
        if option.name in wanted:
            option.required = True
