"""Models for onnxruntime: what they take is read from the file, and batches are torch's tensors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from torchkeeper.handler.ports import Port, Size, fixed
from torchkeeper.handler.weights import load_whole
from torchkeeper.testing import run_handler
from torchkeeper.wire.messages import Failure, Reply, Signature, TensorSpec

CPU = torch.device("cpu")

#: An old handler, which asks a session as TorchServe's users did.
HANDLER = """
import numpy
from ts.torch_handler.base_handler import BaseHandler


class Old(BaseHandler):
    def handle(self, data, context):
        name = self.model.get_inputs()[0].name
        rows = numpy.array([[1, 1]] * len(data), numpy.float32)
        return self.model.run(None, {name: rows})[0].tolist()
"""


def write(path: Path, batch: Any = "batch", *, axis: int = 1, kind: int = TensorProto.FLOAT) -> Path:
    """Two outputs for rows of two numbers: their softmax along an axis, and what is above zero."""
    graph = helper.make_graph(
        [
            helper.make_node("Softmax", ["x"], ["likely"], axis=axis),
            helper.make_node("Relu", ["x"], ["above"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", kind, [batch, 2])],
        [
            helper.make_tensor_value_info("likely", kind, [batch if type(batch) is int else "other", 2]),
            helper.make_tensor_value_info("above", kind, [batch, 2]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", ["batch", None, 1, 4])
@pytest.mark.parametrize("count", [1, 3, 9])
def test_batches_of_any_size(tmp_path: Path, batch: Any, count: int) -> None:
    model = load_whole(write(tmp_path / "m.onnx", batch), CPU)
    x = torch.randn(count, 2)
    likely, above = model(x)
    torch.testing.assert_close(likely, x.softmax(1))
    torch.testing.assert_close(above, x.relu())


def test_names_shapes_and_datatypes_come_from_the_file(tmp_path: Path) -> None:
    model = load_whole(write(tmp_path / "m.onnx"), CPU)
    assert model.inputs == (Port("x", "FP32", (Size(0, None, "batch"), fixed(2))),)
    assert model.signature == Signature(
        (TensorSpec("x", "FP32", (-1, 2)),),
        (TensorSpec("likely", "FP32", (-1, 2)), TensorSpec("above", "FP32", (-1, 2))),
    )
    with pytest.raises(ValueError, match=r"input x: shape \[1, 3\] is not \[0.., 2\]"):
        model(torch.ones(1, 3))


def test_one_output_is_no_tuple(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, ["n"])],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
    assert load_whole(tmp_path / "m.onnx", CPU)(torch.tensor([1, 2])).tolist() == [-1, -2]


@pytest.mark.parametrize("axis", [1, 0])
def test_the_handler_tensors_joins_no_rows_that_depend_on_each_other(tmp_path: Path, axis: int) -> None:
    write(tmp_path / "m.onnx", axis=axis)
    given = [np.arange(count * 2.0).reshape(count, 2) for count in (1, 3)]
    tensors = [{"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.tolist()} for x in given]
    replies = run_handler(
        "tensors",
        [json.dumps({"inputs": [tensor], "outputs": [{"name": "likely"}]}) for tensor in tensors],
        model_dir=tmp_path,
        model={"serializedFile": "m.onnx"},
    )
    for x, reply in zip(given, replies, strict=True):
        assert isinstance(reply, Reply)
        (output,) = json.loads(reply.body)["outputs"]
        expected = torch.from_numpy(x).softmax(axis).numpy()
        np.testing.assert_allclose(np.reshape(output["data"], output["shape"]), expected, 1e-5)


def write_graph(path: Path, operator: str, names: list[str], kind: int) -> Path:
    """One operator on rows of two elements, whose number has no name."""
    inputs = [helper.make_tensor_value_info(name, kind, [None, 2]) for name in names]
    output = helper.make_tensor_value_info("z", kind, [None, 2])
    graph = helper.make_graph([helper.make_node(operator, names, ["z"])], "net", inputs, [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_inputs_of_unlike_rows_are_not_joined_though_the_file_names_no_sizes(tmp_path: Path) -> None:
    write_graph(tmp_path / "m.onnx", "Add", ["x", "y"], TensorProto.FLOAT)
    requests = [
        {
            "inputs": [
                {"name": name, "datatype": "FP32", "shape": [rows, 2], "data": [value] * rows * 2}
                for name, rows, value in (("x", one, number), ("y", other, 100 * number))
            ]
        }
        for number, (one, other) in enumerate(((3, 1), (1, 3), (2, 2)), 1)
    ]
    first, second, good = run_handler(
        "tensors",
        [json.dumps(request) for request in requests],
        model_dir=tmp_path,
        model={"serializedFile": "m.onnx"},
    )
    assert isinstance(first, Failure)
    assert "all inputs must have equally many rows; x has 3, y has 1" in str(first)
    assert isinstance(second, Failure)
    assert isinstance(good, Reply)
    assert json.loads(good.body)["outputs"][0]["data"] == [303.0] * 4


def test_the_handler_tensors_refuses_a_model_of_strings(tmp_path: Path) -> None:
    write_graph(tmp_path / "m.onnx", "Identity", ["x"], TensorProto.STRING)
    with pytest.raises(RuntimeError, match="no datatype for the model's x, z"):
        run_handler("tensors", [b""], model_dir=tmp_path, model={"serializedFile": "m.onnx"})


def test_a_handler_that_asks_the_session_finds_it(tmp_path: Path) -> None:
    write(tmp_path / "m.onnx")
    (tmp_path / "old.py").write_text(HANDLER)
    (reply,) = run_handler(tmp_path / "old.py", [b""], model={"serializedFile": "m.onnx"})
    assert isinstance(reply, Reply)
    assert json.loads(reply.body) == [0.5, 0.5]


def test_files_that_are_none_and_a_missing_package_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.onnx").write_bytes(b"none")
    with pytest.raises(RuntimeError, match=r"m\.onnx cannot be loaded by onnxruntime"):
        load_whole(tmp_path / "m.onnx", CPU)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeError, match=r"m\.onnx needs onnxruntime: pip install torchkeeper\[onnx\]"):
        load_whole(tmp_path / "m.onnx", CPU)
