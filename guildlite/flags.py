"""Flag values: parse, check, resolve; to the command line and the environment of a script.

A `Flag` is an input value of an operation as the project file or the script's source declares it.
A `Value` is what it is set to. Text becomes a value by the rules of YAML 1.2 (`parse_scalar`), the
same in the project file, on the command line and in forms: `1e-3` is a number, `no` is text.
`resolve_flags` brings defaults, profiles and the command line together; the `FlagValues` it returns
say what is recorded and what reaches the script. Nothing here touches the disk.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from guildlite.errors import FlagError, nearest

Value = bool | int | float | str | None

TYPES = ("int", "float", "bool", "str", "path")
SCALES = ("linear", "log")
#: How flags reach the script; see `FlagValues.to_argv` and `FlagValues.to_env`.
FLAG_STYLES = ("space", "equals", "hydra", "env", "none")
#: Names that are filled in at launch, in flag values and in commands.
VARIABLES = ("RUNDIR", "GPU_COUNT", "PROJECT")
#: Recorded in place of a secret value.
SECRET_MARK = "(secret)"

# Patterns are kept as text: compiling them all would cost each command 3 ms, most use none.

# YAML 1.2.2, section 10.3.2 (core schema).
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_NUMBER = (
    r"([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)"  # an integer
    r"|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
)
_INFINITY = r"([-+]?)\.(?:inf|Inf|INF)"
_NANS = frozenset((".nan", ".NaN", ".NAN"))
# Python reads and writes no integers of more than 4,300 decimal digits; longer ones stay text.
_MAX_INT_LENGTH = 3500

_SWEEP = r"(?s)\s*(?:\[.*\]\s*$|(?:range|linspace|logspace|uniform|loguniform|int|logint)\[)"
#: How many flags a hint lists; more would push the error itself off a small terminal.
_FEW_FLAGS = 8

_VARIABLE = r"\$(?:\$|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})"

# English names a thing by its last word: an `api_key` is a key, a `key_dim` is not.
_SECRET_LAST = frozenset(("key", "apikey", "token", "auth"))
_SECRET_ANYWHERE = frozenset(
    ("password", "passwords", "passwd", "pwd", "passphrase", "secret", "secrets", "credentials")
)
_SECRET_TAIL = r"[0-9]+|value|text|string|str|base64|b64"
_WORD = r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[0-9]+"


class Flag(NamedTuple):
    """An input value of an operation, as declared.

    `default` None means no value. `type` None means not declared; `kind` is what values are
    checked against. `arg` renames the flag for the script: a word (`batch-size`), one letter (`b`
    gives `-b`), a spelling with its dashes, or `on/off` for a switch (`cuda/no-cuda`, `/no-cuda`);
    False keeps it from the script. `declared` False marks a flag found only in the script's
    source: it is passed only when set.
    """

    name: str
    default: Value = None
    type: str | None = None
    min: float | None = None
    max: float | None = None
    step: float | None = None
    choices: tuple[Value, ...] | None = None
    scale: str | None = None
    help: str | None = None
    arg: str | Literal[False] | None = None
    switch: bool = False
    secret: bool = False
    required: bool = False
    declared: bool = True

    @property
    def kind(self) -> str | None:
        """Type that values are checked against: the declared one, else what the default and the
        choices show; None accepts any scalar."""
        if self.type is not None:
            return self.type
        if self.switch:
            return "bool"
        return _infer_type((self.default, *(self.choices or ())), (self.min, self.max, self.step))


def _infer_type(values: Iterable[Value], bounds: Iterable[float | None]) -> str | None:
    kinds = {type(value).__name__ for value in values if value is not None}
    fractional = any(bound is not None and bound % 1 != 0 for bound in bounds)
    if kinds == {"int", "float"} or (kinds == {"int"} and fractional):
        return "float"
    return kinds.pop() if len(kinds) == 1 else None


def parse_scalar(text: str) -> Value:
    """Return the value of plain text by the YAML 1.2 core schema.

    `no`, `on` and `12:30` are text, `1e-3` is a float, `0o17` is 15, empty text is None.
    """
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if match := re.fullmatch(_NUMBER, text):
        if match[1] is None:
            return float(text)
        if len(text) > _MAX_INT_LENGTH:
            return text
        return int(text, 0 if text[1:2] in ("o", "x") else 10)
    if match := re.fullmatch(_INFINITY, text):
        return float(match[1] + "inf")
    return float("nan") if text in _NANS else text


def format_value(value: Value) -> str:
    """Return the text of a value as scripts read it: `True`, `0.001`, `inf`, empty for None."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def shown(value: object) -> str:
    """Return a value in backticks for a message: one short line without control characters."""
    text = format_value(value) if isinstance(value, (bool, int, float)) else str(value)
    if not text.isprintable():
        text = text.encode("unicode_escape").decode("ascii")
    return f"`{text if len(text) <= 60 else text[:57] + '...'}`"


