"""CPU time of starting gl, as a ratio to `python -c pass`.

    python tests/benchmarks/start_up.py [ROUNDS]

The commands take turns within one round, so that a busy machine slows all of them alike; the
figure is the median of user and system time of the whole process tree. Goals: `--help` and
`--version` at most 5, `runs` with 100 runs at most 6.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.run_dirs import START, make_run  # noqa: E402

from guildlite.runs import RunStore  # noqa: E402

#: What an installed `gl` does, without depending on one being installed.
GL = "from guildlite.cli.main import main; main()"
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "gl --version": ["-c", GL, "--version"],
    "gl --help": ["-c", GL, "--help"],
    "import click": ["-c", "import click"],
    "gl": ["-c", GL],
    "gl runs": ["-c", GL, "runs"],
    "gl runs --all": ["-c", GL, "runs", "--all"],
    "gl runs --json": ["-c", GL, "runs", "--json"],
}


def cpu_s(words: list[str], directory: Path, environ: dict[str, str]) -> float:
    """Run Python with `words`; return user and system seconds of it and its children."""
    process = subprocess.Popen(
        [sys.executable, *words], cwd=directory, env=environ, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def make_project(directory: Path) -> None:
    """Write a project with 100 runs of five flags and twelve series each."""
    file = directory / "project.yml"
    file.write_text("models: {expert: {train: 'true'}}\nmetrics: {train/loss: {primary: true}}\n")
    os.utime(file, (START, START))
    store = RunStore(directory / "runs")
    for index in range(100):
        series = {f"sys/cpu{number}/util": [0.1, 0.2] for number in range(10)}
        series |= {"train/loss": [1.0, 0.5], "train/accuracy": [0.1, 0.9]}
        flags = {"lr": str(index / 100), "epochs": "5", "a": "1", "b": "2", "c": "x"}
        make_run(store, flags=flags, started=START + 60 * index, series=series)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make_project(directory)
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "GUILDLITE_CACHE": str(directory / "c")}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed gl is compiled
        times: dict[str, list[float]] = {label: [] for label in COMMANDS}
        for _ in range(rounds + 1):
            for label, words in COMMANDS.items():
                times[label].append(cpu_s(words, directory, environ))
    # The first round compiles and fills the cache.
    medians = {label: statistics.median(values[1:]) for label, values in times.items()}
    base = medians["python -c pass"]
    for label, median in medians.items():
        print(f"{label:<16} {median * 1000:7.1f} ms  {median / base:5.1f} x")


if __name__ == "__main__":
    main()
