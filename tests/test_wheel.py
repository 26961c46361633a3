"""The wheel carries what an installed gl needs, and nothing that lies about in a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from this checkout, unpacked."""
    made = tmp_path_factory.mktemp("wheel")
    # A file that a run of the example leaves in a checkout.
    stray = ROOT / "examples/digits/data/stray.npz"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"x")
    try:
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(made), str(ROOT)],
            check=True,
            capture_output=True,
        )
    finally:
        stray.unlink()
    (wheel,) = made.glob("*.whl")
    target = made / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


@pytest.mark.slow
def test_what_is_in_it(unpacked: Path) -> None:
    names = {file.relative_to(unpacked).as_posix() for file in unpacked.rglob("*")}
    for needed in (
        "guildlite/py.typed",
        "guildlite/cli/help.txt",
        "guildlite/runs/schema.sql",
        "guildlite/web/templates/base.html",
        "guildlite/web/static/page.css",
        "guildlite/serve/templates/index.html",
        "guildlite/examples/digits/project.yml",
        "guildlite/examples/digits/request.json",
        "guildlite/examples/project.yml.example",
    ):
        assert needed in names
    assert not [name for name in names if "/digits/data" in name or "/digits/runs" in name]
    assert {name.split("/")[0] for name in names} <= {"guildlite", "guildlite-0.1.0.dist-info"}


@pytest.mark.slow
def test_the_example_comes_out_of_it(unpacked: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "guildlite", "init", "--example", "digits"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("project.yml", "expert.py", "request.json"):
        assert (tmp_path / name).read_bytes() == (ROOT / "examples/digits" / name).read_bytes()
