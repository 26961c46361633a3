"""Fixtures every test may use; what they are made of is in `support`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.processes import Front, left_over

from guildlite.runs import Run, RunStore
from guildlite.transfer.referee import use_own_reader

pytest_plugins = ["support.browsing"]

# TensorBoard is a referee here: with its own reader, whatever else is installed.
use_own_reader()
# What is ignored here would be ignored by the processes that tests start, as under nohup.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

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


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Callable[..., Front]]:
    """Start gl in the test's directory; whatever is left of any run is killed afterwards."""
    fronts: list[Front] = []

    def start(*words: str, **settings: object) -> Front:
        fronts.append(Front(tmp_path, *words, **settings))  # type: ignore[arg-type]
        return fronts[-1]

    yield start
    for one in fronts:
        one.process.kill()
        one.process.communicate(timeout=10)
    for process in left_over(tmp_path):
        with contextlib.suppress(psutil.Error):
            process.kill()


@pytest.fixture
def own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of the test's own, where the search for a project file ends, and no environment."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the forty-option trainer and what often stands beside one."""
    root = tmp_path / "my digits"
    root.mkdir()
    shutil.copy(Path(__file__).parent / "scripts" / "argparse_forty.py", root / "train.py")
    for name in ("prepare_data.py", "evaluate.py", "main.py", "test_train.py", "model.py"):
        (root / name).write_text("print('x')\n")
    return root
