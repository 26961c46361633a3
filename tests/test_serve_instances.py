"""Every rule of what a request may hold, and how answers are written."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildlite.http import RequestError, envelope
from guildlite.serve import instances
from guildlite.serve.instances import Decoder, encode, to_plain
from guildlite.serve.model import DATATYPES, ModelInfo, TensorSpec


@pytest.fixture(autouse=True, params=["orjson", "json"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rule holds with orjson and without."""
    if request.param == "json":
        monkeypatch.setattr(instances, "orjson", None)
    elif instances.orjson is None:
        pytest.skip("orjson is not installed")


def decoder(datatype: str = "FP32", shape: tuple[int, ...] = (3,)) -> Decoder:
    spec = TensorSpec("image", datatype, (-1, *shape))
    return Decoder(ModelInfo("m", (spec,), ()), {"image": shape})


def refused(body: str | bytes, **model: object) -> dict[str, object]:
    data = body if isinstance(body, bytes) else body.encode()
    with pytest.raises(RequestError) as caught:
        decoder(**model).decode(data)  # type: ignore[arg-type]
    assert caught.value.http_status == 400
    told = envelope(caught.value)
    assert len(json.dumps(told)) < 2048
    return told


def value(text: str, **model: object) -> np.ndarray:
    (instance,) = decoder(**model).decode(f'[{{"image": {text}}}]'.encode())  # type: ignore[arg-type]
    return instance["image"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("x", "not JSON"),
        ("[1,", "not JSON"),
        ("image=1", "not JSON"),
        (b"\xff\xfe[\x00]\x00", "not UTF-8"),
        ("{}", "must be a list"),
        ('{"instances": []}', "must be a list"),
        ("null", "must be a list"),
        ("NaN", "must be a list"),
        ("[]", "empty"),
        ("[1]", "instance 0 must be an object"),
        ('[{"image": [1,2,3]}, [1,2,3]]', "instance 1 must be an object"),
        ('[{"image": [1,2,3], "image": [1,2,3]}]', "twice"),
        ("[" * 3000, "nested too deeply"),
        ("[" * 200_000, "nested too deeply"),
        ("[" + "1" * 10_000 + "]", "too many digits"),
    ],
)
def test_what_is_no_list_of_objects(body: str | bytes, said: str) -> None:
    if body == "[" * 3000:
        # Newer Pythons read this deep, and find that it does not end.
        assert refused(body)["error"]
    else:
        assert said in str(refused(body)["error"])


def test_names_must_match_exactly() -> None:
    told = refused('[{"image": [1,2,3]}, {"imag": [1,2,3]}]')
    assert told["error"] == (
        "instance 1 has no `image` and has `imag`, which the model does not take"
    )
    assert told["hint"] == "did you mean `image`?"
    assert (told["field"], told["index"]) == ("image", [1])
    assert refused("[{}]")["got"] == "no fields"
    assert "has `extra`" in str(refused('[{"image": [1,2,3], "extra": 1}]')["error"])


@pytest.mark.parametrize(
    ("text", "index", "expected", "got"),
    [
        ("[1, 2]", [0], "shape [3]", "shape [2]"),
        ("[]", [0], "shape [3]", "shape [0]"),
        ("[[1, 2, 3]]", [0], "shape [3]", "shape [1, 3]"),
        ("1", [0], "a list of length 3", "an integer"),
        ("null", [0], "a list of length 3", "null"),
        ('"abc"', [0], "a list of length 3", "a string"),
        ('[1, "2", 3]', [0, 1], "a number", "a string"),
        ("[1, null, 3]", [0, 1], "a number", "null"),
        ("[1, true, 3]", [0, 1], "a number", "true"),
        ("[1, {}, 3]", [0, 1], "a number", "an object"),
        ("[1, [2], 3]", [0, 1], "a number", "a list"),
        ("[1, 2, NaN]", [0, 2], "a number", "NaN, which is not JSON"),
        ("[1, 2, -Infinity]", [0, 2], "a number", "-Infinity, which is not JSON"),
        ("[1, 2, 1e39]", [0, 2], "a number from -3.4e+38 to 3.4e+38", "one out of range"),
        ("[1, 2, 1e999]", [0, 2], "a number from -3.4e+38 to 3.4e+38", "one out of range"),
        (f"[1, -1{'0' * 400}, 2]", [0, 1], "a number from -3.4e+38 to 3.4e+38", "one out of range"),
    ],
)
def test_each_fault_is_placed(text: str, index: list[int], expected: str, got: str) -> None:
    told = refused(f'[{{"image": {text}}}]')
    assert told["field"] == "image"
    assert (told["index"], told["expected"], told["got"]) == (index, expected, got)


