"""Fixtures every test may use. Places are passed in, so nothing is redirected."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guildlite.runs import Run, RunStore

Gl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory of the test's own, so that no test sees what another left."""
    path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GUILDLITE_CACHE", str(path))
    for name in ("RUNDIR", "GPU_COUNT", "PROJECT", "GL_OPERATION", "EVAL_RUN_ONCE"):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """An empty store."""
    return RunStore(tmp_path / "runs")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with a project of one model, whose script prints and ends."""
    (tmp_path / "project.yml").write_text(
        "name: tiny\n"
        "interval: 0.2\n"
        "flags: {lr: 0.5, rundir: $RUNDIR}\n"
        "models:\n"
        "  tiny: {train: train, evaluate: evaluate, prepare: prepare}\n"
    )
    script = "import sys\nprint('loss: 0.25')\nprint('args', sys.argv[1:])\n"
    for name in ("train", "evaluate", "prepare"):
        (tmp_path / f"{name}.py").write_text(script)
    return tmp_path


@pytest.fixture
def gl(tmp_path: Path) -> Iterator[Gl]:
    """Run gl as a process in the test's directory; the result has stdout, stderr, returncode."""

    def run(
        *words: str, cwd: Path = tmp_path, timeout: float = 60, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "guildlite", *words],
            cwd=cwd,
            env={**os.environ, "NO_COLOR": "1", **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    yield run


@pytest.fixture
def latest(tmp_path: Path) -> Callable[[], Run]:
    """Return the newest run under the test's `runs`."""
    return lambda: RunStore(tmp_path / "runs").list()[0]
