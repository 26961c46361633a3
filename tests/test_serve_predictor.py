"""The user's own code as a model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.servers import running

from guildlite.errors import GuildliteError, UsageError
from guildlite.http import RequestError
from guildlite.serve.app import create_app
from guildlite.serve.command import Source, check_run
from guildlite.serve.engine import Engine
from guildlite.serve.model import TensorSpec
from guildlite.serve.runtimes.predictor import PredictorRuntime

CODE = """
import numpy as np
from guildlite.serve import ModelRefused

calls = []

def double(x):
    calls.append(len(x))
    return 2 * x

double.inputs = [("x", "FP32", [-1])]

def free(text, times=1):
    if times > 3:
        raise ModelRefused("at most three times")
    return {"answer": text * times, "none": float("nan"), "array": np.float32([0.1])}

class Model:
    inputs = [("x", "FP32", [-1, 2])]
    outputs = [("sum", "FP32", [-1]), ("label", "BYTES", [-1])]
    batchable = True
    closed = False

    def __init__(self, run_dir):
        self.factor = float((run_dir / "factor").read_text())

    def warmup(self):
        self.warm = True

    def predict(self, x):
        sums = (self.factor * x.sum(axis=1)).astype("float32")
        return sums, np.array(["high" if s > 3 else "low" for s in sums])

    def close(self):
        Model.closed = True

class Broken:
    def __init__(self, run_dir):
        raise RuntimeError("no weights")

wrong = lambda x: x
wrong.inputs = [("x", "float", [-1])]
number = 5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "own_code.py").write_text(CODE)
    (tmp_path / "factor").write_text("10")
    before = list(sys.path)
    yield tmp_path
    sys.path[:] = before
    for name in ("own_code", "bad_code"):
        sys.modules.pop(name, None)


def load(folder: Path, word: str) -> PredictorRuntime:
    return PredictorRuntime(word, folder=folder, run_dir=folder, name="m")


def ask(runtime: PredictorRuntime, *instances: Any) -> Any:
    engine = Engine(runtime)
    if not engine.info.free:
        engine.warm_up()
    return json.loads(engine.answer(json.dumps(instances).encode()))


def test_a_function_is_asked_row_by_row(folder: Path) -> None:
    runtime = load(folder, "own_code:double")
    assert runtime.info.outputs == (TensorSpec("prediction", "FP32", (-1,)),)
    assert ask(runtime, {"x": 1}, {"x": 2}) == [{"prediction": 2}, {"prediction": 4}]
    assert sys.modules["own_code"].calls[-2:] == [1, 1]


def test_a_class_knows_the_run_and_may_take_batches(folder: Path) -> None:
    runtime = load(folder, "own_code:Model")
    answers = ask(runtime, {"x": [0.1, 0.1]}, {"x": [1, 2]})
    assert answers == [{"sum": 2.0, "label": "low"}, {"sum": 30.0, "label": "high"}]
    runtime.close()
    assert sys.modules["own_code"].Model.closed


def test_declared_inputs_are_checked_before_it_is_called(folder: Path) -> None:
    with pytest.raises(RequestError, match="expected shape"):
        ask(load(folder, "own_code:Model"), {"x": [1, 2, 3]})


def test_without_declarations_fields_are_passed_as_they_are(folder: Path) -> None:
    runtime = load(folder, "own_code:free")
    assert ask(runtime, {"text": "ab", "times": 2}, {"text": "c"}) == [
        {"answer": "abab", "none": None, "array": [0.1]},
        {"answer": "c", "none": None, "array": [0.1]},
    ]


def test_what_a_free_predictor_gets_over_http(folder: Path) -> None:
    engine = Engine(load(folder, "own_code:free"))
    with (
        running(create_app(engine, title="t", file="own_code:free")) as port,
        httpx.Client(base_url=f"http://localhost:{port}", trust_env=False) as client,
    ):
        assert client.post("/run", json=[{"text": "a"}]).json()[0]["answer"] == "a"
        refused = client.post("/run", json=[{"text": "a", "times": 4}])
        assert (refused.status_code, refused.json()["error"]) == (400, "at most three times")
        assert client.post("/run", json=[{}]).status_code == 500
        assert client.post("/run", content=b'[{"text": NaN}]').status_code == 400
        assert client.post("/v2/models/m/infer", json={"inputs": []}).status_code == 400
        assert client.get("/example").status_code == 404
        assert client.get("/").status_code == client.get("/docs").status_code == 200


@pytest.mark.parametrize(
    ("word", "kind", "said"),
    [
        ("own_code", UsageError, "is not a predictor"),
        (":free", UsageError, "is not a predictor"),
        ("nothing_here:x", UsageError, "there is no module `nothing_here`"),
        ("own_code:fre", UsageError, "there is no `own_code:fre`"),
        ("own_code:number", UsageError, "cannot be called"),
        ("own_code:Broken", GuildliteError, "could not be made: RuntimeError: no weights"),
        ("own_code:wrong", GuildliteError, "has a datatype in `inputs[0]`"),
        ("bad_code:x", GuildliteError, "could not be imported: SyntaxError"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    folder: Path, word: str, kind: type[GuildliteError], said: str
) -> None:
    (folder / "bad_code.py").write_text("def (")
    with pytest.raises(kind) as caught:
        load(folder, word)
    assert said in caught.value.message


def test_it_needs_no_model_file_and_no_word_of_trust(folder: Path) -> None:
    lines: list[str] = []
    source = Source(folder, "r", predictor="own_code:Model", folder=folder)
    assert check_run(source, out=lines.append) == 0
    assert lines[0] == "`own_code:Model` of r can be served"
    free = Source(folder, "r", predictor="own_code:free", folder=folder)
    assert check_run(free, out=lines.append) == 0


def test_threads_are_set_before_libraries_are_imported(tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(
        "import os, sys\n"
        "assert 'numpy' not in sys.modules\n"
        "threads = os.environ['OMP_NUM_THREADS'], os.environ['OPENBLAS_NUM_THREADS']\n"
        "def predict(**anything):\n"
        "    return {'threads': threads}\n"
    )
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from guildlite.serve.command import Source, _Candidate\n"
        "from guildlite.serve.limits import Limits\n"
        "here = Path(sys.argv[1])\n"
        "source = Source(here, 'r', predictor='counting:predict', folder=here)\n"
        "engine = _Candidate(source).load(Limits(threads=3))\n"
        "print(engine.answer(b'[{}]').decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ('[{"threads":["3","3"]}]\n', 0), done.stderr
