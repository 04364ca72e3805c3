"""MLmodel as three majors of MLflow write it, or one sentence about what is wrong with it."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_models import mlmodel_text, tensor
from torchkeeper.wire.mlmodel import ColumnInput, Mlmodel, ScoringParam, TensorInput, read_mlmodel

#: As MLflow 1.30 writes it: columns without `required`, requirements and extra files in the flavor.
OLD = """
flavors:
  python_function: {data: data, env: conda.yaml, loader_module: mlflow.pytorch}
  pytorch:
    extra_files: [{path: extra_files/index_to_name.json}]
    model_data: data
    pytorch_version: 1.13.1
    requirements_file: {path: requirements/more.txt}
signature:
  inputs: '[{"name": "a", "type": "double"}, {"name": "b", "type": "long"}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]'
"""


def test_what_the_first_major_wrote() -> None:
    assert read_mlmodel(OLD) == Mlmodel(
        data="data",
        extra_files=("extra_files/index_to_name.json",),
        requirements="requirements/more.txt",
        torch_version="1.13.1",
        columns=(ColumnInput("a", "double"), ColumnInput("b", "long")),
    )


@pytest.mark.parametrize(
    ("inputs", "params", "found"),
    [
        (None, None, {}),
        ([tensor(-1, 3)], None, {"tensors": (TensorInput(None, "float32", (-1, 3)),)}),
        (
            [tensor(-1, dtype="int64", name="ids"), tensor(-1, 2, name="more")],
            None,
            {"tensors": (TensorInput("ids", "int64", (-1,)), TensorInput("more", "float32", (-1, 2)))},
        ),
        (
            [{"type": "any", "required": True}, {"type": "string", "name": "x", "required": False}],
            [
                {"name": "k", "type": "integer", "default": 5, "shape": None},
                {"name": "device", "type": "string", "default": "cpu", "shape": None},
                {"name": "cuts", "dtype": "double", "default": [1.5], "shape": [-1]},
            ],
            {
                "columns": (ColumnInput(None, "any"), ColumnInput("x", "string", required=False)),
                "params": (ScoringParam("k", "integer", 5), ScoringParam("cuts", "double", [1.5], many=True)),
            },
        ),
    ],
)
def test_signatures(inputs: Any, params: Any, found: dict[str, Any]) -> None:
    expected = Mlmodel("data", code="code", torch_version="2.0.1", **found)
    assert read_mlmodel(mlmodel_text(inputs, params, code="code")) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "is no YAML"),
        ("- 1", "no mapping `flavors`"),
        ("flavors: 3", "no mapping `flavors`"),
        (mlmodel_text(flavors={"sklearn": {}, "python_function": {}}), "has the flavors sklearn, and only"),
        (mlmodel_text(flavors={"python_function": {}}), "has the flavors python_function, and only"),
        (mlmodel_text(flavors={}), "has the flavors none, and only"),
        (mlmodel_text(code="../code"), "names ../code, which is outside"),
        (mlmodel_text(model_data="/data"), "names /data, which is outside"),
        (mlmodel_text(extra_files=[{}]), "is not as MLflow writes it"),
        (mlmodel_text([{"name": "a"}]), "is not as MLflow writes it"),
        (mlmodel_text([tensor(-1), {"type": "long"}]), "neither all columns nor all tensors"),
        (mlmodel_text([{"type": "tensor", "tensor-spec": {"dtype": "x", "shape": ["n"]}}]), "not as MLflow"),
        (mlmodel_text().replace("mlflow_version", "signature: {inputs: '['}\nx"), "signature is no JSON"),
    ],
)
def test_what_is_none_is_said(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="MLmodel") as raised:
        read_mlmodel(text)
    assert why in str(raised.value)


KEYS = ("flavors", "pytorch", "signature", "inputs", "params", "type", "code", "extra_files")
ANYTHING = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)


@given(ANYTHING, ANYTHING)
def test_whatever_it_holds_it_is_read_or_refused(flavor: Any, signature: Any) -> None:
    text = json.dumps({"flavors": {"pytorch": flavor}, "signature": signature})
    with contextlib.suppress(ValueError):
        assert read_mlmodel(text).data
