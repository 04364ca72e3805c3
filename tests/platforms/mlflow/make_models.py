"""Saves small models as MLflow does, and what its own scoring server answers for them.

Run as `python make_models.py FOLDER` with MLflow and torch: FOLDER/<name> is a model each, and
FOLDER/expected.json has for each a list of [body, content type, status, answer].
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.models.signature import ModelSignature
from mlflow.pyfunc.scoring_server import invocations
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

#: A class that only the model's own code has.
MODULE = """
import torch
from parts.inner import Inner


class Scorer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Inner()

    def forward(self, x):
        return self.inner(x).softmax(-1)
"""
INNER = """
import torch


class Inner(torch.nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
"""


class Scaled(torch.nn.Module):
    """A class of the script, which is pickled by value; it is told a factor by each request."""

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
        return self.last(x.flatten(1)) * factor


class Tokens(torch.nn.Module):
    """Takes whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(9, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.table(x).sum(1)


def columns(**kinds: str) -> Schema:
    return Schema([ColSpec(kind, name) for name, kind in kinds.items()])


def tensor(kind: str, *shape: int) -> Schema:
    return Schema([TensorSpec(np.dtype(kind), shape)])


TABLES = [
    {
        "dataframe_split": {
            "columns": ["a", "b", "c"],
            "index": [7, 8],
            "data": [[1, 2, 3], [0.5, None, True]],
        }
    },
    {"dataframe_split": {"columns": ["c", "a", "more", "b"], "data": [[3, 1, 9, "2.5"]]}},
    {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}},
    {"dataframe_split": {"columns": ["a", "b", "c"], "data": []}},
    {"dataframe_records": [{"a": 1, "b": 2, "c": 3}, {"c": 0.5, "a": 1.5}]},
    {"dataframe_records": [{"a": 1, "b": 2, "c": "three"}]},
    {"instances": [{"a": 1.5, "b": 2, "c": 3}, {"a": 0, "b": 0, "c": 1}]},
    {"inputs": {"a": [1.5, 2], "b": [2, 3], "c": [3, 4]}},
    {"inputs": {"a": 1.5, "b": 2, "c": 3}},
    {"instances": [[1.5, 2, 3]]},
]
FILES = ["a,b,c\n1,2,3\n0.5,,1.5\n", "c,b,a\n3,2,1\n", ",a,b,c\n0,1,2,3\n", "a,b,c\n"]
ARRAYS = [
    {"instances": [[[1, 2], [3, 4]], [[0.5, 1], [1.5, 2]]]},
    {"inputs": [[[1.5, 2], [3, 4]]], "params": {"factor": 3, "unknown": 1}},
    {"inputs": [[[1.5, 2], [3, 4]]], "params": {"factor": "much"}},
    {"instances": [[1, 2, 3, 4]]},
    {"instances": [{"a": 1}]},
    {"dataframe_split": {"columns": ["pixels"], "data": [[[1, 2, 3, 4]], [[0.5, 1, 1.5, 2]]]}},
    {"instances": [[[1, 2], [3, 4]]], "inputs": [[[1, 2], [3, 4]]]},
    [[[1, 2], [3, 4]]],
]
FLAT = [
    {"inputs": [[1, 2, 3], [0.5, 1, 1.5]]},
    {"dataframe_split": {"data": [[1, 2, 3]]}},
    {"inputs": [1, 2]},
]
WORDS = [{"inputs": [[1, 2, 8], [0, 3, 4]]}, {"instances": [[1, 2]]}, {"inputs": [["one", "two"]]}]


def main(home: Path) -> None:
    code = home / "src"
    (code / "parts").mkdir(parents=True)
    (code / "scorer.py").write_text(MODULE)
    (code / "parts" / "__init__.py").write_text("")
    (code / "parts" / "inner.py").write_text(INNER)
    sys.path.insert(0, str(code))
    scorer = importlib.import_module("scorer").Scorer()
    torch.manual_seed(0)
    pickled = {"pip_requirements": ["torch", "mlflow", "cloudpickle"], "serialization_format": "pickle"}
    own = {"code_paths": [str(code / "scorer.py"), str(code / "parts")]}
    table = ModelSignature(columns(a="double", b="double", c="double"))
    picture = ModelSignature(
        tensor("float32", -1, 2, 2), params=ParamSchema([ParamSpec("factor", "double", 1.0)])
    )
    flat = ModelSignature(tensor("float32", -1, 3))
    save = mlflow.pytorch.save_model
    save(scorer, str(home / "columns"), signature=table, **own, **pickled)
    save(scorer, str(home / "plain"), **own, **pickled)
    save(Scaled(), str(home / "arrays"), signature=picture, **pickled)
    save(Tokens(), str(home / "tokens"), signature=ModelSignature(tensor("int64", -1, -1)), **pickled)
    save(torch.jit.script(torch.nn.Linear(3, 2)), str(home / "script"), signature=flat, **pickled)
    example = np.zeros((2, 3), dtype=np.float32)
    save(
        torch.nn.Linear(3, 2),
        str(home / "program"),
        signature=flat,
        input_example=example,
        pip_requirements=["torch"],
    )
    asked = {
        "columns": TABLES,
        "plain": [one for one in TABLES if "dataframe_split" in one and "index" in one["dataframe_split"]],
        "arrays": ARRAYS,
        "tokens": WORDS,
        "script": FLAT,
        "program": FLAT,
    }
    files = {"columns": FILES, "plain": FILES[:2]}
    expected = {}
    for name, payloads in asked.items():
        model = mlflow.pyfunc.load_model(str(home / name))
        bodies = [(json.dumps(payload), "application/json") for payload in payloads]
        bodies += [(text, "text/csv") for text in files.get(name, ())]
        expected[name] = [[body, kind, *answered(model, body, kind)] for body, kind in bodies]
    (home / "expected.json").write_text(json.dumps(expected))


def answered(model: mlflow.pyfunc.PyFuncModel, body: str, kind: str) -> tuple[int, object]:
    """Status and answer of MLflow's server."""
    try:
        found = invocations(body, kind, model, model.metadata.get_input_schema())
    except MlflowException as error:
        return error.get_http_status_code(), None
    return found.status, json.loads(found.response)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
