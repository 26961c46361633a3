"""Reading many runs: guildlite against Trackio, Guild AI, Aim and MLflow (SQLite).

    python tests/benchmarks/trackers.py [--turns N] [--place DIRECTORY]

1,000 runs of 5 flags and 5 series of 200 points, and one series of 100,000 points, written and read
by each tracker's own means (`trackers_side.py`), each in an environment of its own under DIRECTORY,
which is made by pip when it is missing and kept, as are the runs: a first time takes 20 minutes.
What cannot be installed is left out, loudly. The trackers take turns; a figure is the median of the
turns, each of which counts its fastest answer after the first: CPU seconds, because a shared
machine slows all of them alike. Goals: the table with last, min and max of every series and all
flags at least 20 times faster than the fastest other, the series 3 times.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SIDE = Path(__file__).with_name("trackers_side.py")
RUNS = 1000
#: Tracker → (Pythons it runs on, the best first; what pip installs).
PEERS = {
    "trackio": (("3.11", "3.12", "3.10"), ["trackio==0.43.0"]),
    "guild": (
        ("3.10",),
        ["guildai==0.9.0", "protobuf==4.25.9", "tensorboard==2.20.0", "pandas<2.3", "numpy<2"],
    ),
    "aim": (("3.11", "3.10"), ["aim==3.29.1"]),
    "mlflow": (("3.11", "3.12", "3.10"), ["mlflow==3.17.2"]),
}


def find_python(versions: tuple[str, ...]) -> str | None:
    """Return an interpreter of one of the versions: on the path, or one of pyenv's."""
    for version in versions:
        if sys.version_info[:2] == tuple(map(int, version.split("."))):
            return sys.executable
        found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        path = found[-1] if found else shutil.which(f"python{version}")
        if path:
            return str(path)
    return None


def environment(name: str, place: Path) -> str | None:
    """Return the Python of a tracker's own environment, made when missing; None if impossible."""
    directory = place / name
    python, whole = directory / "bin" / "python", directory / "installed"
    if whole.exists():
        return str(python)
    versions, packages = PEERS[name]
    base = find_python(versions)
    if base is None:
        print(f"SKIPPED {name}: needs Python {' or '.join(versions)}", flush=True)
        return None
    print(f"installing {' '.join(packages)} ...", file=sys.stderr, flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    subprocess.run([base, "-m", "venv", directory], check=True)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if subprocess.run([*pip, *packages]).returncode:
        print(f"SKIPPED {name}: pip cannot install it here", flush=True)
        return None
    whole.touch()
    return str(python)


def run_side(python: str, name: str, verb: str, folder: Path) -> str:
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environ.pop("PYTHONPATH", None)
    if name == "guildlite":
        environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    words = [python, str(SIDE), name, verb, str(folder)]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"{name} {verb}: {done.stderr[-1500:]}")
    return done.stdout.splitlines()[-1] if done.stdout else ""


def fill(python: str, name: str, place: Path) -> Path:
    """Return the folder with the tracker's runs, written when it is not there."""
    folder = place / f"{name}-runs"
    if not folder.exists():
        print(f"writing the runs of {name} ...", file=sys.stderr, flush=True)
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        run_side(python, name, "fill", unfinished)
        unfinished.rename(folder)
    return folder


def report(answers: dict[str, list[dict[str, Any]]]) -> None:
    medians = {}
    for name, turns in answers.items():
        share = RUNS / turns[0]["runs"]
        table = statistics.median(min(turn["table_cpu"]) for turn in turns) * share
        medians[name] = (table, statistics.median(min(turn["series_cpu"]) for turn in turns))
        if share > 1:
            print(f"{name}: the table is of {turns[0]['runs']} runs, times {share:g}")
    ours = medians["guildlite"]
    print(f"{'':<12}{'table':>12}{'':>9}{'series':>12}")
    for name, (table, series) in medians.items():
        times = (f"{table / ours[0]:.1f} x", f"{series / ours[1]:.1f} x")
        print(f"{name:<12}{table:10.4f} s{times[0]:>9}{series:10.4f} s{times[1]:>9}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument(
        "--place", type=Path, default=Path(tempfile.gettempdir(), "guildlite-trackers")
    )
    parsed = parser.parse_args()
    place = parsed.place.resolve()
    place.mkdir(parents=True, exist_ok=True)
    pythons: dict[str, str] = {"guildlite": sys.executable}
    for name in PEERS:
        python = environment(name, place)
        if python is not None:
            pythons[name] = python
    folders = {name: fill(python, name, place) for name, python in pythons.items()}
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in pythons}
    for _ in range(parsed.turns):
        for name, python in pythons.items():
            answers[name].append(json.loads(run_side(python, name, "ask", folders[name])))
    report(answers)


if __name__ == "__main__":
    main()
