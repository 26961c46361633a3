"""What can stand at the cursor of a command line: the answer that the shells' scripts ask for.

A key was pressed and somebody waits: nothing is settled, no script is run, and a large index is
taken as it lies there. Whatever goes wrong, the answer is that there is nothing to complete.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from guildlite.cli.commands import COMMANDS, summary
from guildlite.cli.context import Context
from guildlite.cli.group import gl
from guildlite.cli.shellwords import (
    Answer,
    Candidate,
    Word,
    format_bash,
    format_fish,
    format_zsh,
    split_line,
)

if TYPE_CHECKING:
    from guildlite.flags import Flag
    from guildlite.index import Index
    from guildlite.query import Vocabulary

#: More runs than this are not looked through while somebody waits.
_MOST_TO_REFRESH = 3_000
_MOST_NUMBERS, _MOST_NAMES = 20, 200
_TRASHED = ("restore", "purge")
_WITH_FLAGS = ("train", "prepare", "evaluate", "run")


class Line(NamedTuple):
    """A command and what of it was typed: positional words, options by name, and the open one.

    `only_words` after `--`, behind which nothing is an option.
    """

    name: str
    positionals: list[str]
    options: dict[str, list[str]]
    pending: click.Parameter | None
    command: click.Command
    only_words: bool = False


def complete_line(words: Sequence[str], incomplete: str) -> Answer:
    """Return what can stand at the end of `gl WORDS INCOMPLETE`."""
    context = Context()
    rest = _enter(context, list(words))
    if rest is None:
        return _paths(incomplete, folders=True)
    if not rest:
        if incomplete.startswith("-"):
            return _matching(_options(gl), incomplete)
        return _matching([Candidate(name, summary(name)) for name in COMMANDS], incomplete)
    command = gl.get_command(click.Context(gl), rest[0])
    if command is None:
        return Answer([])
    return _of_command(context, _read(rest[0], command, rest[1:]), incomplete)


def _enter(context: Context, words: list[str]) -> list[str] | None:
    """Return the words from the command on, in the directory of `-C`; None while that is typed."""
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word == "-C":
            if not words:
                return None
            context.enter(words.pop(0))
        elif word.startswith("-C"):
            context.enter(word[2:])
    return words


# The words of a command ---------------------------------------------------------------------------


def _read(name: str, command: click.Command, words: Sequence[str]) -> Line:
    options = {opt: each for each in command.params for opt in (*each.opts, *each.secondary_opts)}
    line = Line(name, [], {}, None, command)
    for word in words:
        if line.pending is not None:
            line.options.setdefault(line.pending.name or "", []).append(word)
            line = line._replace(pending=None)
        elif line.only_words or not word.startswith("-") or word == "-":
            line.positionals.append(word)
        elif word == "--":
            line = line._replace(only_words=True)
        else:
            typed, equals, value = word.partition("=")
            option = options.get(typed)
            if isinstance(option, click.Option):
                line.options.setdefault(option.name or "", []).extend([value] if equals else [])
                if not option.is_flag and not option.count and not equals:
                    line = line._replace(pending=option)
    return line


def _of_command(context: Context, line: Line, incomplete: str) -> Answer:
    if line.pending is not None:
        return _values(context, line, line.pending, incomplete)
    name, equals, value = incomplete.partition("=")
    dashed = incomplete.startswith("-") and not line.only_words
    if dashed and name.startswith("--") and equals:
        option = next((each for each in line.command.params if name in each.opts), None)
        if option is None:
            return Answer([])
        found = _values(context, line, option, value)
        return found._replace(kept=found.kept + len(name) + 1)
    if dashed:
        return _matching(_options(line.command, line.options), incomplete)
    if line.name in _WITH_FLAGS:
        return _flag_words(context, line, incomplete)
    argument = _argument_at(line)
    return _values(context, line, argument, incomplete) if argument is not None else Answer([])


def _argument_at(line: Line) -> click.Parameter | None:
    place = len(line.positionals)
    for each in line.command.params:
        if isinstance(each, click.Argument):
            if each.nargs == -1 or place == 0:
                return each
            place -= each.nargs
    return None


def _options(
    command: click.Command, given: Mapping[str, Sequence[str]] | None = None
) -> Iterator[Candidate]:
    """Yield the options, long names first, without those that were given and count once."""
    for each in command.get_params(click.Context(command)):
        if isinstance(each, click.Option) and (each.multiple or each.name not in (given or {})):
            yield Candidate(max(each.opts, key=len), _first_line(each.help))


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


# Values by what they are --------------------------------------------------------------------------


def _values(context: Context, line: Line, param: click.Parameter, incomplete: str) -> Answer:
    """Return what an option or argument can be, known by its type, name and metavar."""
    if isinstance(param.type, click.Choice):
        return _matching([Candidate(str(each)) for each in param.type.choices], incomplete)
    what = (param.metavar or "").strip("[].")
    if what == "RUN":
        # `gl label --where FILTER TEXT` has no RUN.
        return Answer([]) if "where" in line.options else _runs(context, line, incomplete)
    if what == "FILTER":
        before = line.positionals if isinstance(param, click.Argument) else []
        return _filter(context, line, before, incomplete)
    if what in ("LOGDIR", "DIR", "PATH"):
        return _paths(incomplete, folders=what != "PATH")
    if what == "NAME=VALUE":
        return _flag_words(context, line, incomplete)
    by_name = _BY_NAME.get(param.name or "")
    return by_name(context, line, incomplete) if by_name is not None else Answer([])


def _columns(context: Context, line: Line, incomplete: str) -> Answer:
    from guildlite.query.columns import split_columns

    last = split_columns([f"{incomplete}_"])[-1]
    return _column(context, line, incomplete, len(incomplete) - len(last) + 1)


def _order(context: Context, line: Line, incomplete: str) -> Answer:
    return _column(context, line, incomplete, 1 if incomplete.startswith("-") else 0)


def _column(context: Context, line: Line, incomplete: str, start: int) -> Answer:
    """Return what can stand in a column that begins at `start`."""
    while incomplete[start : start + 1] == " ":
        start += 1
    text = incomplete[start:]
    call = re.match(r"(?:step|time|best)\(", text)
    if call:
        found = _filter(context, line, [], text[call.end() :])
        return found._replace(kept=start + call.end() + found.kept)
    found = _filter(context, line, [], text)
    keywords = ("and", "or", "not", "has", "in", "contains")
    names = [
        each
        for each in found.candidates
        if each.text not in keywords and each.text[0] not in "<>=!"
    ]
    calls = [("step(", "first step with"), ("time(", "seconds until"), ("best(", "by its goal")]
    if not text or text.isalpha():
        names += [Candidate(call, help, True) for call, help in calls if call.startswith(text)]
    return Answer(names, start + found.kept)


def _filter(context: Context, line: Line, before: Sequence[str], incomplete: str) -> Answer:
    from guildlite.query import read_values
    from guildlite.query.complete import complete

    text = " ".join([*before, incomplete])
    start = len(text) - len(incomplete)
    with _opened(context, trash=line.name in _TRASHED or "trash" in line.options) as index:
        found = complete(
            text, len(text), _vocabulary(context, index), lambda field: read_values(index, field)
        )
    if found.start < start:
        return Answer([])
    candidates = [Candidate(one.text, one.help, True) for one in found.candidates]
    return Answer(candidates, found.start - start)


def _vocabulary(context: Context, index: Index) -> Vocabulary:
    from guildlite.query import Vocabulary, read_vocabulary

    known = read_vocabulary(index)
    project = context.readable_project()
    if project is None:
        return known
    return known.joined(Vocabulary(sorted(project.flag_names()), tuple(project.metrics)))


def _one_flag(context: Context, line: Line, incomplete: str) -> Answer:
    with _opened(context) as index:
        names = _vocabulary(context, index).flags
    start = incomplete.rfind(",") + 1
    found = _matching([Candidate(name, "flag") for name in names], incomplete[start:])
    return found._replace(kept=start)


def _models(context: Context, line: Line, incomplete: str) -> Answer:
    from guildlite.query import read_values
    from guildlite.query.nodes import Field

    project = context.readable_project()
    models = project.models if project is not None else {}
    found = [Candidate(name, each.description or "") for name, each in models.items()]
    with _opened(context) as index:
        held = read_values(index, Field("attr", "model", "text"))
    return _matching(found + [Candidate(name) for name in held if name not in models], incomplete)


def _profiles(context: Context, line: Line, incomplete: str) -> Answer:
    from guildlite.flags import format_value

    project = context.readable_project()
    return _matching(
        [
            Candidate(name, " ".join(f"{flag}={format_value(v)}" for flag, v in values.items()))
            for name, values in (project.profiles if project is not None else {}).items()
        ],
        incomplete,
    )


def _moments(context: Context, line: Line, incomplete: str) -> Answer:
    known = {"1h": "an hour ago", "1d": "a day ago", "7d": "a week ago"}
    return _matching([Candidate(text, help) for text, help in known.items()], incomplete)


def _operations_of_run(context: Context, line: Line, incomplete: str) -> Answer:
    run = context.store().get(line.positionals[0] if line.positionals else "latest")
    return _matching([Candidate(each.name) for each in run.later_operations()], incomplete)


def _examples(context: Context, line: Line, incomplete: str) -> Answer:
    from guildlite.scaffold import list_examples

    return _matching([Candidate(name) for name in list_examples()], incomplete)


def _keys(context: Context, line: Line, incomplete: str) -> Answer:
    project = context.readable_project()
    return _matching([Candidate(name) for name in (project.data if project else {})], incomplete)


#: Name of a parameter → what it can be.
_BY_NAME: dict[str, Callable[[Context, Line, str], Answer]] = {
    "columns": _columns,
    "sort": _order,
    "group": _one_flag,
    "over": _one_flag,
    "model": _models,
    "profiles": _profiles,
    "since": _moments,
    "operation": _operations_of_run,
    "example": _examples,
    "keys": _keys,
}


# Runs ---------------------------------------------------------------------------------------------


def _opened(context: Context, trash: bool = False) -> Index:
    """Return the index, refreshed where that is quick; to be closed by the caller."""
    from guildlite.cli.picking import Choice, open_index
    from guildlite.runs.store import list_names

    index = open_index(context, Choice(trash=trash))
    try:
        if len(list_names(index.root)) <= _MOST_TO_REFRESH:
            index.refresh()
        else:
            index.ask(lambda connection: None)
    except BaseException:
        index.close()
        raise
    return index


def _runs(context: Context, line: Line, incomplete: str) -> Answer:
    """Return the newest runs by number and name, labels, `latest`; directories where one begins."""
    if "/" in incomplete or incomplete.startswith("."):
        return _paths(incomplete, folders=True)
    trash = line.name in _TRASHED
    found: list[Candidate] = [] if trash else [Candidate("latest", "the newest run")]
    root = context.store().root / ".trash" if trash else context.store().root
    try:
        with _opened(context, trash) as index:
            found += _indexed(index, running=line.name == "stop")
    except FileNotFoundError:
        pass
    if line.name != "stop":
        found += _by_name(root, incomplete)
    given = {*line.positionals}
    once = {each.text: each for each in reversed(found) if each.text not in given}
    return _matching([*reversed(once.values())], incomplete)


def _indexed(index: Index, running: bool) -> Iterator[Candidate]:
    import time

    from guildlite.query import find_runs, read_values
    from guildlite.query.nodes import Field
    from guildlite.wording import format_ago

    filter = "attr.status = running" if running else ""
    rows = find_runs(index, filter, limit=_MOST_NUMBERS, columns=()).rows
    helps = []
    for row in rows:
        one = row.record
        words = (one.status, one.model, format_ago(one.started, time.time()), one.label)
        helps.append("  ".join(word for word in words if word))
    for row, help in zip(rows, helps, strict=True):
        yield Candidate(str(row.position), help)
    if not running:
        for text in read_values(index, Field("attr", "label", "text"), _MOST_NAMES):
            yield Candidate(text, "label")
    for row, help in zip(rows, helps, strict=True):
        yield Candidate(row.record.id, help)


def _by_name(root: os.PathLike[str], incomplete: str) -> Iterator[Candidate]:
    """Yield runs older than those the index was asked for, once their name has begun."""
    from pathlib import Path

    from guildlite.runs.store import list_names

    if incomplete:
        names = (name for name in list_names(Path(root)) if name.startswith(incomplete))
        yield from map(Candidate, sorted(names, reverse=True)[:_MOST_NAMES])


# Flags of the script ------------------------------------------------------------------------------


def _flag_words(context: Context, line: Line, incomplete: str) -> Answer:
    """Return what `gl train` and the like take: a model, script or run first, flags anywhere."""
    names = [word for word in line.positionals if "=" not in word]
    given = {word.partition("=")[0] for word in line.positionals if "=" in word}
    name, equals, value = incomplete.partition("=")
    flags = _flags(context, line, names)
    if equals:
        flag = flags.get(name)
        found = _flag_value(flag, value) if flag is not None else Answer([])
        return found._replace(kept=found.kept + len(name) + 1)
    candidates = [] if names else [*_first_words(context, line, incomplete)]
    candidates += [
        Candidate(f"{flag.name}=", _about(flag), True)
        for flag in flags.values()
        if flag.name not in given
    ]
    return _matching(candidates, incomplete)


def _first_words(context: Context, line: Line, incomplete: str) -> Iterator[Candidate]:
    project = context.readable_project()
    models = project.models if project is not None else {}
    if line.name == "evaluate":
        yield from _runs(context, line, incomplete).candidates
    elif line.name == "run":
        for model in models.values():
            for operation in model.operations.values():
                text = operation.description or model.description or ""
                yield Candidate(f"{model.name}:{operation.name}", text)
        for path in _paths(incomplete, folders=False).candidates:
            if path.more or path.text.endswith((".py", ".sh")):
                yield path
    else:
        for model in models.values():
            if line.name in model.operations:
                yield Candidate(model.name, model.description or "")
        if line.name == "prepare" and project is not None:
            for resource in project.resources.values():
                yield Candidate(resource.name, resource.description or "resource")


def _flags(context: Context, line: Line, names: Sequence[str]) -> Mapping[str, Flag]:
    """Return the flags of the operation or script that the words mean; none where they do not."""
    from guildlite.errors import GuildliteError
    from guildlite.execute.prepare import Words, plan_operation, plan_script

    project = context.readable_project()
    first = names[0] if names else None
    try:
        if line.name == "run":
            if first is None:
                return {}
            model, colon, operation = first.partition(":")
            if project is None or not colon or os.path.exists(first):
                return plan_script(names, context.directory, Words(), os.environ).values.flags
        elif line.name == "evaluate":
            run = context.store().get(first or "latest")
            model, operation = run.model, "evaluate"
        else:
            model, operation = first or "", line.name
        if project is None:
            return {}
        if line.name == "prepare" and model in project.resources:
            chosen = project.resource(model).prepare
        else:
            chosen = project.operation(project.model(model or None), operation)
    except GuildliteError:
        return {}
    try:
        return plan_operation(project, chosen, Words(), os.environ).values.flags
    except GuildliteError:
        return chosen.flags


def _about(flag: Flag) -> str:
    from guildlite.flags import format_value, is_secret

    default = "" if flag.default is None or is_secret(flag) else format_value(flag.default)
    return "  ".join(word for word in (flag.help or "", f"[{default}]" if default else "") if word)


def _flag_value(flag: Flag, value: str) -> Answer:
    from guildlite.flags import format_value, is_secret

    if is_secret(flag):
        return Answer([])
    if flag.choices is not None:
        return _matching([Candidate(format_value(each)) for each in flag.choices], value)
    if flag.kind == "bool" or flag.switch:
        return _matching([Candidate("true"), Candidate("false")], value)
    if flag.kind == "path":
        return _paths(value, folders=False)
    default = [] if flag.default is None else [Candidate(format_value(flag.default), "default")]
    return _matching(default, value)


# Paths and matching -------------------------------------------------------------------------------


def _paths(incomplete: str, *, folders: bool) -> Answer:
    """Return the files or folders that begin so; a folder may be gone on into."""
    head, slash, tail = incomplete.rpartition("/")
    found = []
    with os.scandir(os.path.expanduser(head + slash) or ".") as entries:
        for entry in entries:
            if entry.name.startswith(tail) and (tail or not entry.name.startswith(".")):
                if entry.is_dir():
                    found.append(Candidate(f"{head}{slash}{entry.name}/", "", True))
                elif not folders:
                    found.append(Candidate(f"{head}{slash}{entry.name}"))
    return Answer(sorted(found))


def _matching(candidates: Iterable[Candidate], incomplete: str) -> Answer:
    return Answer([each for each in candidates if each.text.startswith(incomplete)])


# Asked by a shell ---------------------------------------------------------------------------------


def answer_shell(shell: str, args: Sequence[str], environ: Mapping[str, str]) -> str:
    """Return what the script of a shell reads: see `completion` for the three forms.

    `args` are the words after `gl`, the last one as far as it is typed; bash gives its line in the
    environment instead. Raises nothing: what fails completes nothing.
    """
    try:
        if shell == "bash":
            words, word = split_line(environ["_GL_LINE"])
            found = _without_end(_after_program(words), word)
            return format_bash(found, word, environ.get("_GL_BREAKS", ""))
        if shell == "fish":
            word = split_line(args[-1])[1]
            return format_fish(_without_end(args[:-1], word), word.text)
        return format_zsh(complete_line(args[:-1], args[-1]), args[-1])
    except Exception:  # nobody asked for a traceback in the middle of a line
        if environ.get("_GL_COMPLETE_DEBUG"):
            raise
        return ""


def _after_program(words: Sequence[str]) -> list[str]:
    """Return the words after `gl`, before which variables may be set: `NO_COLOR=1 gl show`."""
    place = 0
    while place < len(words) and re.match(r"\w+=", words[place]):
        place += 1
    return [*words[place + 1 :]]


def _without_end(words: Sequence[str], word: Word) -> Answer:
    """Return what can stand there, more than one where the shell would close a quote behind it.

    bash and fish close an open quote after the only candidate, although a filter goes on: then the
    candidates are it with what can follow.
    """
    found = complete_line(words, word.text)
    if not word.quote or len(found.candidates) != 1 or not found.candidates[0].more:
        return found
    whole = word.text[: found.kept] + found.candidates[0].text
    whole += "" if whole.endswith(("(", "/")) else " "
    following = complete_line(words, whole)
    candidates = [
        each._replace(text=whole[: following.kept] + each.text) for each in following.candidates
    ]
    if len(candidates) < 2:
        candidates = [Candidate(whole.rstrip()), Candidate(f"{whole.rstrip()} ")]
    return Answer(candidates)