def is_sweep(text: str) -> bool:
    """Tell whether text is written like a list or range of values, as in `[0.1,0.01]`."""
    return re.match(_SWEEP, text) is not None


def sweep_refusal(name: str) -> FlagError:
    """Return the error for several values where one is expected."""
    return FlagError(
        f"flag `{name}` takes one value: lists and ranges are for sweeps, and sweeps are not "
        "there yet",
        hint=f"start one run for each value, or `-F {name}=...` to pass the text as it is",
    )


def expectation(flag: Flag) -> str:
    """Return in words what a flag accepts, as in `an integer of at least 1`."""
    if flag.choices:
        return "one of " + ", ".join(shown(choice) for choice in flag.choices)
    kind = {
        "int": "an integer", "float": "a number", "bool": "`true` or `false`",
        "str": "text", "path": "a path", None: "a value",
    }[flag.kind]  # fmt: skip
    low, high = flag.min, flag.max
    if low is not None and high is not None:
        return f"{kind} from {format_value(low)} to {format_value(high)}"
    if low is not None:
        return f"{kind} of at least {format_value(low)}"
    return f"{kind} of at most {format_value(high)}" if high is not None else kind


def check_value(flag: Flag, raw: Value) -> Value:
    """Return the value of `flag` that `raw` stands for; text is read by the flag's type.

    Text for a `str` flag stays as it is (`007`). Empty text and `null` are no value for other
    types. Raises FlagError naming the flag, what it expects and what came.
    """
    if isinstance(raw, str) and is_sweep(raw) and raw not in (flag.default, *(flag.choices or ())):
        raise sweep_refusal(flag.name)
    return _checked(flag, raw)


def _checked(flag: Flag, raw: Value) -> Value:
    """`check_value` for a value the project file wrote in quotes: any text is one value."""
    value = _converted(flag, raw)
    if value is None:
        return None
    if isinstance(value, str) and "\0" in value:
        raise FlagError(f"flag `{flag.name}` cannot hold a NUL character")
    if flag.choices and not any(_same(value, _converted(flag, each)) for each in flag.choices):
        raise _unexpected(flag, raw)
    if flag.min is not None or flag.max is not None:
        _check_bounds(flag, value, raw)
    return value


def _check_bounds(flag: Flag, value: Value, raw: Value) -> None:
    # Written so that NaN, which compares false with everything, is outside every bound.
    inside = (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and (flag.min is None or value >= flag.min)
        and (flag.max is None or value <= flag.max)
    )
    if not inside:
        error = _unexpected(flag, raw)
        if not is_secret(flag):
            error.hint = f"`-F {flag.name}={format_value(value)}` passes it anyway"
        raise error


def _same(one: Value, other: Value) -> bool:
    return type(one) is type(other) and one == other


def _converted(flag: Flag, raw: Value) -> Value:
    kind = flag.kind
    if kind in ("str", "path"):
        return raw if raw is None or isinstance(raw, str) else format_value(raw)
    value = parse_scalar(raw) if isinstance(raw, str) else raw
    if kind is None or value is None:
        return value
    if kind == "bool":
        if isinstance(value, bool):
            return value
    elif kind == "int":
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        # `1e3` is a float in YAML and a fine number of steps; above 2**53 digits would be made up.
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return int(value)
    elif (number := _to_float(value)) is not None:
        return number
    raise _unexpected(flag, raw)


def _to_float(value: Value) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    # `inf` and `nan` are how `format_value` writes them, and what is recorded can be given back.
    if isinstance(value, str) and value not in ("inf", "-inf", "nan"):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _unexpected(flag: Flag, raw: Value) -> FlagError:
    got = "something else" if is_secret(flag) else shown(raw)
    hint = None
    if flag.type is None and flag.kind == "int" and isinstance(_to_float(_parsed(raw)), float):
        hint = f"its default is an integer; declare `type: float` for `{flag.name}` to accept more"
    elif flag.choices and isinstance(raw, str):
        match = nearest(raw, [format_value(choice) for choice in flag.choices])
        hint = f"did you mean `{match}`?" if match else None
    return FlagError(f"flag `{flag.name}` expects {expectation(flag)}, got {got}", hint=hint)


def _parsed(raw: Value) -> Value:
    return parse_scalar(raw) if isinstance(raw, str) else raw


