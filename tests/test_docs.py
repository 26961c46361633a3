"""The documentation is true: generated parts, coverage, links, blocks, and what commands print."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
import transcripts
import yaml
from fastapi import FastAPI
from starlette.routing import Route

from guildlite.cli.commands import COMMANDS
from guildlite.project import load_project
from guildlite.projectkeys import iter_keys
from guildlite.runs.paths import OperationPaths, RunPaths
from guildlite.runs.run import Status
from guildlite.runs.schema import SQL_FILE, metadata
from guildlite.series import KINDS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"


def _load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _load_generator()
PAGES: list[Path] = generate.pages()
SESSIONS = [page for page in PAGES if transcripts.session_of(page.read_text(encoding="utf-8"))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


# Generated ----------------------------------------------------------------------------------------


@each_page
def test_generated_parts_are_what_the_code_says(page: Path) -> None:
    text = read(page)
    assert text.count("<!-- generated: ") == text.count("<!-- end -->")
    assert generate.fill_in(text) == text, "run `python docs/generate.py`"


def test_hand_written_text_around_generated_parts_is_kept() -> None:
    text = "before\n<!-- generated: global-options -->\nold\n<!-- end -->\nafter\n"
    filled = generate.fill_in(text)
    assert filled.startswith("before\n<!-- generated: global-options -->\n")
    assert filled.endswith("<!-- end -->\nafter\n")
    assert "old" not in filled and "| `-C` DIR |" in filled


# Coverage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_and_option_is_in_the_reference(name: str) -> None:
    section = _section(read(REFERENCE / "commands.md"), f"## gl {name}")
    for param in generate.get_command(name).params:
        if isinstance(param, click.Option):
            for spelling in param.opts:
                assert f"`{spelling}`" in section
        else:
            assert (param.metavar or param.human_readable_name) in section
    assert f"`gl {name}`" in read(ROOT / "README.md")


def test_each_project_key_is_in_the_reference_and_in_the_example() -> None:
    page, example = read(REFERENCE / "project-file.md"), read(ROOT / "project.yml.example")
    for key in iter_keys():
        name = key.path.rpartition(".")[2]
        assert f"| `{name}` |" in page
        assert re.search(rf"\b{name}:", example), key.path


def test_each_table_and_column_is_in_the_reference() -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript(SQL_FILE.read_text())
    names = [
        row[0] for row in connection.execute("select name from sqlite_master where type='table'")
    ]
    assert sorted(names) == sorted(metadata.tables)
    for table in names:
        section = _section(read(REFERENCE / "run-db.md"), f"## {table}")
        for column in connection.execute(f"select name from pragma_table_info('{table}')"):
            assert f"| `{column[0]}` |" in section
    connection.close()


def test_each_error_is_listed_with_its_exit_status() -> None:
    page = read(REFERENCE / "errors.md")
    for kind in generate.error_classes():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{kind.__name__}` "))
        assert row.split(" | ")[-2:] == [str(kind.exit_code), f"{kind.http_status} |"]
        assert f"\n| {kind.exit_code} |" in page


def test_each_environment_variable_is_in_the_reference() -> None:
    named = {"RUNDIR", "PROJECT", "GPU_COUNT", "NO_COLOR", "VIRTUAL_ENV", "CONDA_PREFIX"}
    quoted = re.compile(r"[\"']((?:GUILDLITE|GL|EVAL)_[A-Z_]+)[\"']")
    for module in (ROOT / "guildlite").rglob("*.py"):
        named |= set(quoted.findall(read(module)))
    page = read(REFERENCE / "environment.md")
    assert len(named) > 8
    for name in named:
        assert f"`{name}`" in page


def test_each_file_of_a_run_is_in_the_reference() -> None:
    page = read(REFERENCE / "run-directory.md")
    run = RunPaths(Path("run"))
    own = {path for path in vars(run).values() if isinstance(path, Path)}
    for path in own - {run.run_dir, run.root, run.meta, run.ops, run.samples}:
        assert f"`{path.relative_to('run').as_posix()}" in page
    later: OperationPaths = run.operation("2-evaluate")
    assert f"`{later.root.relative_to('run').as_posix()}/`" in page
    assert f"`{later.samples.relative_to('run').as_posix()}`" in page


def test_each_status_is_explained() -> None:
    for status in Status:
        assert f"| `{status}` |" in read(DOCS / "how-to" / "recover.md")
        assert f"`{status}`" in read(DOCS / "concepts.md")


def test_each_kind_and_system_series_is_in_the_reference() -> None:
    page = read(REFERENCE / "series.md")
    for kind in KINDS:
        assert f"`{kind}`" in page
    text = read(ROOT / "guildlite" / "collect" / "system.py")
    keys = set(re.findall(r"\"((?:sys|op)/[a-z/]+)\"", text))
    assert len(keys) > 12
    for key in keys:
        assert f"`{key}`" in page


def test_each_address_of_the_servers_is_in_the_reference(tmp_path: Path) -> None:
    from guildlite.serve.app import HEALTH_PATHS
    from guildlite.web.app import create_app

    page = read(REFERENCE / "http.md")
    found = re.findall(r"@app\.(get|post)\(\"([^\"]+)\"", read(ROOT / "guildlite/serve/app.py"))
    assert ("post", "/run") in found
    for method, path in [*found, *(("get", path) for path in HEALTH_PATHS)]:
        assert f"`{method.upper()} {path}`" in page

    viewer = create_app(tmp_path, None).app
    assert isinstance(viewer, FastAPI)
    pages = {route.path for route in viewer.routes if isinstance(route, Route)}
    for path in pages | set(viewer.openapi()["paths"]):
        if not path.startswith(("/static", "/api/v1/runs/{run_id}/")) and path != "/":
            shown = path.replace("{path:path}", "PATH").replace("{run_id}", "ID")
            shown = shown.replace("{section}", "SECTION")
            assert re.search(rf"(`| ){re.escape(shown)}(`|\?)", page), path


def test_what_is_not_there_yet_is_not_there() -> None:
    assert not _planned() & {*COMMANDS}


@each_page
def test_commands_spoken_of_exist(page: Path) -> None:
    # Keys of the project file may say what they are for before it is there.
    early = {ROOT / "README.md", REFERENCE / "project-file.md"}
    known = {*COMMANDS} | (_planned() if page in early else set())
    assert set(re.findall(r"`gl (?:-C \S+ )?([a-z]+)\b", read(page))) <= known


def _planned() -> set[str]:
    """Return the commands that README.md calls not there yet."""
    section = _section(read(ROOT / "README.md"), "## Not there yet")
    return set(re.findall(r"`gl (\w+)`", section)) - {"serve"}


def _section(text: str, heading: str) -> str:
    """Return what stands below a heading up to the next of its level."""
    level = heading.partition(" ")[0]
    match = re.search(rf"(?ms)^{re.escape(heading)}$(.*?)(?=^{level} |\Z)", text)
    assert match is not None, heading
    return match[1]


# Links --------------------------------------------------------------------------------------------


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    text = _without_code(read(page))
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    links += re.findall(r"(?:src|srcset)=\"([^\"]+)\"", text)
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in set(_anchors(read(target))), link


def test_the_index_leads_to_every_page() -> None:
    index = read(DOCS / "README.md")
    for page in PAGES[1:]:
        if page != DOCS / "README.md":
            assert f"]({page.relative_to(DOCS).as_posix()})" in index
    assert "](docs/README.md)" in read(ROOT / "README.md")


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]+`", "", re.sub(r"(?ms)^```.*?^```$", "", text))


def _anchors(text: str) -> Iterator[str]:
    """Yield the anchors GitHub gives to the headings of a page."""
    for heading in re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^```.*?^```$", "", text)):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# Blocks -------------------------------------------------------------------------------------------


def _blocks(language: str) -> list[object]:
    return [
        pytest.param(block.body, id=f"{name_of(page)}:{read(page)[: block.start].count(chr(10))}")
        for page in PAGES
        for block in transcripts.blocks(read(page))
        if block.language == language
    ]


def test_blocks_are_in_known_languages() -> None:
    known = {"", "sh", "console", "python", "yaml", "json", "sql"}
    for page in PAGES:
        assert {block.language for block in transcripts.blocks(read(page))} <= known, page


@pytest.mark.parametrize("body", _blocks("python"))
def test_python_blocks_compile(body: str) -> None:
    ast.parse(body)


@pytest.mark.parametrize("body", _blocks("json"))
def test_json_blocks_are_json(body: str) -> None:
    json.loads(body)


@pytest.mark.parametrize("body", _blocks("yaml"))
def test_yaml_blocks_are_project_files(body: str, tmp_path: Path) -> None:
    assert isinstance(yaml.safe_load(body), dict)
    (tmp_path / "project.yml").write_text(body)
    load_project(tmp_path / "project.yml")


@pytest.mark.parametrize("body", _blocks("sql"))
def test_sql_blocks_fit_the_tables(body: str) -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript(SQL_FILE.read_text())
    connection.execute(f"explain {body}").fetchall()
    connection.close()


@pytest.mark.parametrize("body", _blocks("sh"))
def test_sh_blocks_are_shell_and_their_commands_exist(body: str) -> None:
    subprocess.run(["sh", "-n"], input=body, text=True, check=True)
    for line in body.splitlines():
        words = shlex.split(line.partition(" > ")[0], comments=True)
        if words[:1] == ["sh"]:
            assert (ROOT / words[1]).is_file()
        if words[:1] == ["gl"]:
            words = words[3:] if words[1] == "-C" else words[1:]
            # Parses the words and runs nothing; a wrong option or a missing word raises.
            generate.get_command(words[0]).make_context(words[0], words[1:]).close()


# Sessions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", SESSIONS, ids=name_of)
def test_sessions_print_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    for _, command, shown, printed in transcripts.play(read(page), tmp_path):
        wanted = transcripts.normalised(shown), transcripts.normalised(printed)
        assert transcripts.agree(shown, printed), (command, *wanted)


def test_sessions_cover_the_way_in() -> None:
    pages = {name_of(page) for page in SESSIONS}
    assert {"README.md", "docs/tutorial.md", "docs/how-to/own-script.md"} <= pages
    tutorial = read(DOCS / "tutorial.md")
    for words in (
        "gl prepare",
        "gl train expert --profile quick",
        "gl evaluate --latest-run",
        "gl serve --latest-run",
        "curl -s http://localhost:6444/run -d @request.json",
    ):
        assert f"$ {words}\n" in tutorial


def test_the_readme_names_the_lines_that_the_quickstart_prints() -> None:
    readme, script = read(ROOT / "README.md"), read(ROOT / "examples" / "quickstart")
    for shown, printed in [
        ("gl view", "$run view"),
        ("gl serve --latest-run", "$run serve --latest-run"),
        ("curl http://localhost:6444/run -d @request.json", "curl http://localhost:6444/run -d "),
    ]:
        assert f"\n{shown}\n" in readme
        assert f"\n{printed}" in script


@pytest.mark.parametrize(
    ("shown", "printed", "agrees"),
    [
        ("run  runs/20261120T174501Z-a\n", "run      runs/20270101T000000Z-a\n", True),
        ("20261120T174501Z-a-2 1s ago\n", "20261120T174501Z-a now\n", True),
        ("loss 0.25\n", "loss -1e-3\n", True),
        ("✓ completed  1.5s\n", "✗ failed  1.5s\n", False),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\nd\n", "a\nb\nc\n", False),
        ("a\n", "a\nb\n", False),
        ("python: /home/you/.venv/bin/python3 x.py", "python: /usr/bin/python3.12 x.py", True),
        ("", "", True),
        ("", "something\n", False),
    ],
)
def test_agreement_looks_past_numbers_and_places_only(
    shown: str, printed: str, agrees: bool
) -> None:
    assert transcripts.agree(shown, printed) is agrees