def test_faults_deep_inside_are_placed() -> None:
    told = refused('[{"image": [[1,2],[3]]}]', shape=(2, 2))
    assert (told["index"], told["expected"], told["got"]) == (
        [0, 1], "a list of length 2", "one of length 1",
    )  # fmt: skip
    told = refused('[{"image": [[1,2],[3,"4"]]}]', shape=(2, 2))
    assert told["index"] == [0, 1, 1]
    assert told["error"] == "`image[1][1]` of instance 0: expected a number, got a string"
    told = refused('[{"image": [[1,2],[3]]}]', shape=(-1, -1))
    assert told["index"] == [0, 1]


@pytest.mark.parametrize(
    ("datatype", "text", "index", "got"),
    [
        ("INT8", "[1, 2, 128]", [0, 2], "one out of range"),
        ("INT8", "[1, -129, 2]", [0, 1], "one out of range"),
        ("UINT8", "[-1, 2, 3]", [0, 0], "one out of range"),
        ("UINT64", "[1, 2, 18446744073709551616]", [0, 2], "one out of range"),
        ("INT64", "[1, 2.5, 3]", [0, 1], "a number with a fraction"),
        ("INT64", "[1, 2, 1e300]", [0, 2], "a number with a fraction"),
        ("INT64", "[1, true, 3]", [0, 1], "true"),
        ("INT64", '[1, "2", 3]', [0, 1], "a string"),
        ("BOOL", "[true, 1, false]", [0, 1], "an integer"),
        ("BYTES", '["a", 1, "b"]', [0, 1], "an integer"),
        ("BYTES", '["a", "\\ud800", "b"]', [0, 1], "half a surrogate pair"),
        ("FP16", "[1, 2, 70000]", [0, 2], "one out of range"),
        ("FP64", "[1, 2, 1e999]", [0, 2], "one out of range"),
    ],
)
def test_no_datatype_converts_silently(
    datatype: str, text: str, index: list[int], got: str
) -> None:
    told = refused(f'[{{"image": {text}}}]', datatype=datatype)
    assert (told["index"], told["got"]) == (index, got)


def test_never_the_callers_data() -> None:
    secret = "hunter2" * 100
    for body in (f'[{{"image": ["{secret}"]}}]', f'["{secret}"]', f'"{secret}"', secret):
        assert secret not in json.dumps(refused(body))
    told = refused(json.dumps([{f"{secret}{number}": 1 for number in range(1000)}]))
    assert secret not in json.dumps(told)


def test_instances_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "MAX_INSTANCES", 2)
    with pytest.raises(RequestError) as caught:
        decoder().decode(json.dumps([{"image": [1, 2, 3]}] * 3).encode())
    assert caught.value.http_status == 413


# What is accepted


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name not in ("BOOL", "BYTES")])
def test_integers_are_fine_everywhere(datatype: str) -> None:
    array = value("[0, 1, 100]", datatype=datatype)
    assert array.dtype == np.dtype(DATATYPES[datatype])
    assert array.tolist() == [0, 1, 100]


def test_other_values_arrive_as_they_are() -> None:
    assert value("[true, false, true]", datatype="BOOL").tolist() == [True, False, True]
    assert value('["a", "\u00e9", ""]', datatype="BYTES").tolist() == ["a", "\u00e9", ""]
    assert value("[3.0, 1e2, 9007199254740993]", datatype="INT64").tolist() == [
        3, 100, 9007199254740993,
    ]  # fmt: skip
    assert value("[0, 1, 18446744073709551615]", datatype="UINT64").tolist()[2] == 2**64 - 1
    assert value("[0.1, -2.5e-3, 3]").tolist() == [np.float32(0.1), np.float32(-2.5e-3), 3.0]


