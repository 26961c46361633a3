"""ONNX files: which files they name, and which signatures can be served."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.models import save_doubler, save_model

from guildlite.errors import GuildliteError, MissingExtra
from guildlite.serve.runtimes import onnx as onnx_module
from guildlite.serve.runtimes.onnx import OnnxRuntime, check_external_files, external_files


def load(path: Path, run_dir: Path) -> OnnxRuntime:
    return OnnxRuntime(path, run_dir=run_dir, name="m")


def save_external(path: Path, location: str) -> Path:
    """Write the doubler with its weights in `location`, whatever that is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_doubler(path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    model = onnx.load(os.fspath(path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    path = save_external(tmp_path / "model" / "m.onnx", "weights.bin")
    assert list(external_files(path)) == ["weights.bin"]
    answer = load(path, tmp_path).predict({"image": np.ones((1, 4), dtype=np.float32)})
    assert answer["prediction"].tolist() == [[2, 2, 2]]


def test_weights_outside_the_run_are_refused(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(1000))
    for location in ("../secret.bin", "x/../../secret.bin", str(secret), "../../../etc/passwd"):
        path = save_external(run_dir / "m.onnx", location)
        with pytest.raises(GuildliteError, match="names weights outside the run"):
            load(path, run_dir)


def test_a_link_does_not_lead_outside(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    (tmp_path / "secret.bin").write_bytes(bytes(1000))
    path = save_external(run_dir / "m.onnx", "link.bin")
    (run_dir / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(GuildliteError, match="outside the run"):
        load(path, run_dir)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    path = save_external(tmp_path / "m.onnx", "gone.bin")
    with pytest.raises(GuildliteError, match=r"needs the file `gone\.bin`"):
        load(path, tmp_path)


def test_names_are_found_wherever_tensors_hide(tmp_path: Path) -> None:
    def tensor(name: str) -> onnx.TensorProto:
        result = numpy_helper.from_array(np.zeros(2, dtype=np.float32), name)
        result.data_location = TensorProto.EXTERNAL
        result.external_data.add(key="offset", value="0")
        result.external_data.add(key="location", value=name)
        return result

    inner = helper.make_graph([], "inner", [], [], [tensor("in-subgraph")])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    constant = helper.make_node("Constant", [], ["k"], value=tensor("in-attribute"))
    sparse = onnx.SparseTensorProto(values=tensor("in-sparse"), dims=[2])
    graph = helper.make_graph([node, constant], "g", [], [], [tensor("plain")])
    graph.sparse_initializer.append(sparse)
    model = helper.make_model(graph)
    function = helper.make_function("d", "f", [], ["z"], [constant], [])
    function.node[0].attribute[0].t.external_data[1].value = "in-function"
    model.functions.append(function)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert set(external_files(path)) == {
        "plain", "in-subgraph", "in-attribute", "in-sparse", "in-function",
    }  # fmt: skip


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_refused_in_a_sentence(tmp_path_factory: object, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"  # type: ignore[attr-defined]
    path.write_bytes(data)
    try:
        check_external_files(path, path.parent)
    except GuildliteError as error:
        assert "`any.onnx`" in error.message


def test_every_tensor_type_has_its_open_inference_name(tmp_path: Path) -> None:
    types = {
        TensorProto.BOOL: "BOOL", TensorProto.UINT8: "UINT8", TensorProto.UINT16: "UINT16",
        TensorProto.UINT32: "UINT32", TensorProto.UINT64: "UINT64", TensorProto.INT8: "INT8",
        TensorProto.INT16: "INT16", TensorProto.INT32: "INT32", TensorProto.INT64: "INT64",
        TensorProto.FLOAT16: "FP16", TensorProto.FLOAT: "FP32", TensorProto.DOUBLE: "FP64",
        TensorProto.STRING: "BYTES",
    }  # fmt: skip
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("Identity", [f"x{kind}"], [f"y{kind}"]) for kind in types],
        [(f"x{kind}", kind, ["n", 2]) for kind in types],
        [(f"y{kind}", kind, ["n", 2]) for kind in types],
    )
    info = load(path, tmp_path).info
    assert [spec.datatype for spec in info.inputs] == list(types.values())
    assert [spec.datatype for spec in info.outputs] == list(types.values())
    assert {spec.shape for spec in info.inputs} == {(-1, 2)}


def test_outputs_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "m.onnx"
    onnx.save(model, os.fspath(path))
    with pytest.raises(GuildliteError, match=r"`y` is a .*only tensors can be served"):
        load(path, tmp_path)


def test_a_missing_package_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra) as caught:
        load(save_doubler(tmp_path / "m.onnx"), tmp_path)
    assert caught.value.hint == 'pip install "guildlite[onnx]"'


def threads_of(runtime: OnnxRuntime) -> int:
    return int(runtime._session.get_session_options().intra_op_num_threads)


def test_a_small_quick_model_takes_one_thread(tmp_path: Path) -> None:
    path = save_doubler(tmp_path / "m.onnx")
    assert threads_of(OnnxRuntime(path, run_dir=tmp_path, name="m")) == 1


def test_others_take_what_onnxruntime_thinks_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_doubler(tmp_path / "m.onnx")
    with monkeypatch.context() as patch:
        patch.setattr(onnx_module, "SMALL_BYTES", 0)
        assert threads_of(OnnxRuntime(path, run_dir=tmp_path, name="m")) == 0
    with monkeypatch.context() as patch:
        patch.setattr(onnx_module, "INLINE_MODEL_S", 0.0)
        assert threads_of(OnnxRuntime(path, run_dir=tmp_path, name="m")) == 0


def test_threads_are_those_that_were_asked_for(tmp_path: Path) -> None:
    path = save_doubler(tmp_path / "m.onnx")
    assert threads_of(OnnxRuntime(path, run_dir=tmp_path, name="m", threads=3)) == 3
