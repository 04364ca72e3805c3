"""Infer requests of KServe v2, put together."""

from __future__ import annotations

from typing import Any


def infer(*inputs: Any, **more: Any) -> dict[str, Any]:
    return {"inputs": list(inputs), **more}


def tensor(name: str, datatype: str, shape: list[int], data: Any = ..., **parameters: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
    if data is not ...:
        found["data"] = data
    return found | ({"parameters": parameters} if parameters else {})