@pytest.mark.parametrize(
    ("shape", "text", "arrives"),
    [
        ((2, 2), "[[1,2],[3,4]]", (2, 2)),
        ((2, 2), "[1,2,3,4]", (2, 2)),
        ((1, 2, 2), "[1,2,3,4]", (1, 2, 2)),
        ((), "7", ()),
        ((), "[7]", ()),
        ((-1,), "[1,2,3,4,5]", (5,)),
        ((-1,), "[]", (0,)),
        ((-1, 2), "[[1,2],[3,4],[5,6]]", (3, 2)),
        ((-1, 4), "[]", (0, 4)),
        ((-1, -1), "[]", (0, 0)),
    ],
)
def test_shapes_are_exact_or_flat(
    shape: tuple[int, ...], text: str, arrives: tuple[int, ...]
) -> None:
    assert value(text, shape=shape).shape == arrives


def test_a_byte_order_mark_is_no_fault() -> None:
    body = b"\xef\xbb\xbf" + json.dumps([{"image": [1, 2, 3]}]).encode()
    assert len(decoder().decode(body)) == 1


@given(st.binary(max_size=60))
def test_any_bytes_are_answered_or_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        decoder().decode(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)


@given(JSON, st.sampled_from(sorted(DATATYPES)), st.sampled_from([(), (2,), (2, 2), (-1, 2)]))
def test_any_json_is_taken_whole_or_refused(
    sent: object, datatype: str, shape: tuple[int, ...]
) -> None:
    try:
        (instance,) = decoder(datatype, shape).decode(json.dumps([{"image": sent}]).encode())
    except RequestError as error:
        assert error.details["field"] == "image"
        return
    array = instance["image"]
    assert array.dtype == np.dtype(DATATYPES[datatype])
    assert len(array.shape) == len(shape)
    flat = np.ravel(np.array(sent, dtype=object)).tolist()
    if not datatype.startswith("FP"):
        assert array.ravel().tolist() == flat


# Answers


def test_floats_are_written_with_the_fewest_digits() -> None:
    answer = encode([{"p": np.array([0.1, 1e-7, 1 / 3], dtype=np.float32)}])
    # Two writers of JSON differ in the exponent: 1e-7, 1e-07.
    assert answer.replace(b"e-07", b"e-7") == b'[{"p":[0.1,1e-7,0.33333334]}]'
    assert encode([{"p": np.array([0.1, 1 / 3])}]) == b'[{"p":[0.1,0.3333333333333333]}]'


def test_what_json_has_no_word_for_is_null() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        array = np.array([[1, np.nan], [np.inf, -np.inf]], dtype=dtype)
        assert to_plain(array) == [[1.0, None], [None, None]]
    assert to_plain(np.array(np.nan, dtype=np.float32)) is None


def test_every_kind_of_output_is_written() -> None:
    answer = encode(
        [
            {
                "label": np.array(7, dtype=np.int64),
                "flags": np.array([True, False]),
                "words": np.array(["\u00e9", b"b"], dtype=object),
                "empty": np.zeros((0, 3), dtype=np.float32),
                "score": np.array(0.5, dtype=np.float32),
            }
        ]
    )
    assert json.loads(answer) == [
        {"label": 7, "flags": [True, False], "words": ["\u00e9", "b"], "empty": [], "score": 0.5}
    ]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_floats_come_back_as_they_were(values: list[float]) -> None:
    array = np.array(values, dtype=np.float32)
    back = np.array(json.loads(encode([{"p": array}]))[0]["p"], dtype=np.float32)
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("name", ["x", "features", "a:b", 'q"uote', "t\\f", "ü"])
@given(
    values=st.lists(
        st.one_of(
            st.integers(-(2**70), 2**70), st.floats(), st.booleans(), st.none(), st.just("1.5"),
            st.lists(st.integers(0, 3), max_size=2), st.just({}),
        ),
        min_size=2, max_size=4,
    ),
    datatype=st.sampled_from(["FP32", "FP64", "INT8", "INT64", "UINT64", "BOOL"]),
)  # fmt: skip
def test_the_quick_way_is_only_quick(name: str, values: list[Any], datatype: str) -> None:
    pytest.importorskip("orjson")
    decoder = Decoder(ModelInfo("m", (TensorSpec(name, datatype, (-1, 3)),), ()), {name: (3,)})
    body = json.dumps([{name: values}, {name: values[::-1]}]).encode()
    slow = decoded(decoder._decode, body)
    assert decoded(decoder.decode, body) == slow


def decoded(way: Any, body: bytes) -> Any:
    """Return what came of it: dtypes, shapes and values, or the refusal."""
    try:
        return [
            [(key, str(array.dtype), array.shape, array.tolist()) for key, array in one.items()]
            for one in way(body)
        ]
    except RequestError as error:
        return error.message, error.details