def make_flag(name: str, spec: Mapping[str, Any]) -> Flag:
    """Return the flag of a long form from the project file, values converted to its type.

    `spec` has the keys of a flag in the project file, already checked one by one. Raises
    FlagError where they contradict each other; `find_flaw` says which key is to blame.
    """
    fields = dict(spec)
    if fields.get("choices") is not None:
        fields["choices"] = tuple(fields["choices"])
    flag = Flag(name, **fields)
    flaw = find_flaw(flag)
    if flaw:
        raise FlagError(flaw[1])
    choices = None if flag.choices is None else tuple(_converted(flag, c) for c in flag.choices)
    return flag._replace(choices=choices, default=_checked(flag, flag.default))


def find_flaw(flag: Flag) -> tuple[str, str] | None:
    """Return (key, message) for the first contradiction inside a declaration, or None."""
    kind = flag.kind
    if flag.switch and kind != "bool":
        return "switch", f"flag `{flag.name}` is a switch and so must be of type `bool`"
    for key in ("min", "max", "step", "scale"):
        if getattr(flag, key) is not None and kind not in ("int", "float", None):
            return key, f"flag `{flag.name}` is not a number and cannot have `{key}`"
    if flag.min is not None and flag.max is not None and flag.min > flag.max:
        bounds = f"{format_value(flag.min)} is greater than `max` {format_value(flag.max)}"
        return "min", f"flag `{flag.name}`: `min` {bounds}"
    bare = flag._replace(choices=None)
    for choice in flag.choices or ():
        if message := _complaint(bare, choice):
            return "choices", message
    message = _complaint(flag, flag.default)
    return ("default", message) if message else None


def _complaint(flag: Flag, value: Value) -> str | None:
    try:
        _checked(flag, value)
    except FlagError as error:
        return error.message
    return None


def merge_layers(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return two layers of declarations as one, name by name at every depth; `own` wins."""
    merged = dict(base)
    for name, value in own.items():
        under = merged.get(name)
        both = isinstance(under, dict) and isinstance(value, dict)
        merged[name] = merge_layers(under, value) if both else value  # type: ignore[arg-type]
    return merged


def parse_assignment(word: str, *, bare_is_true: bool = False) -> tuple[str, str]:
    """Split `name=value` at the first `=`; with `bare_is_true` (`-F`) a bare name means `true`.

    Raises FlagError for a word that is not an assignment.
    """
    name, equals, value = word.partition("=")
    if name.startswith("-"):
        plain = name.lstrip("-") or "name"
        raise FlagError(
            f"{shown(word)} is not a flag of the script",
            hint=f"flags are words without dashes: `{plain}={value if equals else 'VALUE'}`",
        )
    if not name or name != name.strip():
        raise FlagError(f"{shown(word)} has no flag name", hint="write `name=value`")
    if not equals and not bare_is_true:
        raise FlagError(f"{shown(word)} has no value", hint=f"write `{name}=VALUE`")
    return name, value if equals else "true"


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Fill in `$NAME` and `${NAME}` for the given names; `$$` is `$`, other `$X` stay."""

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1] or match[2], match[0])

    return re.sub(_VARIABLE, replacement, text)


def missing_variables(text: str, variables: Mapping[str, str]) -> set[str]:
    """Return the launch variables that `text` refers to and `variables` does not have."""
    named = {match[1] or match[2] for match in re.finditer(_VARIABLE, text)}
    return {name for name in VARIABLES if name in named and name not in variables}


def is_secret(flag: Flag | str) -> bool:
    """Tell whether values must not be recorded: marked `secret`, or named like a key, token,
    password or secret (`api_key`, `hfToken`, not `monkey`, `max_tokens` or `key_dim`)."""
    if isinstance(flag, Flag):
        return flag.secret or is_secret(flag.name)
    words = [word.lower() for word in re.findall(_WORD, flag)]
    if not _SECRET_ANYWHERE.isdisjoint(words):
        return True
    while len(words) > 1 and re.fullmatch(_SECRET_TAIL, words[-1]):
        words.pop()
    return bool(words) and words[-1] in _SECRET_LAST


