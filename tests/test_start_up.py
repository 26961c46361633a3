"""What a command imports before it does its work: little, and nothing that waits for nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.run_dirs import START, make_run

import guildlite
from guildlite.runs import RunStore

ROOT = Path(guildlite.__file__).parents[1]

#: Own modules `gl --version` and `gl --help` may import.
FAST = {"guildlite", "guildlite.cli", "guildlite.cli.main"}

#: Own modules `gl runs` may import.
RUNS = FAST | {
    f"guildlite.{name}"
    for name in (
        "cache",
        "cli.commands",
        "cli.context",
        "cli.group",
        "cli.output",
        "cli.picking",
        "cli.runs",
        "cli.words",
        "defaults",
        "errors",
        "execute",
        "execute.catchup",
        "flags",
        "index",
        "index.fill",
        "index.index",
        "index.place",
        "index.reading",
        "index.record",
        "index.rows",
        "index.schema",
        "index.text",
        "platform",
        "project",
        "query",
        "query.ask",
        "query.fields",
        "query.nodes",
        "query.plain",
        "query.sql",
        "query.syntax",
        "runs",
        "runs.changes",
        "runs.compare",
        "runs.facts",
        "runs.migrations",
        "runs.paths",
        "runs.reader",
        "runs.run",
        "runs.store",
        "series",
        "wording",
    )
}

#: What makes a command slow; none of it is needed to list runs of a known project file.
HEAVY = {
    "asyncio",
    "difflib",
    "email",
    "fastapi",
    "http",
    "importlib.metadata",
    "jinja2",
    "logging",
    "numpy",
    "pandas",
    "psutil",
    "pydantic",
    "pynvml",
    "sqlalchemy",
    "ssl",
    "starlette",
    "tensorboard",
    "unittest",
    "urllib.request",
    "uvicorn",
    "yaml",
}
if sys.version_info >= (3, 11):
    HEAVY.add("subprocess")  # before, click brings it: the library's platform module needed it

REPORT = """
import sys
before = set(sys.modules)
from guildlite.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
finally:
    print("\\n".join(sorted(set(sys.modules) - before)), file=sys.stderr)
"""


def imported(directory: Path, *words: str) -> set[str]:
    """Return the modules a child process imports for `gl WORDS`."""
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "GUILDLITE_CACHE": str(directory / "cache"),
        "COVERAGE_PROCESS_START": "",
    }
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *words],
        cwd=directory,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return {line for line in done.stderr.splitlines() if line and " " not in line}


def own(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] == "guildlite"}


@pytest.mark.parametrize("word", ["--version", "--help", "-h"])
def test_help_and_version_import_next_to_nothing(word: str, tmp_path: Path) -> None:
    modules = imported(tmp_path, word)
    assert own(modules) <= FAST
    assert modules - own(modules) <= {"__future__", "gc", "encodings.utf_8_sig"}


def test_runs_imports_only_what_listing_needs(tmp_path: Path) -> None:
    project = tmp_path / "project.yml"
    project.write_text("models: {expert: {train: 'true'}}\nmetrics: {loss: {}}\n")
    # A file changed within the last two seconds is not yet believed to be known.
    os.utime(project, (START, START))
    store = RunStore(tmp_path / "runs")
    for index in range(2):
        make_run(store, flags={"lr": str(index)}, started=START + index, series={"loss": [1.0]})
    assert "yaml" in imported(tmp_path, "models")
    modules = imported(tmp_path, "runs")
    assert own(modules) <= RUNS
    assert modules & HEAVY == set()


def test_asking_an_index_needs_nothing_but_sqlite(tmp_path: Path) -> None:
    make_run(RunStore(tmp_path / "runs"), series={"loss": [1.0]})
    modules = imported(tmp_path, "query", "select * from runs")
    assert modules & HEAVY == set()


def test_json_imports_no_more(tmp_path: Path) -> None:
    make_run(RunStore(tmp_path / "runs"), series={"loss": [1.0]})
    modules = imported(tmp_path, "runs", "--json")
    assert own(modules) <= RUNS
    assert modules & HEAVY == set()
