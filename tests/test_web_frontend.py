"""The viewer's scripts: their own tests, what they are built from, and pages without them."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from guildlite.web.numbers import format_value
from guildlite.web.scripts import Scripts

FRONTEND = Path(__file__).parents[1] / "guildlite" / "web" / "frontend"
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not FRONTEND.joinpath("node_modules/esbuild").exists(),
    reason="the packages of the viewer's scripts are not installed here",
)


@pytest.fixture
def hook() -> ModuleType:
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location(
        "guildlite_hatch_build", FRONTEND.parent / "hatch_build.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_node
def test_the_scripts_pass_their_own_tests() -> None:
    done = subprocess.run(
        ["node", "test.mjs"], cwd=FRONTEND, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_node
def test_types_are_right() -> None:
    compiler = FRONTEND / "node_modules/.bin/tsc"
    if not compiler.exists():
        pytest.skip("TypeScript is not installed; `npm ci` in guildlite/web/frontend does it")
    done = subprocess.run(
        [compiler, "--noEmit"], cwd=FRONTEND, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout


@needs_node
def test_numbers_read_as_the_pages_write_them(tmp_path: Path) -> None:
    values = [0.0, 1.0, -1.0, 0.5, 1 / 3, 12345.678, 999999.5, 1e-5, 1.5e-9, 123456789.0, 2.5e12]
    values += [-v for v in values[1:]] + [math.pi * 10.0**power for power in range(-8, 12)]
    units = ["", "ratio", "bytes", "bytes/s", "W"]
    cases = [[v, unit, format_value(v, unit)] for v in values for unit in units]
    script = tmp_path / "numbers.ts"
    script.write_text(
        f"import {{ formatNumber }} from {json.dumps(str(FRONTEND / 'src/lib/numbers.ts'))};\n"
        f"for (const [value, unit, text] of {json.dumps(cases)})\n"
        "  if (formatNumber(value, unit) !== text)\n"
        "    console.log(value, unit, formatNumber(value, unit), text);\n"
    )
    bundle = tmp_path / "numbers.mjs"
    subprocess.run(
        [FRONTEND / "node_modules/.bin/esbuild", script, "--bundle", "--format=esm",
         f"--outfile={bundle}", "--log-level=error"],
        check=True, timeout=60,
    )  # fmt: skip
    done = subprocess.run(["node", bundle], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""


def test_the_lock_file_names_no_host_and_every_platform() -> None:
    text = FRONTEND.joinpath("package-lock.json").read_text()
    assert "resolved" not in text
    packages = json.loads(text)["packages"]
    assert sum(name.startswith("node_modules/@esbuild/") for name in packages) == 26
    assert all("integrity" in entry for name, entry in packages.items() if name)


def test_what_is_fresh_is_not_built_again(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dist = tmp_path / "dist"
    monkeypatch.setattr(hook, "DIST", dist)
    monkeypatch.setattr(hook, "STAMP", dist / "build.json")
    assert not hook.is_fresh()
    hook._write_stamp(hook.digest(), None)
    assert not hook.is_fresh()  # no bundle beside it
    dist.joinpath("manifest.json").write_text("{}")
    assert hook.is_fresh()
    hook._write_stamp("another", None)
    assert not hook.is_fresh()


def test_a_build_that_fails_leaves_the_reason(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "DIST", tmp_path)
    monkeypatch.setattr(hook, "STAMP", tmp_path / "build.json")
    monkeypatch.setattr(hook, "node_command", lambda: None)
    with pytest.raises(hook.BuildFailed, match="no Node"):
        hook.build()


def test_pages_say_why_they_have_no_scripts(tmp_path: Path) -> None:
    assert Scripts(tmp_path).problem == "they were not built"
    tmp_path.joinpath("build.json").write_text('{"digest": null, "problem": "no Node"}')
    without = Scripts(tmp_path)
    assert (without.problem, without.has("metrics"), without.tags("metrics")) == (
        "no Node",
        False,
        "",
    )