class FlagValues(NamedTuple):
    """The values of one launch, in project order; flags passed with `-F` follow.

    `origins` says of each name where its value is from: `default`, `profile NAME` or
    `command line`.
    """

    values: Mapping[str, Value]
    flags: Mapping[str, Flag]
    origins: Mapping[str, str]

    def recorded(self) -> dict[str, str]:
        """Return what the run keeps: variables symbolic, secrets as a mark, no valueless flags."""
        return {
            name: SECRET_MARK if is_secret(self.flags[name]) else format_value(value)
            for name, value in self.values.items()
            if value is not None
        }

    def changed(self) -> set[str]:
        """Return the names set by a profile or on the command line."""
        return {name for name, origin in self.origins.items() if origin != "default"}

    def to_argv(
        self, style: str, variables: Mapping[str, str], *, hide_secrets: bool = False
    ) -> list[str]:
        """Return the words that pass the flags to a script in `style`.

        `space`: `--name value`, joined by `=` where the value begins with `-`; `equals`:
        `--name=value`; `hydra`: `name=value`; `env` and `none`: no words. A bool is `True` or
        `False`, a switch a bare `--name` or nothing. Left out are flags without a value, with
        `arg: false`, named `description`, found only in the script's source and not set, and
        those that refer to a launch variable `variables` lacks (`$RUNDIR` for `gl prepare`).
        `hide_secrets` gives the words to show or record.
        """
        if style in ("env", "none"):
            return []
        words: list[str] = []
        for flag, text in self._passed(variables, hide_secrets):
            words += _words(flag, self.values[flag.name], text, style)
        return words

    def to_env(
        self, style: str, variables: Mapping[str, str], *, hide_secrets: bool = False
    ) -> dict[str, str]:
        """Return the environment variables that pass the flags where `style` is `env`, else none.

        A variable is named as the flag is written, or as its `arg`; the case is kept.
        """
        if style != "env":
            return {}
        passed = self._passed(variables, hide_secrets)
        return {_bare(flag): text for flag, text in passed}

    def _passed(self, variables: Mapping[str, str], hide: bool) -> Iterator[tuple[Flag, str]]:
        changed = self.changed()
        for name, value in self.values.items():
            flag = self.flags[name]
            # A flag of that name describes the run to people; scripts rarely have an option for it.
            if value is None or flag.arg is False or name == "description":
                continue
            if not flag.declared and name not in changed:
                continue
            text = format_value(value)
            if missing_variables(text, variables):
                continue
            yield flag, SECRET_MARK if hide and is_secret(flag) else expand(text, variables)


def _words(flag: Flag, value: Value, text: str, style: str) -> list[str]:
    if style == "hydra":
        return [f"{_bare(flag)}={text}"]
    spelling = flag.arg or flag.name
    if flag.switch and isinstance(value, bool):
        on, _, off = spelling.partition("/")
        chosen = on if value else off
        return [_dashed(flag, chosen)] if chosen else []
    option = _dashed(flag, spelling)
    if style == "equals":
        return [f"{option}={text}"]
    if not text.startswith("-"):
        return [option, text]
    # `-x-1` is what getopt, argparse and click read alike; click takes `-x=-1` for `=-1`.
    return [option + text] if len(option) == 2 else [f"{option}={text}"]


def _dashed(flag: Flag, spelling: str) -> str:
    if spelling.startswith("-"):
        return spelling
    return f"-{spelling}" if flag.arg and len(spelling) == 1 else f"--{spelling}"


def _bare(flag: Flag) -> str:
    spelling = flag.arg or flag.name
    if flag.switch and "/" in spelling:
        return flag.name
    return spelling.lstrip("-") or flag.name


def resolve_flags(
    flags: Mapping[str, Flag],
    profile_values: Sequence[tuple[str, Mapping[str, Value]]] = (),
    assignments: Sequence[tuple[str, str]] = (),
    free: Sequence[tuple[str, str]] = (),
    accept_unknown: bool = False,
    *,
    elsewhere: Collection[str] = (),
) -> FlagValues:
    """Bring defaults, profiles (later wins) and the command line (strongest) together.

    `assignments` are checked `name=value` words; unknown names are refused unless
    `accept_unknown`; empty text takes a flag's value away. `free` are those of `-F`: any name,
    and a value that the flag would refuse is kept as text, empty text too. A profile may also
    name flags in `elsewhere` (of other models of the project); they are skipped. Raises FlagError
    for an unknown name, a value not accepted, or required flags without a value.
    """
    launch = _Launch(flags)
    for profile, values in profile_values:
        for name, raw in values.items():
            launch.set_by_profile(profile, name, raw, elsewhere)
    for name, text in assignments:
        launch.set_by_word(name, text, accept_unknown)
    for name, text in free:
        launch.set_freely(name, text)
    missing = [
        f"`{name}`"
        for name, flag in launch.flags.items()
        if flag.required and launch.values[name] is None
    ]
    if missing:
        plural = "flags need" if len(missing) > 1 else "flag needs"
        first = missing[0].strip("`")
        raise FlagError(f"{plural} a value: {', '.join(missing)}", hint=f"add `{first}=VALUE`")
    return FlagValues(launch.values, launch.flags, launch.origins)


