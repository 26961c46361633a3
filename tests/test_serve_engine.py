"""Turns at the model: batches, the guilty row, time-outs, clients that leave, and the counts."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Awaitable, Iterator
from typing import Any

import httpx
import pytest
from support.scripted import Scripted, slow_engine
from support.servers import running

from guildlite.http import RequestError
from guildlite.serve import turn
from guildlite.serve.app import create_app
from guildlite.serve.engine import Engine
from guildlite.serve.openinference import InferRequest


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    runtime = Scripted()
    yield runtime
    runtime.go_on.set()


def body(*values: Any) -> bytes:
    return json.dumps([{"x": value} for value in values]).encode()


async def entered(runtime: Scripted) -> None:
    while not runtime.entered.is_set():
        await asyncio.sleep(0.001)


async def outcome(answer: Awaitable[bytes]) -> Any:
    """Return the values answered, or status and details of the refusal."""
    try:
        return [each["y"] for each in json.loads(await answer)]
    except RequestError as error:
        return error.http_status, error.details.get("index")


async def behind(runtime: Scripted, engine: Engine, *bodies: bytes) -> list[Any]:
    """Ask everything while the model is busy with another request; return what came."""
    first = asyncio.create_task(outcome(engine.run(body(99))))
    await entered(runtime)
    rest = [asyncio.create_task(outcome(engine.run(each))) for each in bodies]
    await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    runtime.go_on.set()
    assert await first == [100]
    return list(await asyncio.gather(*rest))


# Batches


def test_what_waits_goes_together(scripted: Scripted) -> None:
    engine = slow_engine(scripted)
    answers = asyncio.run(behind(scripted, engine, *(body(number) for number in range(5))))
    assert answers == [[number + 1] for number in range(5)]
    assert scripted.calls == [[99], [0, 1, 2, 3, 4]]
    assert engine.inflight == 0


def test_requests_that_arrive_together_share_the_first_batch(scripted: Scripted) -> None:
    async def ask() -> list[Any]:
        tasks = [asyncio.create_task(outcome(engine.run(body(number)))) for number in range(4)]
        return list(await asyncio.gather(*tasks))

    engine = slow_engine(scripted)
    assert asyncio.run(ask()) == [[1], [2], [3], [4]]
    assert scripted.calls == [[0, 1, 2, 3]]


def test_one_client_is_answered_alone(scripted: Scripted) -> None:
    async def ask() -> None:
        for number in range(5):
            assert await outcome(engine.run(body(number))) == [number + 1]

    engine = slow_engine(scripted)
    asyncio.run(ask())
    assert scripted.calls == [[number] for number in range(5)]


def test_batches_have_a_largest_size_and_keep_their_order(scripted: Scripted) -> None:
    engine = slow_engine(scripted, max_batch=4)
    bodies = [body(1, 2, 3), body(4, 5), body(6), body(*range(20, 30))]
    answers = asyncio.run(behind(scripted, engine, *bodies))
    assert answers == [[2, 3, 4], [5, 6], [7], list(range(21, 31))]
    assert all(len(call) <= 4 for call in scripted.calls)
    assert scripted.calls[1] == [1, 2, 3, 6]


def test_other_shapes_are_other_batches() -> None:
    runtime = Scripted((-1, -1))
    engine = slow_engine(runtime)

    async def ask() -> list[Any]:
        bodies = [body([1]), body([2, 3]), body([4])]
        tasks = [asyncio.create_task(outcome(engine.run(each))) for each in bodies]
        return list(await asyncio.gather(*tasks))

    assert asyncio.run(ask()) == [[[2]], [[3, 4]], [[5]]]
    assert sorted(runtime.calls) == [[1, 4], [2, 3]]


def test_only_the_guilty_one_of_a_batch_gets_an_error(scripted: Scripted) -> None:
    engine = slow_engine(scripted)
    bodies = [body(1), body(13), body(2, 14, 3), body(4)]
    answers = asyncio.run(behind(scripted, engine, *bodies))
    assert answers == [[2], (500, [0]), (400, [1]), [5]]


def test_a_model_of_single_rows_is_never_asked_for_more() -> None:
    runtime = Scripted(max_batch=1)
    engine = slow_engine(runtime)
    assert asyncio.run(outcome(engine.run(body(1, 2, 3)))) == [2, 3, 4]
    assert runtime.calls == [[1], [2], [3]]
    tensor = {"name": "x", "datatype": "FP32", "shape": [3], "data": [4, 5, 6]}
    request = InferRequest(runtime.info, json.dumps({"inputs": [tensor]}).encode(), None)
    answer = json.loads(asyncio.run(engine.infer(request)))
    assert answer["outputs"][0]["data"] == [5, 6, 7]
    assert runtime.calls[3:] == [[4], [5], [6]]


def test_tensors_and_instances_share_batches(scripted: Scripted) -> None:
    engine = slow_engine(scripted)
    tensor = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}
    request = InferRequest(scripted.info, json.dumps({"inputs": [tensor]}).encode(), None)

    async def ask() -> tuple[Any, bytes]:
        one = asyncio.create_task(outcome(engine.run(body(3))))
        other = asyncio.create_task(engine.infer(request))
        return await one, await other

    instances, tensors = asyncio.run(ask())
    assert instances == [4]
    assert json.loads(tensors)["outputs"][0]["data"] == [2, 3]
    assert [sorted(call) for call in scripted.calls] == [[1, 2, 3]]


def test_large_requests_are_read_and_written_beside_the_loop(scripted: Scripted) -> None:
    engine = slow_engine(scripted, max_batch=64)
    values = list(range(100, 20_100))
    assert asyncio.run(outcome(engine.run(body(*values)))) == [value + 1 for value in values]
    assert asyncio.run(outcome(engine.run(b"[" + b" " * 100_000))) == (400, None)
    assert engine.inflight == 0


# Trouble


def test_what_waits_too_long_is_dropped_and_the_rest_goes_on(scripted: Scripted) -> None:
    engine = slow_engine(scripted, timeout_s=0.05)

    async def ask() -> tuple[Any, Any, int, Any]:
        first = asyncio.create_task(outcome(engine.run(body(99))))
        await entered(scripted)
        second = await outcome(engine.run(body(1)))
        held = engine.inflight
        late = await first
        scripted.go_on.set()
        while engine.inflight:
            await asyncio.sleep(0.001)
        return late, second, held, await outcome(engine.run(body(2)))

    # The one that the model is busy with keeps its place, the one that waited does not.
    assert asyncio.run(ask()) == ((504, None), (504, None), 1, [3])
    assert [1] not in scripted.calls


def test_clients_that_left_are_not_asked_for(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "WATCH_AFTER_S", 0.001)
    engine = slow_engine(scripted)

    async def ask() -> list[Any]:
        async def leave() -> None:
            await asyncio.sleep(0.01)

        async def stay() -> None:
            await asyncio.Event().wait()

        first = asyncio.create_task(outcome(engine.run(body(99), stay)))
        await entered(scripted)
        gone = asyncio.create_task(outcome(engine.run(body(1), leave)))
        here = asyncio.create_task(outcome(engine.run(body(2), stay)))
        answers = [await gone]
        scripted.go_on.set()
        return [*answers, await first, await here]

    assert asyncio.run(ask()) == [(499, None), [100], [3]]
    assert scripted.calls == [[99], [2]]
    assert engine.inflight == 0


def test_a_client_that_hangs_up_frees_its_place(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr(turn, "WATCH_AFTER_S", 0.01)
    engine = slow_engine(scripted, max_inflight=2)
    with running(create_app(engine, title="t", file="f")) as port:
        url = f"http://localhost:{port}"
        held = threading.Thread(
            target=lambda: httpx.post(f"{url}/run", content=body(99), trust_env=False, timeout=60)
        )
        held.start()
        assert scripted.entered.wait(30)
        with socket.create_connection(("127.0.0.1", port)) as sock:
            content = body(1)
            sock.sendall(
                b"POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
                % (len(content), content)
            )
            while engine.inflight < 2:
                time.sleep(0.001)
        while engine.inflight == 2:
            time.sleep(0.001)
        scripted.go_on.set()
        held.join(30)
        answer = httpx.post(f"{url}/run", content=body(2), trust_env=False)
        assert answer.json() == [{"y": 3}]
    assert [1] not in scripted.calls


def test_too_many_at_once_are_told_to_come_back(scripted: Scripted) -> None:
    engine = slow_engine(scripted, max_inflight=1)

    async def ask() -> None:
        first = asyncio.create_task(outcome(engine.run(body(99))))
        await entered(scripted)
        with pytest.raises(RequestError) as caught:
            await engine.run(body(1))
        assert (caught.value.http_status, caught.value.headers) == (503, {"retry-after": "1"})
        scripted.go_on.set()
        assert await first == [100]
        assert await outcome(engine.run(body(1))) == [2]

    asyncio.run(ask())


# Counts


def test_metrics_are_in_the_prometheus_format(scripted: Scripted) -> None:
    engine = Engine(scripted)
    engine.warm_up()
    with (
        running(create_app(engine, title="t", file="f")) as port,
        httpx.Client(base_url=f"http://localhost:{port}", trust_env=False) as client,
    ):
        client.post("/run", content=body(1, 2))
        client.post("/run", content=b"[")
        client.post("/run", content=body(13))
        client.post("/v2/models/m/infer", json={"inputs": []})
        client.get("/nothing/at/all")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    for line in (
        'gl_serve_requests_total{route="/run",status="200"} 1',
        'gl_serve_requests_total{route="/run",status="400"} 1',
        'gl_serve_requests_total{route="/run",status="500"} 1',
        'gl_serve_requests_total{route="/v2/models/NAME/infer",status="400"} 1',
        'gl_serve_request_seconds_count{route="/run"} 3',
        'gl_serve_request_seconds_bucket{route="/run",le="+Inf"} 3',
        "gl_serve_inflight 0",
        'gl_serve_instances_total{model="m"} 2',
    ):
        assert line in lines
    assert "nothing" not in answer.text
    sample = re.compile(r'[a-z_]+(\{([a-z]+="[^"]*",?)+\})? [0-9.e+-]+')
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)


def test_buckets_of_the_histogram_add_up(scripted: Scripted) -> None:
    stats = Engine(scripted).stats
    for seconds in (0.0001, 0.001, 0.3, 100):
        stats.finished("/run", 200, seconds)
    text = stats.to_prometheus(model='a"b\\', inflight=0)
    counts = [int(count) for count in re.findall(r"_bucket\{.*\} (\d+)", text)]
    assert counts == sorted(counts)
    assert counts[-1] == 4
    assert 'le="0.001"} 2' in text
    assert 'model="a\\"b\\\\"' in text


def test_stats_say_how_large_batches_are(scripted: Scripted) -> None:
    engine = Engine(scripted)
    engine.warm_up()
    before = engine.stats.to_json()
    engine.answer(body(1, 2, 3))
    after = engine.stats.to_json()
    assert after["batches"] == before["batches"] + 1  # type: ignore[operator]
    assert before["mean_batch"] == 1.5  # one row, then two that went together
    assert after["mean_batch"] == 2
