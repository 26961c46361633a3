"""Whatever is sent, the fault is never called the server's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.models import save_doubler
from support.servers import running

from guildlite.serve.app import create_app
from guildlite.serve.engine import Engine
from guildlite.serve.runtimes.onnx import OnnxRuntime


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = save_doubler(tmp_path_factory.mktemp("run") / "m.onnx")
    engine = Engine(OnnxRuntime(path, run_dir=path.parent, name="m"))
    engine.warm_up()
    with running(create_app(engine, title="t", file="m.onnx")) as port:
        yield f"http://localhost:{port}"
    engine.close()


@pytest.fixture(scope="module")
def client(base: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base, trust_env=False) as client:
        yield client


#: Right pieces in wrong places get further than noise does.
WORDS = st.sampled_from(["image", "inputs", "name", "shape", "datatype", "data", "FP32", "outputs"])
NUMBERS = st.integers(-(2**70), 2**70) | st.floats() | st.integers(-2, 5)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(WORDS | st.text(max_size=5), inner),
    max_leaves=25,
)
IMAGES = st.lists(NUMBERS | st.none() | st.text(max_size=3), min_size=3, max_size=5)
INSTANCES = st.lists(st.fixed_dictionaries({"image": IMAGES | JSON}), max_size=3)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.just("image") | JSON,
        "datatype": st.just("FP32") | JSON,
        "shape": st.lists(st.integers(-1, 5), max_size=3) | JSON,
        "data": IMAGES | JSON,
    },
    optional={"parameters": st.fixed_dictionaries({"binary_data_size": NUMBERS | JSON}) | JSON},
)
INFER = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR, max_size=2) | JSON},
    optional={"id": JSON, "outputs": JSON, "parameters": JSON},
)
many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def never_ours(answer: httpx.Response) -> None:
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text
    told = json.loads(answer.content, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))
    if answer.status_code != 200:
        assert isinstance(told["error"], str)
        assert len(answer.content) < 2048


@many
@given(value=JSON | INSTANCES)
def test_any_json_to_run(client: httpx.Client, value: Any) -> None:
    never_ours(client.post("/run", content=json.dumps(value).encode()))


@many
@given(value=JSON | INFER)
def test_any_json_to_infer(client: httpx.Client, value: Any) -> None:
    never_ours(client.post("/v2/models/m/infer", content=json.dumps(value).encode()))


@many
@given(
    value=INFER,
    tail=st.binary(max_size=40),
    length=st.none() | st.integers(-5, 400) | st.text("0123456789x-", min_size=1, max_size=5),
)
def test_any_binary_to_infer(client: httpx.Client, value: Any, tail: bytes, length: Any) -> None:
    head = json.dumps(value).encode()
    told = str(len(head) if length is None else length)
    headers = {"inference-header-content-length": told}
    answer = client.post("/v2/models/m/infer", content=head + tail, headers=headers)
    if answer.headers["content-type"] == "application/json":
        never_ours(answer)
    assert answer.status_code < 500


@many
@given(body=st.binary(max_size=200))
def test_any_bytes(client: httpx.Client, body: bytes) -> None:
    never_ours(client.post("/run", content=body))
    never_ours(client.post("/v2/models/m/infer", content=body))


@pytest.mark.filterwarnings("ignore")
def test_the_openapi_document_is_kept(base: str) -> None:
    """Schemathesis sends what the document allows and forbids, and compares what comes."""
    schemathesis = pytest.importorskip("schemathesis", exc_type=ImportError)
    from schemathesis.checks import not_a_server_error

    schema = schemathesis.openapi.from_url(f"{base}/openapi.json")
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def send(case: Any) -> None:
            nonlocal tried
            tried += 1
            response = case.call()
            case.validate_response(response, checks=[not_a_server_error])

        send()
    assert tried > 20
