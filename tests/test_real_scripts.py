"""Scripts that know nothing of gl, through its verbs; the referees are other readers."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Gl

from guildlite.runs import Run, RunStore, Status

SCRIPTS = Path(__file__).parent / "scripts"
Latest = Callable[[], Run]


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], None]:
    """Copy a script of tests/scripts beside the runs."""
    return lambda name: shutil.copy(SCRIPTS / name, tmp_path)  # type: ignore[return-value]


def write(path: Path, text: str) -> None:
    path.write_text(textwrap.dedent(text), encoding="utf-8")


def values(run: Run, key: str) -> list[tuple[int, float]]:
    with run.read() as reader:
        return [(point.step, point.value) for point in reader.series(key)]


def keys(run: Run) -> set[str]:
    with run.read() as reader:
        return {summary.key for summary in reader.summaries()}


# --- Flags that only the source knows ----------------------------------------------------------


def test_argparse_with_40_options(gl: Gl, copied: Callable[[str], None], latest: Latest) -> None:
    copied("argparse_forty.py")
    done = gl("run", "argparse_forty.py", "lr=0.5", "epochs=4")
    assert done.returncode == 0, done.stderr
    expected = [(n, pytest.approx(math.exp(-0.5 * n), abs=1e-6)) for n in range(1, 5)]
    assert values(latest(), "output/loss") == expected
    with latest().read() as reader:
        flags = reader.flags()
    assert (flags["lr"], flags["epochs"]) == ("0.5", "4")
    wrong = gl("run", "argparse_forty.py", "epoch=4")
    assert wrong.returncode == 2 and "did you mean `epochs`?" in wrong.stderr


def test_click(gl: Gl, copied: Callable[[str], None], latest: Latest) -> None:
    copied("click_script.py")
    done = gl("run", "click_script.py", "steps=2", "lr=0.5", "shout=false")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "loss: 0.5000\nloss: 0.2500\n"
    assert [value for _, value in values(latest(), "output/loss")] == [0.5, 0.25]
    assert gl("run", "click_script.py", "lr=2").returncode == 2


def test_absl(gl: Gl, copied: Callable[[str], None], latest: Latest) -> None:
    pytest.importorskip("absl")
    copied("absl_script.py")
    done = gl("run", "absl_script.py", "steps=2", "shuffle=false")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "loss: 0.1000 shuffle=False\nloss: 0.0500 shuffle=False\n"
    assert [value for _, value in values(latest(), "output/loss")] == [0.1, 0.05]


def test_a_script_without_options(gl: Gl, copied: Callable[[str], None], latest: Latest) -> None:
    copied("constants_script.py")
    assert gl("run", "constants_script.py").returncode == 0
    assert latest().status == Status.COMPLETED


def test_a_script_that_crashes(gl: Gl, tmp_path: Path, latest: Latest) -> None:
    write(tmp_path / "train.py", """
        print("loss: 0.75")
        weights = {}
        weights["layer1"]
    """)  # fmt: skip
    done = gl("run", "train.py")
    assert done.returncode == 1 and "KeyError: 'layer1'" in done.stderr and "gl why" in done.stderr
    why = gl("why")
    assert "KeyError: 'layer1'" in why.stdout and "exit status 1" in why.stdout + why.stderr
    assert latest().status == Status.FAILED
    assert [value for _, value in values(latest(), "output/loss")] == [0.75]


# --- Loggers -----------------------------------------------------------------------------------


def event_referee(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Read event files with TensorBoard's own accumulator; keys as gl spells them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found: dict[str, list[tuple[int, float]]] = {}
    for folder in {path.parent for path in directory.rglob("events.out.tfevents.*")}:
        events = accumulator.EventAccumulator(str(folder), {"scalars": 0, "tensors": 0})
        events.Reload()
        head = "" if folder == directory else f"{folder.relative_to(directory).as_posix()}/"
        for tag in events.Tags()["scalars"]:
            found[head + tag] = [(each.step, each.value) for each in events.Scalars(tag)]
        for tag in events.Tags()["tensors"]:
            from tensorboard.util.tensor_util import make_ndarray

            rows = [(each.step, make_ndarray(each.tensor_proto)) for each in events.Tensors(tag)]
            # Keras writes its configuration as a text of no shape.
            numbers = [(step, value) for step, value in rows if value.dtype.kind in "fiub"]
            found[head + tag] = [(step, float(value)) for step, value in numbers if not value.shape]
    return found


def check_event_run(run: Run, least: int) -> None:
    expected = event_referee(run.path)
    assert len(expected) >= least
    for key, points in expected.items():
        assert repr(values(run, key)) == repr(points), key


def test_tensorboardx(gl: Gl, tmp_path: Path, latest: Latest) -> None:
    pytest.importorskip("tensorboardX")
    write(tmp_path / "train.py", """
        import os
        from tensorboardX import SummaryWriter
        for name in ("train", "validation"):
            with SummaryWriter(os.path.join(os.environ["RUNDIR"], name)) as writer:
                for step in range(50):
                    writer.add_scalar("loss", 1 / (step + 1), step)
                    writer.add_scalar("acc/top1", float("nan") if step == 7 else step / 3, step)
        print("loss: 0.5")
    """)  # fmt: skip
    done = gl("run", "train.py")
    assert done.returncode == 0, done.stderr
    check_event_run(latest(), 4)
    assert "output/loss" not in keys(latest())


def test_torch_summary_writer(gl: Gl, tmp_path: Path, latest: Latest) -> None:
    pytest.importorskip("torch")
    write(tmp_path / "train.py", """
        import os
        from torch.utils.tensorboard import SummaryWriter
        writer = SummaryWriter(os.environ["RUNDIR"])
        for step in range(20):
            writer.add_scalar("loss", 2.0 ** -step, step)
            writer.add_scalars("both", {"a": step, "b": -step}, step)
        writer.add_scalar("new", 1.5, 3, new_style=True)
        writer.add_hparams({"lr": 0.1}, {"hparam/acc": 0.5})
        writer.close()
    """)  # fmt: skip
    done = gl("run", "train.py")
    assert done.returncode == 0, done.stderr
    check_event_run(latest(), 4)


def test_keras_callback(gl: Gl, tmp_path: Path, latest: Latest) -> None:
    pytest.importorskip("tensorflow")
    write(tmp_path / "train.py", """
        import os
        import keras
        import numpy as np
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", metrics=["mae"])
        model.fit(
            np.ones((32, 4)), np.ones(32), epochs=3, validation_split=0.5,
            callbacks=[keras.callbacks.TensorBoard(os.environ["RUNDIR"])],
        )
    """)  # fmt: skip
    done = gl("run", "train.py", timeout=110)
    assert done.returncode == 0, done.stderr
    check_event_run(latest(), 4)
    assert "train/epoch_loss" in keys(latest())


def test_csv_without_a_header_that_is_removed_at_step_0(
    gl: Gl, tmp_path: Path, latest: Latest
) -> None:
    columns = ["step", "train/accuracy", "validation/accuracy", "train/loss", "validation/loss"]
    file = {"name": "p", "models": {"m": {"train": "t", "flags": {"rundir": "$RUNDIR"}}},
            "collect": {"metrics.csv": columns}}  # fmt: skip
    (tmp_path / "project.yml").write_text(json.dumps(file))
    write(tmp_path / "t.py", """
        import os, sys
        path = sys.argv[2] + "/metrics.csv"
        for step in range(0, 100, 10):
            if step == 0 and os.path.exists(path):
                os.remove(path)
            with open(path, "a") as file:
                row = [step, step / 100, step / 110, 1 / (step + 1), 2 / (step + 1)]
                file.write(",".join(map(str, row)) + "\\n")
    """)  # fmt: skip
    assert gl("train").returncode == 0
    run = latest()
    with open(run.path / "metrics.csv", newline="") as rows:
        expected = [[float(cell) for cell in row] for row in csv.reader(rows)]
    assert len(expected) == 10
    for number, key in enumerate(columns[1:], start=1):
        assert values(run, key) == [(row[0], row[number]) for row in expected]


def test_json_lines(gl: Gl, tmp_path: Path, latest: Latest) -> None:
    write(tmp_path / "train.py", """
        import json, os
        with open(os.environ["RUNDIR"] + "/log.jsonl", "w") as file:
            for step in range(1, 30):
                row = {"step": step, "loss": 1 / step, "eval": {"acc": step / 30}, "note": "x"}
                file.write(json.dumps(row) + "\\n")
                file.flush()
    """)  # fmt: skip
    assert gl("run", "train.py").returncode == 0
    run = latest()
    expected = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert values(run, "loss") == [(row["step"], row["loss"]) for row in expected]


# --- The digits example through the verbs ------------------------------------------------------


@pytest.mark.slow
def test_digits_through_all_verbs(gl: Gl, tmp_path: Path, latest: Latest) -> None:
    pytest.importorskip("sklearn")

    def ok(*words: str) -> subprocess.CompletedProcess[str]:
        done = gl(*words, timeout=110)
        assert done.returncode == 0, (words, done.stderr)
        return done

    ok("init", "--example", "digits")
    if not (tmp_path / "project.yml").exists():
        (folder,) = (path.parent for path in tmp_path.glob("*/project.yml"))
        for path in folder.iterdir():
            shutil.move(path, tmp_path)
    refused = gl("train", "expert")
    assert refused.returncode == 2 and "gl prepare expert" in refused.stderr
    assert "RUNDIR" not in os.environ
    ok("prepare", "expert")
    assert not (tmp_path / "runs").exists()
    trained = ok("train", "expert", "--profile", "quick")
    assert "validation/accuracy" in trained.stderr
    check_event_run(latest(), 4)
    ok("evaluate", "--latest-run")
    run = latest()
    assert [one.operation for one in run.later_operations()] == ["evaluate"]
    assert any(key.startswith("test/") for key in keys(run))
    assert "expert" in ok("runs").stdout
    for words in (["show"], ["logs"], ["why"], ["show", "--json"]):
        assert ok(*words).stdout
    ok("label", "1", "baseline")
    ok("note", "baseline", "first words")
    ok("mark", "baseline")
    again = Run(run.path)
    assert (again.label, again.note, again.marked) == ("baseline", "first words", True)
    ok("rm", "1")
    ok("restore", "1")
    assert latest().label == "baseline"
    detached = Path(ok("train", "expert", "epochs=2000", "-d").stdout.strip())
    assert Run(detached).status in (Status.PENDING, Status.RUNNING)
    ok("stop")
    assert Run(detached).status == Status.STOPPED
    assert gl("attach", detached.name).returncode != 0
    ok("rm", detached.name)
    ok("purge", "--yes")
    assert [each.id for each in RunStore(tmp_path / "runs").list()] == [run.id]


def test_the_interpreter_is_the_active_environments(gl: Gl, tmp_path: Path) -> None:
    write(tmp_path / "train.py", "import sys; print(sys.executable)")
    assert Path(gl("run", "train.py").stdout.strip()).resolve() == Path(sys.executable).resolve()
