"""Fills in the parts of the documentation that are made from the code.

    python docs/generate.py

A page says where such a part stands: between `<!-- generated: NAME -->` and `<!-- end -->`. The
prose around it is written by hand and left alone. `tests/test_docs.py` fails when a page is not
what this would write.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

import click  # noqa: E402

import guildlite  # noqa: E402
from guildlite import api  # noqa: E402
from guildlite.cli.commands import COMMANDS, FAMILIES  # noqa: E402
from guildlite.cli.group import gl  # noqa: E402
from guildlite.collect.facts import _ENVIRONMENT  # noqa: E402
from guildlite.errors import GuildliteError  # noqa: E402
from guildlite.projectkeys import iter_keys  # noqa: E402
from guildlite.query.fields import ATTRIBUTES  # noqa: E402
from guildlite.query.syntax import GRAMMAR  # noqa: E402
from guildlite.query.views import VIEWS  # noqa: E402
from guildlite.runs.schema import metadata  # noqa: E402

_PART = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """Return every page of the documentation, README.md first; decisions are dated, not kept up."""
    found = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", *(page for page in found if "decisions" not in page.parts)]


def fill_in(text: str) -> str:
    """Return a page's text with every generated part written anew. Raises KeyError for a name."""
    return _PART.sub(lambda match: f"{match[1]}\n{PARTS[match['name']]()}\n", text)


# Markdown -----------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


# Commands -----------------------------------------------------------------------------------------


def get_command(name: str) -> click.Command:
    """Return the command `name` of gl, imported from where the table says it is."""
    command = getattr(import_module(f"guildlite.cli.{COMMANDS[name][0]}"), name)
    assert isinstance(command, click.Command)
    return command


def options(command: click.Command) -> Iterator[click.Option]:
    """Yield the options that a command's reference lists; all have `--help`."""
    for param in command.params:
        if isinstance(param, click.Option) and not param.hidden:
            yield param


def _command_table(link: str) -> str:
    rows = [
        (f"[`gl {name}`]({link}#gl-{name})", text)
        for commands in FAMILIES.values()
        for name, (_, text) in commands.items()
    ]
    return _table(("command", "does"), rows)


def _command_sections() -> str:
    return "\n".join(_command_section(name, get_command(name)) for name in COMMANDS)


def _command_section(name: str, command: click.Command) -> str:
    arguments = [
        param.metavar or param.human_readable_name
        for param in command.params
        if isinstance(param, click.Argument)
    ]
    text, _, examples = inspect.cleandoc(command.help or "").partition("\n\n\b\nExample")
    examples = inspect.cleandoc(examples.partition("\n")[2])
    parts = [f"## gl {name}\n", f"```\n{' '.join(['gl', name, '[OPTIONS]', *arguments])}\n```\n"]
    parts += [text + "\n"]
    rows = [_option_row(option) for option in options(command)]
    parts += [_table(("option", "does"), rows)] if rows else []
    parts += [f"```sh\n{examples}\n```\n"] if examples else []
    return "\n".join(parts)


def _option_row(option: click.Option) -> tuple[str, str]:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag else f" {_metavar(option)}"
    default = f"; default {option.default}" if option.show_default is True else ""
    return names + value, f"{option.help}{default}"


