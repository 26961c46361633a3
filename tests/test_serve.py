"""The prediction server as its users meet it: curl, browsers, signals, and trouble."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper
from support.models import save_doubler, save_model
from support.scripted import Scripted, slow_engine
from support.servers import running, start_serve

from guildlite import http
from guildlite.errors import GuildliteError, UsageError
from guildlite.http import RequestError
from guildlite.serve.app import create_app
from guildlite.serve.command import Source, check_run, serve_run
from guildlite.serve.engine import Engine
from guildlite.serve.model import ModelFailed, ModelRefused
from guildlite.serve.runtimes.onnx import OnnxRuntime

ONE = [{"image": [1, 2, 3, 4]}]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("run")
    save_doubler(run_dir / "model" / "m.onnx")
    return run_dir


@pytest.fixture(scope="module")
def port(run_dir: Path) -> Iterator[int]:
    runtime = OnnxRuntime(run_dir / "model" / "m.onnx", run_dir=run_dir, name="expert")
    engine = Engine(runtime)
    engine.warm_up()
    app = create_app(engine, title="a run <b>", file="model/m.onnx", max_body_bytes=200_000)
    with running(app) as port:
        yield port
    engine.close()


@pytest.fixture
def client(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://localhost:{port}", trust_env=False) as client:
        yield client


def curl(*words: str, text: str | None = None) -> str:
    return subprocess.run(
        ["curl", "-s", "--noproxy", "*", *words],
        input=text, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip


# Predictions


def test_two_instances_get_two_answers(port: int, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text('[{"image": [1, 2, 3, 4]}, {"image": [0.1, 0, -5, 9]}]\n')
    answer = curl(f"http://localhost:{port}/run", "-d", f"@{request}")
    assert json.loads(answer) == [{"prediction": [2, 4, 6]}, {"prediction": [0.2, 0, -10]}]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "nonsense"])
def test_the_content_type_does_not_matter(client: httpx.Client, kind: str) -> None:
    answer = client.post("/run", content=json.dumps(ONE), headers={"content-type": kind})
    assert answer.json() == [{"prediction": [2, 4, 6]}]
    assert answer.headers["content-type"] == "application/json"


def test_many_instances_keep_their_order(client: httpx.Client) -> None:
    values = np.random.default_rng(0).integers(-9, 9, (300, 4)).tolist()
    answer = client.post("/run", json=[{"image": row} for row in values]).json()
    assert answer == [{"prediction": [2 * item for item in row[:3]]} for row in values]


def test_many_clients_get_their_own_answers(client: httpx.Client) -> None:
    def ask(number: int) -> None:
        for _ in range(20):
            answer = client.post("/run", json=[{"image": [number] * 4}])
            answers.append(answer.json() == [{"prediction": [2 * number] * 3}])

    answers: list[bool] = []
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 160


BAD = {
    "not JSON": "image=1",
    "wrong field name": '[{"imag": [1, 2, 3, 4]}]',
    "short row": '[{"image": [1, 2]}]',
    "string in row": '[{"image": [1, 2, 3, "4"]}]',
    "null in row": '[{"image": [1, null, 3, 4]}]',
    "ragged rows": '[{"image": [[1], 2, 3, 4]}]',
    "empty list": "[]",
    "object instead of list": '{"image": [1, 2, 3, 4]}',
    "NaN literal": '[{"image": [1, 2, NaN, 4]}]',
    "3000 deep": "[" * 3000 + "]" * 3000,
    "second instance": '[{"image": [1, 2, 3, 4]}, {"image": [1, 2, 3, 1e99]}]',
    "not UTF-8": "[\udcff]",
    "nothing": "",
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_the_callers_fault(client: httpx.Client, case: str) -> None:
    answer = client.post("/run", content=BAD[case].encode("utf-8", "surrogateescape"))
    assert answer.status_code == 400
    told = answer.json()
    assert told["error"]
    assert len(answer.content) < 2048
    if '"image"' in BAD[case] and BAD[case].startswith("[{"):
        assert told["field"] == "image"
        assert told["index"][0] == (1 if case == "second instance" else 0)
        assert told["expected"]
        assert told["got"]


def test_a_large_body_is_refused_however_it_is_sent(client: httpx.Client) -> None:
    assert client.post("/run", content=b" " * 200_001).status_code == 413
    assert client.post("/run", content=iter([b" " * 150_000] * 2)).status_code == 413
    large = json.dumps([{"image": [1.5, 2, 3, 4]}] * 4000)
    assert len(client.post("/run", content=large).json()) == 4000


def test_clients_that_hang_up_leave_no_trace(port: int, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n[{")
    assert httpx.get(f"http://localhost:{port}/health", trust_env=False).status_code == 200
    assert caplog.records == []


def test_other_sites_and_names_are_refused(client: httpx.Client) -> None:
    for headers, status in [
        ({"host": "rebind.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://localhost:1"}, 403),
    ]:
        assert client.post("/run", json=ONE, headers=headers).status_code == status


# The other addresses


def test_info_is_the_signature(client: httpx.Client) -> None:
    assert client.get("/info").json() == {
        "name": "expert",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "prediction", "datatype": "FP32", "shape": [-1, 3]}],
    }


def test_stats_count(client: httpx.Client) -> None:
    before = client.get("/stats").json()
    client.post("/run", json=ONE * 3)
    client.post("/run", content="[]")
    after = client.get("/stats").json()
    assert after["requests"] - before["requests"] == 1
    assert after["instances"] - before["instances"] == 3
    assert after["last_ms"] > 0
    assert after["predictions_per_second"] > 0


def test_health(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"live": True, "ready": True}


def test_other_addresses_answer_in_the_same_shape(client: httpx.Client) -> None:
    for path, method, status in [("/redoc", "GET", 404), ("/run", "GET", 405), ("/x", "PUT", 404)]:
        answer = client.request(method, path)
        assert (answer.status_code, "error" in answer.json()) == (status, True)


def test_the_example_is_a_request_that_works(port: int) -> None:
    example = curl(f"http://localhost:{port}/example")
    assert json.loads(example) == [{"image": [0, 0, 0, 0]}]
    answer = curl(f"http://localhost:{port}/run", "-d", "@-", text=example)
    assert json.loads(answer) == [{"prediction": [0, 0, 0]}]


def test_the_openapi_document_describes_the_model(client: httpx.Client) -> None:
    import jsonschema

    document = client.get("/openapi.json").json()
    body = document["paths"]["/run"]["post"]["requestBody"]["content"]["application/json"]
    jsonschema.validate(ONE, body["schema"])
    wrong: list[Any] = [[], [{}], [{"image": [1, 2]}], [{"image": [1, 2, 3, "4"]}]]
    for bad in wrong:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, body["schema"])


def test_the_page_loads_nothing_from_elsewhere(client: httpx.Client, port: int) -> None:
    import re

    answer = client.get("/")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "a run &lt;b&gt;" in answer.text
    assert f"curl http://localhost:{port}/run -d @-" in answer.text
    assert "[{&#34;image&#34;:[0,0,0,0]}]" in answer.text
    assert "style=" not in answer.text
    assert "onclick" not in answer.text
    assets = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert "static/try.js" in assets
    for asset in assets:
        # Relative: the viewer shows the page below an address of its own.
        assert not asset.startswith(("/", "http:", "https:", "data:"))
        assert client.get(f"/{asset}").status_code == 200
    assert client.get("/static/try.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/static/../app.py").status_code == 404


# Shapes of models


def engine_of(path: Path) -> Engine:
    engine = Engine(OnnxRuntime(path, run_dir=path.parent, name="m"))
    engine.warm_up()
    return engine


def ask(engine: Engine, *instances: dict[str, Any]) -> Any:
    return json.loads(engine.answer(json.dumps(instances).encode()))


FLOAT = TensorProto.FLOAT


def test_a_model_of_one_row_is_asked_row_by_row(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [("x", FLOAT, [1, 2])],
        [("y", FLOAT, [1, 2])],
    )
    assert ask(engine_of(path), {"x": [1, 2]}, {"x": [3, 4]}) == [{"y": [2, 4]}, {"y": [6, 8]}]


def test_a_model_without_a_dimension_for_instances(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "k"], ["y"])],
        [("x", FLOAT, [3, 2]), ("k", FLOAT, [2])],
        [("y", FLOAT, [3])],
    )
    rows = [[1, 0], [0, 1], [1, 1]]
    assert ask(engine_of(path), {"x": rows, "k": [1, 2]}, {"x": rows, "k": [3, 4]}) == [
        {"y": [1, 2, 3]}, {"y": [3, 4, 7]},
    ]  # fmt: skip


def test_an_output_that_sums_over_the_batch_is_not_shared(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)],
        [("x", FLOAT, ["n", 2])],
        [("y", FLOAT, [])],
    )
    assert ask(engine_of(path), {"x": [1, 2]}, {"x": [3, 4]}) == [{"y": 3}, {"y": 7}]


def test_a_model_that_looks_at_the_whole_batch_is_asked_row_by_row(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [("x", FLOAT, ["n", 2])],
        [("y", FLOAT, ["n", 2])],
    )
    assert ask(engine_of(path), {"x": [1, 2]}, {"x": [3, 4]}) == [{"y": [0, 0]}, {"y": [0, 0]}]


def test_instances_of_different_lengths_are_answered_apart(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [("x", FLOAT, ["n", "length"])],
        [("y", FLOAT, ["n", "length"])],
    )
    assert ask(engine_of(path), {"x": [1]}, {"x": [2, 3]}, {"x": []}) == [
        {"y": [2]}, {"y": [4, 6]}, {"y": []},
    ]  # fmt: skip


def test_a_value_per_instance_may_be_bare(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [("x", TensorProto.INT64, ["n"])],
        [("y", TensorProto.INT64, ["n"])],
    )
    assert ask(engine_of(path), {"x": 1}, {"x": 2}) == [{"y": 2}, {"y": 4}]


def test_the_model_may_refuse_one_of_many(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [("x", TensorProto.INT64, ["n"])],
        [("y", FLOAT, ["n"])],
        {"table": np.array([5, 6, 7], dtype=np.float32)},
    )
    engine = engine_of(path)
    assert ask(engine, {"x": 2}, {"x": 0}) == [{"y": 7}, {"y": 5}]
    with pytest.raises(RequestError, match="the model refused the input") as caught:
        ask(engine, {"x": 0}, {"x": 1}, {"x": 3})
    assert caught.value.http_status == 400
    assert caught.value.details == {"index": [2]}


# Trouble


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    runtime = Scripted()
    yield runtime
    runtime.go_on.set()


def test_a_failing_model_is_our_fault_and_logged(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(scripted)
    engine.warm_up()
    with running(create_app(engine, title="t", file="f")) as port:
        answer = httpx.post(f"http://localhost:{port}/run", json=[{"x": 13}], trust_env=False)
    assert answer.status_code == 500
    assert answer.json()["error"] == "the model failed to predict"
    assert "secret" not in answer.text
    assert answer.json()["request_id"] in caplog.text
    assert "the secret cause" in caplog.text


def test_a_failed_batch_is_tried_row_by_row(scripted: Scripted) -> None:
    engine = Engine(scripted)
    engine.warm_up()
    scripted.calls.clear()
    with pytest.raises(RequestError, match="the model failed") as caught:
        ask(engine, {"x": 1}, {"x": 13}, {"x": 2})
    assert (caught.value.http_status, caught.value.details) == (500, {"index": [1]})
    assert [len(call) for call in scripted.calls] == [3, 1, 1]


def test_large_requests_reach_the_model_in_pieces(scripted: Scripted) -> None:
    engine = Engine(scripted)
    engine.warm_up()
    scripted.calls.clear()
    numbers = range(200, 350)
    assert ask(engine, *({"x": n} for n in numbers)) == [{"y": n + 1} for n in numbers]
    assert [len(call) for call in scripted.calls] == [64, 64, 22]


def test_health_answers_while_the_model_is_busy(scripted: Scripted) -> None:
    engine = slow_engine(scripted, max_inflight=1)
    with running(create_app(engine, title="t", file="f")) as port:
        base = f"http://localhost:{port}"
        answers: list[int] = []

        def wait_long() -> None:
            request = httpx.post(f"{base}/run", json=[{"x": 99}], trust_env=False, timeout=60)
            answers.append(request.status_code)

        thread = threading.Thread(target=wait_long)
        thread.start()
        assert scripted.entered.wait(30)
        assert httpx.get(f"{base}/health", trust_env=False).status_code == 200
        assert httpx.get(f"{base}/info", trust_env=False).status_code == 200
        full = httpx.post(f"{base}/run", json=[{"x": 1}], trust_env=False)
        assert (full.status_code, full.headers["retry-after"]) == (503, "1")
        scripted.go_on.set()
        thread.join(30)
        assert answers == [200]
        assert httpx.post(f"{base}/run", json=[{"x": 1}], trust_env=False).status_code == 200


def test_a_model_that_hangs_costs_a_timeout_and_its_place(scripted: Scripted) -> None:
    engine = slow_engine(scripted, max_inflight=2, timeout_s=0.2)
    with running(create_app(engine, title="t", file="f")) as port:
        url = f"http://localhost:{port}/run"
        # The second waits behind the first; when its time is up it is dropped and leaves.
        for number in (99, 1, 2):
            answer = httpx.post(url, json=[{"x": number}], trust_env=False)
            assert answer.status_code == 504
            assert answer.json()["error"] == "the model took longer than 0.2 seconds"
        assert scripted.calls == [[99]]
    engine.close()


def test_a_model_that_cannot_predict_says_so_at_once(scripted: Scripted) -> None:
    engine = Engine(scripted)
    with pytest.raises(ModelFailed):
        engine.warm_up(b'[{"x": 13}]')


# The command


OPTIONS: dict[str, Any] = {"name": "expert", "port": 0}


def read_until(process: subprocess.Popen[str], end: str) -> list[str]:
    assert process.stderr
    lines = []
    for line in process.stderr:
        lines.append(line.rstrip("\n"))
        if end in line:
            return lines
    raise AssertionError("\n".join(lines))


@pytest.fixture
def serve(run_dir: Path) -> Iterator[Any]:
    processes = []

    def start(**options: Any) -> tuple[subprocess.Popen[str], list[str]]:
        process = start_serve(run_dir, json.dumps(OPTIONS | options))
        processes.append(process)
        return process, read_until(process, "Ctrl-C stops")

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_printed_line_works_as_pasted(serve: Any, number: int, status: int) -> None:
    process, lines = serve()
    assert lines[0].startswith("serving `model/m.onnx` of expert at http://localhost:")
    assert lines[1:3] == ["  inputs   image FP32 [-1, 4]", "  outputs  prediction FP32 [-1, 3]"]
    pasted = subprocess.run(lines[4], shell=True, capture_output=True, text=True, timeout=60)
    assert json.loads(pasted.stdout) == [{"prediction": [0, 0, 0]}]
    process.send_signal(number)
    _, complaints = process.communicate(timeout=30)
    assert (complaints, process.returncode) == ("", status)


def test_beyond_loopback_the_token_is_demanded_and_printed(serve: Any) -> None:
    _, lines = serve(host="0.0.0.0")
    port = int(lines[0].split("/?token=")[0].rpartition(":")[2])
    base = f"http://127.0.0.1:{port}"
    assert httpx.post(f"{base}/run", json=ONE, trust_env=False).status_code == 401
    assert httpx.get(f"{base}/health", trust_env=False).status_code == 200
    token = lines[4].split("Bearer ")[1].split('"')[0]
    headers = {"authorization": f"Bearer {token}"}
    answer = httpx.post(f"{base}/run", json=ONE, headers=headers, trust_env=False)
    assert answer.json() == [{"prediction": [2, 4, 6]}]
    with httpx.Client(base_url=base, trust_env=False, follow_redirects=True) as browser:
        page = browser.get("/" + lines[0].partition("/?")[2].join(["?", ""]))
        assert page.status_code == 200
        assert token not in page.text
        assert page.url.query == b""


def test_a_token_that_was_chosen_is_not_printed(serve: Any) -> None:
    _, lines = serve(token="chosen-by-hand-once")
    assert not [line for line in lines if "chosen-by-hand-once" in line]
    environ = {**os.environ, "GL_TOKEN": "chosen-by-hand-once"}
    pasted = subprocess.run(
        lines[4], shell=True, capture_output=True, text=True, timeout=60, env=environ, check=False
    )
    assert json.loads(pasted.stdout) == [{"prediction": [0, 0, 0]}]


def test_clients_know_the_model_by_the_name_it_was_given(serve: Any) -> None:
    _, lines = serve(served_as="digits")
    port = int(lines[0].rpartition(":")[2])
    base = f"http://127.0.0.1:{port}"
    assert httpx.get(f"{base}/info", trust_env=False).json()["name"] == "digits"
    assert httpx.get(f"{base}/v2/models/digits/ready", trust_env=False).status_code == 200


@pytest.mark.parametrize("token", ["", "short"])
def test_a_short_token_is_refused_before_anything_is_loaded(run_dir: Path, token: str) -> None:
    with pytest.raises(UsageError, match="too short"):
        serve_run(Source(run_dir, "r"), port=0, token=token, out=print)


def test_a_port_in_use_is_found_before_the_model_is_loaded(run_dir: Path) -> None:
    with http.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(GuildliteError, match=f"port {port} is in use") as caught:
            serve_run(Source(run_dir, "r"), port=port, out=print)
    assert (caught.value.hint or "").startswith("--port ")


def test_check_predicts_and_returns(run_dir: Path) -> None:
    lines: list[str] = []
    assert check_run(Source(run_dir, "expert"), out=lines.append) == 0
    assert lines[0] == "`model/m.onnx` of expert can be served"
    assert lines[-1] == "  zeros    prediction = [0.0, 0.0, 0.0]"


def test_check_fails_when_the_model_does(tmp_path: Path) -> None:
    save_model(
        tmp_path / "m.onnx",
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [("x", FLOAT, ["n", 3])],
        [("y", FLOAT, ["a", "b"])],
        {"shape": np.array([2, 2])},
    )
    with pytest.raises((ModelFailed, ModelRefused)):
        check_run(Source(tmp_path, "r"), out=print)


def test_a_request_kept_with_the_model_is_the_example(tmp_path: Path, serve: Any) -> None:
    save_doubler(tmp_path / "m.onnx")
    (tmp_path / "request.json").write_text(json.dumps(ONE))
    process = start_serve(tmp_path, json.dumps(OPTIONS))
    try:
        lines = read_until(process, "Ctrl-C stops")
        assert lines[4].endswith("request.json")
        answer = json.loads(curl(*lines[4].split()[1:]))
        assert answer == [{"prediction": [2, 4, 6]}]
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_an_example_for_another_model_is_only_mentioned(tmp_path: Path) -> None:
    save_doubler(tmp_path / "m.onnx")
    (tmp_path / "request.json").write_text('[{"x": 1}]')
    process = start_serve(tmp_path, json.dumps(OPTIONS))
    try:
        lines = read_until(process, "Ctrl-C stops")
        assert lines[0].startswith("`request.json` is not an example for this model")
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_a_run_without_a_model_says_so(tmp_path: Path) -> None:
    process = start_serve(tmp_path, json.dumps(OPTIONS))
    _, said = process.communicate(timeout=30)
    assert said.splitlines()[0] == "error: run `expert` does not contain an exported model"
    assert process.returncode == 1