class _Launch:
    """Values being gathered by `resolve_flags`."""

    def __init__(self, flags: Mapping[str, Flag]) -> None:
        self.flags = dict(flags)
        # The default of a flag found only in source is the script's own affair and never passed.
        self.values: dict[str, Value] = {
            name: _checked(flag, flag.default) if flag.declared else flag.default
            for name, flag in flags.items()
        }
        self.origins = dict.fromkeys(flags, "default")

    def set_by_profile(
        self, profile: str, name: str, raw: Value, elsewhere: Collection[str]
    ) -> None:
        flag = self.flags.get(name)
        if flag is None:
            if name in elsewhere:
                return
            raise FlagError(
                f"profile `{profile}` sets {shown(name)}, which is not a flag here",
                hint=_guess(name, self.flags),
            )
        try:
            value = _checked(flag, raw)
        except FlagError as error:
            raise FlagError(f"profile `{profile}`: {error.message}", hint=error.hint)
        self._set(name, value, f"profile {profile}")

    def set_by_word(self, name: str, text: str, accept_unknown: bool) -> None:
        flag = self.flags.get(name)
        if flag is not None:
            if not (text == SECRET_MARK and is_secret(flag)):
                # For text too `name=` is no value; `-F name=` is how to pass empty text.
                self._set(name, check_value(flag, text) if text else None, "command line")
        elif accept_unknown:
            if is_sweep(text):
                raise sweep_refusal(name)
            self.set_freely(name, text)
            self.values[name] = text or None
        else:
            raise FlagError(f"flag {shown(name)} is not known", hint=self._ways_out(name, text))

    def _ways_out(self, name: str, text: str) -> str:
        freely = f"`-F {name}={'VALUE' if is_secret(name) else text}` passes it anyway"
        if near := _guess(name, self.flags):
            return f"{near} {freely}"
        known = list(self.flags)
        if not known:
            return freely
        more = ["..."] if len(known) > _FEW_FLAGS else []
        return f"known: {', '.join(known[:_FEW_FLAGS] + more)}; {freely}"

    def set_freely(self, name: str, text: str) -> None:
        flag = self.flags.setdefault(name, Flag(name))
        value: Value = text
        if flag.kind is not None:
            try:
                value = _checked(flag, text)
            except FlagError:
                pass  # `-F` passes anything
        self._set(name, value, "command line")

    def _set(self, name: str, value: Value, origin: str) -> None:
        self.values[name], self.origins[name] = value, origin


def _guess(name: str, flags: Mapping[str, Flag]) -> str | None:
    match = nearest(name, flags)
    return f"did you mean `{match}`?" if match else None


def merge_script_flags(declared: Mapping[str, Flag], found: Mapping[str, Flag]) -> dict[str, Flag]:
    """Return declared flags completed by what the script's source shows, then those only found.

    A declared flag takes type, bounds, choices, switch, help and spelling from the script where it
    leaves them out; its default and whether it is required are its own affair. `batch_size` and
    `batch-size` are the same flag. Flags only found have `declared` False.
    """
    by_word = {_word(name): flag for name, flag in found.items()}
    by_word |= {_word(flag.arg): flag for flag in found.values() if flag.arg}
    merged: dict[str, Flag] = {}
    used: set[str] = set()
    for name, flag in declared.items():
        twin = found.get(name) or by_word.get(_word(flag.arg or name)) or by_word.get(_word(name))
        if twin is not None:
            used.add(twin.name)
            flag = _completed(flag, twin)
        merged[name] = flag
    for name, flag in found.items():
        if flag.name not in used:
            merged[name] = flag._replace(declared=False, required=False)
    return merged


def _word(spelling: str) -> str:
    return spelling.lstrip("-").replace("-", "_")


def _completed(flag: Flag, twin: Flag) -> Flag:
    kind = flag.type or twin.type or (twin.kind if flag.kind is None else None)
    arg = twin.arg if flag.arg is None and twin.arg else flag.arg
    if arg is None and twin.name != flag.name:
        arg = twin.name
    return flag._replace(
        type=kind,
        min=twin.min if flag.min is None else flag.min,
        max=twin.max if flag.max is None else flag.max,
        choices=twin.choices if flag.choices is None else flag.choices,
        help=twin.help if flag.help is None else flag.help,
        switch=flag.switch or (twin.switch and (kind or flag.kind) in ("bool", None)),
        secret=flag.secret or twin.secret,
        arg=arg,
    )
