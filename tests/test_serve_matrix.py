"""Every format from a run directory to an answer: found, trusted, loaded, asked, and all agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import models

from guildlite.serve.command import Source, check_run, print_request
from guildlite.serve.command import _Candidate as Candidate
from guildlite.serve.limits import Limits
from guildlite.serve.trust import Untrusted

FORMATS: dict[str, tuple[tuple[str, ...], Callable[[Path], Path], str]] = {
    "onnx": ((), lambda d: models.save_doubler(d / "m.onnx"), "A"),
    "pt2": (("torch",), lambda d: models.save_pt2(d / "m.pt2"), "B"),
    "torchscript": (("torch",), lambda d: models.save_torchscript(d / "m.pt"), "C"),
    "keras": (("keras", "tensorflow"), lambda d: models.save_keras(d / "m.keras"), "B"),
    "h5": (("keras", "tensorflow"), lambda d: models.save_keras(d / "m.h5"), "B"),
    "savedmodel": (("tensorflow",), lambda d: models.save_savedmodel(d / "m"), "C"),
    "tf1": (("tensorflow",), lambda d: models.save_tf1_export(d / "model"), "C"),
    "sklearn": (("sklearn", "joblib"), lambda d: models.save_joblib(d / "m.joblib"), "D"),
}
ROWS = np.random.default_rng(0).integers(-9, 9, (5, 4)).tolist()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_answers(name: str, tmp_path: Path) -> None:
    packages, save, trust = FORMATS[name]
    for package in packages:
        pytest.importorskip(package, exc_type=ImportError)
    save(tmp_path)
    if trust in "CD":
        with pytest.raises(Untrusted):
            check_run(Source(tmp_path, "r"), out=print)
    engine = Candidate(Source(tmp_path, "r", trust=True)).load(Limits())
    try:
        engine.warm_up()
        request = json.dumps([{"image": row} for row in ROWS]).encode()
        answers = [each["prediction"] for each in json.loads(engine.answer(request))]
    finally:
        engine.close()
    assert answers == [[2 * value for value in row[:3]] for row in ROWS]


def test_an_example_in_the_signature_file_is_the_request(tmp_path: Path) -> None:
    models.save_doubler(tmp_path / "m.onnx")
    example = [{"image": [1, 2, 3, 4.5]}]
    models.save_signature(tmp_path / "m.onnx", example=example)
    assert json.loads(print_request(Source(tmp_path, "r"))) == example
    models.save_signature(tmp_path / "m.onnx")
    assert json.loads(print_request(Source(tmp_path, "r"))) == [{"image": [0, 0, 0, 0]}]


SCRIPT = """
import os, pickle
with open(os.environ["RUNDIR"] + "/m.pkl", "wb") as file:
    pickle.dump({"no": "model"}, file)
"""


def test_a_pickle_of_ones_own_run_needs_no_word(tmp_path: Path, gl: Any) -> None:
    (tmp_path / "fit.py").write_text(SCRIPT)
    assert gl("run", "fit.py").returncode == 0
    (run_dir,) = (tmp_path / "runs").glob("*-fit")
    own = gl("serve", "--check")
    assert own.returncode == 1
    # It was trusted, and then found to be none; or its framework is missing here.
    assert "has no `predict`" in own.stderr or "is needed to serve a pickle" in own.stderr
    with (run_dir / "m.pkl").open("ab") as file:
        file.write(b"x")
    assert "is a pickle, which runs code" in gl("serve", "--check").stderr
