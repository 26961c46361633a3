"""The Open Inference Protocol: by hand, with its binary extension, and with the stock client."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper
from support.models import save_doubler, save_model
from support.servers import running

from guildlite.serve.app import create_app
from guildlite.serve.engine import Engine
from guildlite.serve.runtimes.onnx import OnnxRuntime

INFER = "/v2/models/expert/infer"
LENGTH = "inference-header-content-length"


def served(path: Path) -> Iterator[int]:
    engine = Engine(OnnxRuntime(path, run_dir=path.parent, name="expert"))
    engine.warm_up()
    with running(create_app(engine, title="t", file="m.onnx")) as port:
        yield port
    engine.close()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    yield from served(save_doubler(tmp_path_factory.mktemp("run") / "m.onnx"))


@pytest.fixture(scope="module")
def types_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A model that gives back one tensor of each of three types."""
    kinds = {"i": TensorProto.INT64, "b": TensorProto.BOOL, "s": TensorProto.STRING}
    path = save_model(
        tmp_path_factory.mktemp("types") / "m.onnx",
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in kinds],
        [(name, kind, ["n", 2]) for name, kind in kinds.items()],
        [(f"{name}_out", kind, ["n", 2]) for name, kind in kinds.items()],
    )
    yield from served(path)


@pytest.fixture
def client(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://localhost:{port}", trust_env=False) as client:
        yield client


def image(data: Any, shape: list[int], **more: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": "FP32", "shape": shape, "data": data, **more}


def split(answer: httpx.Response) -> tuple[Any, bytes]:
    length = int(answer.headers[LENGTH])
    return json.loads(answer.content[:length]), answer.content[length:]


def test_metadata(client: httpx.Client) -> None:
    server = client.get("/v2").json()
    assert (server["name"], server["extensions"]) == ("guildlite", ["binary_tensor_data"])
    for path in ("/v2/models/expert", "/v2/models/expert/versions/1"):
        assert client.get(path).json() == {
            "name": "expert",
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [{"name": "prediction", "datatype": "FP32", "shape": [-1, 3]}],
        }
        assert client.get(f"{path}/ready").json()["ready"] is True
    for path in ("/v2/models/other", "/v2/models/expert/versions/2", "/v2/models/other/ready"):
        assert client.get(path).status_code == 404
        assert isinstance(client.get(path).json()["error"], str)


def test_data_may_be_flat_or_nested(client: httpx.Client) -> None:
    for data in ([1, 2, 3, 4, 0.5, 6, 7, 8], [[1, 2, 3, 4], [0.5, 6, 7, 8]]):
        answer = client.post(INFER, json={"id": "a1", "inputs": [image(data, [2, 4])]})
        assert answer.json() == {
            "model_name": "expert",
            "model_version": "1",
            "id": "a1",
            "outputs": [
                {
                    "name": "prediction", "datatype": "FP32", "shape": [2, 3],
                    "data": [2, 4, 6, 1, 12, 14],
                }
            ],
        }  # fmt: skip


def test_an_id_is_echoed_only_where_one_was_given(client: httpx.Client) -> None:
    answer = client.post(
        "/v2/models/expert/versions/1/infer", json={"inputs": [image([1] * 4, [1, 4])]}
    )
    assert "id" not in answer.json()


def test_more_rows_than_a_batch_come_back_in_order(client: httpx.Client) -> None:
    rows = np.random.default_rng(0).integers(-9, 9, (300, 4))
    answer = client.post(INFER, json={"inputs": [image(rows.ravel().tolist(), [300, 4])]})
    (output,) = answer.json()["outputs"]
    assert output["shape"] == [300, 3]
    assert output["data"] == (2 * rows[:, :3]).ravel().tolist()


def test_binary_both_ways(client: httpx.Client) -> None:
    rows = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], dtype="<f4")
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "image", "datatype": "FP32", "shape": [2, 4],
                    "parameters": {"binary_data_size": 32},
                }
            ],
            "outputs": [{"name": "prediction", "parameters": {"binary_data": True}}],
        }
    ).encode()  # fmt: skip
    body = head + rows.tobytes()
    answer = client.post(INFER, content=body, headers={LENGTH: str(len(head))})
    told, tail = split(answer)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert told["outputs"][0]["parameters"] == {"binary_data_size": 24}
    assert np.frombuffer(tail, "<f4").tolist() == [2, 4, 6, 10, 12, 14]


def test_binary_output_of_everything(client: httpx.Client) -> None:
    request = {
        "inputs": [image([1, 2, 3, 4], [1, 4])], "parameters": {"binary_data_output": True},
    }  # fmt: skip
    _, tail = split(client.post(INFER, json=request))
    assert struct.unpack("<3f", tail) == (2, 4, 6)


def test_strings_and_booleans_in_binary(types_port: int) -> None:
    words = ["\u00e9", ""]
    strings = b"".join(struct.pack("<I", len(word.encode())) + word.encode() for word in words)
    parts = {"i": ("INT64", struct.pack("<2q", -1, 2**40)), "b": ("BOOL", b"\x01\x00")}
    parts["s"] = ("BYTES", strings)
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": name, "datatype": datatype, "shape": [1, 2],
                    "parameters": {"binary_data_size": len(data)},
                }
                for name, (datatype, data) in parts.items()
            ],
            "outputs": [
                {"name": "s_out", "parameters": {"binary_data": True}},
                {"name": "i_out"},
                {"name": "b_out"},
            ],
        }
    ).encode()  # fmt: skip
    body = head + b"".join(data for _, data in parts.values())
    url = f"http://localhost:{types_port}{INFER}"
    told, tail = split(
        httpx.post(url, content=body, headers={LENGTH: str(len(head))}, trust_env=False)
    )
    assert tail == strings
    assert [output.get("data") for output in told["outputs"]] == [None, [-1, 2**40], [True, False]]


