"""Models in folders as MLflow writes them, made without it; tests/platforms has MLflow's own."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

#: A module of a model's own code, which is on the import path only while it is saved.
NET = """
import torch


class {name}(torch.nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
"""
COLUMNS = [{"name": name, "type": "double", "required": True} for name in "abc"]


def tensor(*shape: int, dtype: str = "float32", name: str | None = None) -> dict[str, Any]:
    """A tensor of a signature's inputs."""
    spec = {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}
    return spec if name is None else {"name": name, **spec}


def mlmodel_text(inputs: Any = None, params: Any = None, *, flavors: Any = None, **pytorch: Any) -> str:
    """MLmodel of a model with this signature; `pytorch` are further keys of its flavor."""
    flavor = {"model_data": "data", "pytorch_version": "2.0.1", "code": None, **pytorch}
    known: dict[str, Any] = {"pytorch": flavor, "python_function": {"loader_module": "mlflow.pytorch"}}
    found: dict[str, Any] = {"flavors": known if flavors is None else flavors, "mlflow_version": "2.9.2"}
    if inputs is not None:
        found["signature"] = {"inputs": json.dumps(inputs), "params": params and json.dumps(params)}
    return yaml.safe_dump(found)


def save(folder: Path, model: Any, inputs: Any = None, params: Any = None, **pytorch: Any) -> Path:
    """Saves a module, pickled or as TorchScript or .pt2, as MLflow 2 and 3 do."""
    data = folder / "data"
    data.mkdir(parents=True)
    if isinstance(model, torch.jit.ScriptModule):
        model.save(str(data / "model.pth"))  # type: ignore[no-untyped-call]
    elif isinstance(model, torch.nn.Module | dict):
        torch.save(model, data / "model.pth")
    else:
        torch.export.save(model, data / "model.pt2")
    (data / "pickle_module_info.txt").write_text("mlflow.pytorch.pickle_module")
    (folder / "MLmodel").write_text(mlmodel_text(inputs, params, **pytorch))
    (folder / "requirements.txt").write_text("torch==2.0.1\nMLflow==2.9.2\ncloudpickle==2.2.1\n")
    return folder


def save_with_code(folder: Path, name: str, inputs: Any = None) -> Path:
    """Saves a model whose class `name` is in a module of its own code."""
    (folder / "code").mkdir(parents=True)
    module = f"{name.lower()}_module"
    (folder / "code" / f"{module}.py").write_text(NET.format(name=name))
    sys.path.insert(0, str(folder / "code"))
    try:
        model = getattr(importlib.import_module(module), name)()
        return save(folder, model, inputs, code="code")
    finally:
        sys.path.remove(str(folder / "code"))
        sys.modules.pop(module, None)