def _metavar(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return " | ".join(str(choice) for choice in option.type.choices)
    return option.metavar or option.type.name.upper().split()[0]


def _global_options() -> str:
    return _table(("option", "does"), [_option_row(option) for option in options(gl)])


# Project file -------------------------------------------------------------------------------------

#: Path of the mapping that a section is about → its heading. In the order of `iter_keys`.
_SECTIONS = {
    "": "The file",
    "flags.NAME": "A flag",
    "models.NAME": "A model",
    "models.NAME.prepare": "An operation",
    "resources.NAME": "A resource",
    "metrics.NAME": "A metric",
    "view": "The viewer",
    "view.charts[]": "A chart",
}


def _project_keys() -> str:
    sections: dict[str, list[tuple[str, str, str, str]]] = {name: [] for name in _SECTIONS}
    for key in iter_keys():
        prefix, _, name = key.path.rpartition(".")
        sections[prefix].append((f"`{name}`", key.type, key.help, key.default or ""))
    head = ("key", "takes", "says", "when left out")
    return "\n".join(
        f"## {_SECTIONS[prefix]}\n\n"
        + (f"Keys of `{prefix}`.\n\n" if prefix else "")
        + _table(head, rows)
        for prefix, rows in sections.items()
    )


# run.db -------------------------------------------------------------------------------------------


def _tables() -> str:
    parts = []
    for table in metadata.tables.values():
        key = ", ".join(f"`{column.name}`" for column in table.primary_key)
        rows = [
            (f"`{column.name}`", str(column.type).lower(), column.comment or "")
            for column in table.columns
        ]
        intro = f"{_sentence(str(table.comment))} Primary key: {key}."
        parts.append(f"## {table.name}\n\n{intro}\n\n{_table(('column', 'type', 'is'), rows)}")
    return "\n".join(parts)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


# Filters and SQL ----------------------------------------------------------------------------------


def _attributes() -> str:
    rows = [(f"`{name}`", kind, meaning) for name, (kind, meaning) in ATTRIBUTES.items()]
    return _table(("attribute", "type", "is"), rows)


def _views() -> str:
    parts = []
    for name, (what, columns, _) in VIEWS.items():
        rows = [(f"`{column}`", meaning) for column, (_, meaning) in columns.items()]
        parts.append(f"## {name}\n\n{_sentence(what)}\n\n{_table(('column', 'is'), rows)}")
    return "\n".join(parts)


# Python -------------------------------------------------------------------------------------------


def _python() -> str:
    parts = []
    for name in sorted(api.__all__, key=lambda name: (name[:1].isupper(), name)):
        public = getattr(api, name)
        if inspect.isfunction(public):
            call = f"```\ngl.{name}({_parameters(public)})\n```\n"
            parts.append(f"## gl.{name}\n\n{call}\n{inspect.getdoc(public)}\n")
        elif public is not GuildliteError:
            parts.append(
                f"## {name}\n\n{inspect.getdoc(public)}\n\n{_members(public)}".strip() + "\n"
            )
    return "\n".join(parts)


def _members(public: type) -> str:
    rows = [
        (f"`{name}{'' if isinstance(value, property) else f'({_parameters(value)})'}`",
         inspect.getdoc(value) or "")
        for name, value in vars(public).items()
        if not name.startswith("_") and (isinstance(value, property) or inspect.isfunction(value))
    ]  # fmt: skip
    return _table(("has", "which is"), rows) if rows else ""


def _parameters(function: Callable[..., object]) -> str:
    """Return the parameters as the source has them, in one line and without `self`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    text = ast.unparse(tree.args)
    return text.removeprefix("self").removeprefix(", ")


# Errors -------------------------------------------------------------------------------------------


def error_classes() -> list[type[GuildliteError]]:
    """Return every kind of error for people, the base first, then by name."""
    # The last needs a library that is not in every installation, and has none.
    apart = ("__main__", "bootstrap", "over_httptools")
    for module in pkgutil.walk_packages(guildlite.__path__, "guildlite."):
        if not module.name.endswith(apart):
            import_module(module.name)
    return [GuildliteError, *sorted(_subclasses(GuildliteError), key=lambda each: each.__name__)]


def _subclasses(kind: type[GuildliteError]) -> set[type[GuildliteError]]:
    direct = {each for each in kind.__subclasses__() if each.__module__.startswith("guildlite.")}
    return direct.union(*(_subclasses(each) for each in direct))


def _errors() -> str:
    rows = [
        (
            f"`{each.__name__}`",
            inspect.cleandoc(each.__doc__ or "").partition("\n\n")[0].rstrip("."),
            str(each.exit_code),
            str(each.http_status),
        )
        for each in error_classes()
    ]
    return _table(("error", "means", "exit status", "HTTP status"), rows)


# Environment --------------------------------------------------------------------------------------


def _environment() -> str:
    return "\n".join(f"`{name}`" for name in sorted(_ENVIRONMENT)) + "\n"


PARTS: dict[str, Callable[[], str]] = {
    "commands": lambda: _command_table("docs/reference/commands.md"),
    "command-list": lambda: _command_table(""),
    "global-options": _global_options,
    "command-sections": _command_sections,
    "project-keys": _project_keys,
    "tables": _tables,
    "filter-grammar": lambda: f"```\n{GRAMMAR}```\n",
    "filter-attributes": _attributes,
    "views": _views,
    "python": _python,
    "errors": _errors,
    "environment": _environment,
}


def main() -> None:
    """Write every page that is not as it should be, and name it."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        filled = fill_in(text)
        if filled != text:
            page.write_text(filled, encoding="utf-8")
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