GOOD = image([1, 2, 3, 4], [1, 4])
BAD: dict[str, tuple[Any, str]] = {
    "not an object": ([], "must be an object"),
    "no inputs": ({}, "`inputs`"),
    "inputs is an object": ({"inputs": {}}, "`inputs`"),
    "an input is a number": ({"inputs": [1]}, "`inputs[0]`"),
    "no name": ({"inputs": [{}]}, "`inputs[0].name`"),
    "none": ({"inputs": []}, "`image` is missing"),
    "other name": ({"inputs": [{**GOOD, "name": "imag"}]}, "no input `imag`"),
    "twice": ({"inputs": [GOOD, GOOD]}, "twice"),
    "other type": ({"inputs": [{**GOOD, "datatype": "FP64"}]}, "expected FP32, got FP64"),
    "no type": ({"inputs": [{**GOOD, "datatype": None}]}, "expected FP32, got null"),
    "other shape": ({"inputs": [image([1, 2, 3], [1, 3])]}, "expected shape [-1, 4]"),
    "other rank": ({"inputs": [image([1, 2, 3, 4], [4])]}, "expected shape [-1, 4]"),
    "no rows": ({"inputs": [image([], [0, 4])]}, "one or more rows"),
    "negative": ({"inputs": [image([], [-1, 4])]}, "`shape`"),
    "huge": ({"inputs": [image([], [2**30, 4])]}, "too large"),
    "no data": ({"inputs": [{**GOOD, "data": None}]}, "`image`"),
    "short": ({"inputs": [image([1, 2, 3], [1, 4])]}, "`image`"),
    "text": ({"inputs": [image([1, 2, "secret", 4], [1, 4])]}, "got a string"),
    "null": ({"inputs": [image([[1, 2, None, 4]], [1, 4])]}, "`image[0][2]`"),
    "range": ({"inputs": [image([1, 2, 1e39, 4], [1, 4])]}, "out of range"),
    "id": ({"inputs": [GOOD], "id": 5}, "`id`"),
    "output": ({"inputs": [GOOD], "outputs": [{"name": "x"}]}, "no output `x`"),
    "output twice": ({"inputs": [GOOD], "outputs": [{"name": "prediction"}] * 2}, "twice"),
    "outputs": ({"inputs": [GOOD], "outputs": 5}, "`outputs`"),
    "an output": ({"inputs": [GOOD], "outputs": [5]}, "`outputs[0]`"),
    "parameters": ({"inputs": [GOOD], "parameters": 5}, "parameters"),
    "binary output": ({"inputs": [GOOD], "parameters": {"binary_data_output": 1}}, "true or false"),
    "both": ({"inputs": [{**GOOD, "parameters": {"binary_data_size": 0}}]}, "both"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_the_callers_fault(client: httpx.Client, case: str) -> None:
    request, said = BAD[case]
    answer = client.post(INFER, json=request)
    assert answer.status_code in (400, 413)
    assert said in answer.json()["error"]
    assert len(answer.content) < 2048
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("length", "size", "tail", "said"),
    [
        ("x", 16, b"", "not a whole number"),
        ("-1", 16, b"", "not a whole number"),
        ("99999", 16, b"", "beyond the end"),
        (None, 16, bytes(15), "within the body"),
        (None, 12, bytes(12), "expected 16 bytes, got 12 bytes"),
        (None, 16, bytes(17), "do not end with the last tensor"),
        (None, -1, bytes(16), "within the body"),
        (None, "16", bytes(16), "within the body"),
        (None, 16, struct.pack("<4f", 1, float("nan"), 0, 0), "NaN or an infinity"),
    ],
)
def test_binary_data_that_do_not_fit(
    client: httpx.Client, length: str | None, size: Any, tail: bytes, said: str
) -> None:
    tensor = {**GOOD, "parameters": {"binary_data_size": size}}
    del tensor["data"]
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {LENGTH: length if length is not None else str(len(head))}
    answer = client.post(INFER, content=head + tail, headers=headers)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_errors_have_a_string_at_every_address(client: httpx.Client) -> None:
    for method, path, status in [
        ("GET", INFER, 405), ("POST", "/v2", 405), ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v2/nothing", 404), ("POST", "/v2/repository/models/expert/load", 404),
    ]:  # fmt: skip
        answer = client.request(method, path)
        assert (answer.status_code, type(answer.json()["error"])) == (status, str)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("binary", [True, False])
def test_the_stock_client_works(port: int, binary: bool) -> None:
    triton = pytest.importorskip("tritonclient.http", exc_type=ImportError)
    client = triton.InferenceServerClient(f"localhost:{port}")
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("expert")
        assert client.get_model_metadata("expert")["inputs"][0]["name"] == "image"
        rows = np.random.default_rng(0).normal(size=(70, 4)).astype(np.float32)
        given = triton.InferInput("image", [70, 4], "FP32")
        given.set_data_from_numpy(rows, binary_data=binary)
        wanted = triton.InferRequestedOutput("prediction", binary_data=binary)
        answer = client.infer("expert", [given], outputs=[wanted], request_id="r1")
        np.testing.assert_allclose(answer.as_numpy("prediction"), 2 * rows[:, :3], rtol=1e-6)
        assert answer.get_response()["id"] == "r1"
        with pytest.raises(
            triton.InferenceServerException
            if hasattr(triton, "InferenceServerException")
            else Exception,
            match="no such model",
        ):
            client.infer("other", [given])
    finally:
        client.close()
