"""A project whose scripts do what tests of starting need, and forms as browsers send them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import httpx

from guildlite.runs import Run, RunStore

PROJECT = """
name: digits
interval: 0.2
flags:
  epochs: {default: 10, type: int, min: 1, max: 500, step: 5, help: passes over the examples}
models:
  expert:
    default: true
    description: A small network
    prepare: prepare.py
    train: train.py
    evaluate: evaluate.py
    operations: {export: train.py}
    flags:
      lr: {default: 0.5, type: float, min: 0, scale: log, help: learning rate}
      optimizer: {default: sgd, choices: [sgd, adam, rmsprop]}
      dtype: {default: f32, choices: [f16, bf16, f32, f64, i8]}
      augment: true
      datadir: {default: ./data, type: path}
      rundir: $RUNDIR
      api_key: {help: of the model hub}
  needy:
    train: train.py
    prepare: prepare.py
    requires: [./samples]
    flags: {must: {required: true}}
profiles:
  quick: {epochs: 1, augment: false}
  slow: {epochs: 100}
"""

TRAIN = """
import json, os, sys, time
print("loss: 0.25", flush=True)
with open(os.environ["RUNDIR"] + "/argv.json", "w") as file:
    json.dump([sys.argv[1:], {n: v for n, v in os.environ.items() if "TOKEN" in n}], file)
while os.path.exists("wait"):
    time.sleep(0.02)
"""


def make_place(directory: Path) -> RunStore:
    """Write the project; while a file `wait` is there, its `train.py` runs on."""
    (directory / "project.yml").write_text(PROJECT)
    (directory / "train.py").write_text(TRAIN)
    (directory / "evaluate.py").write_text("print('accuracy: 0.9')\n")
    (directory / "prepare.py").write_text(
        "import os\nos.makedirs('samples', exist_ok=True)\nprint('made samples')\n"
    )
    (directory / "data").mkdir()
    return RunStore(directory / "runs")


def send(client: httpx.Client, path: str, *pairs: tuple[str, str], **words: str) -> httpx.Response:
    """Send a form from a page of this very viewer."""
    origin = str(client.base_url).rstrip("/")
    fields = [*pairs, *words.items()]
    headers = {"origin": origin, "content-type": "application/x-www-form-urlencoded"}
    return client.post(path, content=urlencode(fields).encode(), headers=headers)


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def ended(run: Run) -> Run:
    """Return the run once it has ended and is sealed."""
    until(lambda: not run.fresh().busy() and not run.paths.heartbeat.exists())
    return run.fresh()
