"""The requests that KServe's own server and ours are both asked, in this order."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from typing import Any

from pictures import picture, pixels, text

#: The digits that an answer must hold; None: it holds none.
Digits = tuple[int, ...] | None
LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Case:
    """One request. `manage`: ours is asked on the management address; KServe's has only one."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    manage: bool = False
    digits: Digits = None


def get(path: str) -> Case:
    return Case("GET", path)


def post(path: str, body: Any = None, digits: Digits = None, **headers: str) -> Case:
    given = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": "application/json"} | headers
    return Case("POST", path, given, fields, digits=digits)


def v1(body: Any, digits: Digits = None, model: str = "mnist", verb: str = "predict") -> Case:
    return post(f"/v1/models/{model}:{verb}", body, digits)


def v2(*inputs: Any, digits: Digits = None, path: str = "mnist", **more: Any) -> Case:
    return post(f"/v2/models/{path}/infer", {"id": "asked", "inputs": list(inputs)} | more, digits)


def raw(given: Any, rest: bytes, digits: Digits = None, length: str = "", **more: Any) -> Case:
    """A request with raw tensors behind its JSON, sent as KServe's SDK does."""
    head = json.dumps({"id": "asked", "inputs": [given]} | more).encode()
    headers = {LENGTH: length or str(len(head)), "Content-Type": "application/octet-stream"}
    return post("/v2/models/mnist/infer", head + rest, digits, **headers)


def tensor(data: Any = ..., name: str = "x", **more: Any) -> dict[str, Any]:
    """A tensor of pixels; `data` absent: there is none."""
    found = {"name": name, "datatype": "FP32", "shape": [1, 28, 28]} | more
    return found if data is ... else found | {"data": data}


def instance(digit: int) -> dict[str, Any]:
    return {"data": text(digit), "target": digit}


NESTED, FLAT, BYTES = pixels(1).tolist(), pixels(1).ravel().tolist(), pixels(1).tobytes()
IN_RAW = tensor(parameters={"binary_data_size": len(BYTES)})
PNG = len(picture(0)).to_bytes(4, "little") + picture(0)
GIVEN = v2(tensor(FLAT))

CASES: dict[str, Case] = {
    # --- what the server says of itself
    "alive": get("/"),
    "metrics": get("/metrics"),
    "v2 server": get("/v2"),
    "v2 server with a slash": get("/v2/"),
    "v2 live": get("/v2/health/live"),
    "v2 ready": get("/v2/health/ready"),
    "v1 list": get("/v1/models"),
    "v2 list": get("/v2/models"),
    "v2 model": get("/v2/models/mnist"),
    "v2 model, version": get("/v2/models/mnist/versions/1.0"),
    "v2 model, unknown": get("/v2/models/unknown"),
    # --- readiness
    "v1 ready": get("/v1/models/mnist"),
    "v1 ready, idle": get("/v1/models/idle"),
    "v1 ready, unknown": get("/v1/models/unknown"),
    "v2 model ready": get("/v2/models/mnist/ready"),
    "v2 model ready, idle": get("/v2/models/idle/ready"),
    "v2 model ready, unknown": get("/v2/models/unknown/ready"),
    "v2 model ready, version": get("/v2/models/mnist/versions/1.0/ready"),
    "v2 model ready, unknown version": get("/v2/models/mnist/versions/9/ready"),
    # --- v1
    "v1 predict": v1({"instances": [instance(2)]}, (2,)),
    "v1 predict, several": v1({"instances": [instance(digit) for digit in range(10)]}, tuple(range(10))),
    "v1 predict, none": v1({"instances": []}, ()),
    "v1 explain": v1({"instances": [instance(2), instance(3)]}, verb="explain"),
    "v1 predict by curl -d": post(
        "/v1/models/mnist:predict",
        {"instances": [instance(2)]},
        **{"Content-Type": "application/x-www-form-urlencoded"},
    ),
    "v1 predict, charset": post(
        "/v1/models/mnist:predict",
        {"instances": [instance(2)]},
        **{"Content-Type": "application/json; charset=utf-8"},
    ),
    "v1 unknown model": v1({"instances": [instance(2)]}, model="unknown"),
    "v1 idle model": v1({"instances": [instance(2)]}, model="idle"),
    "v1 explain, unknown model": v1({"instances": [instance(2)]}, model="unknown", verb="explain"),
    "v1 no JSON": v1(b"{"),
    "v1 nothing": v1(b""),
    "v1 no object": v1([1]),
    "v1 without instances": v1({"inputs": []}),
    "v1 instances no list": v1({"instances": 1}),
    "v1 unknown verb": v1({"instances": []}, verb="nothing"),
    "v1 predict by GET": get("/v1/models/mnist:predict"),
    "v1 list by POST": post("/v1/models", {}),
    "v1 model by DELETE": Case("DELETE", "/v1/models/mnist"),
    # --- v2
    "v2 flat": v2(tensor(FLAT), digits=(1,)),
    "v2 nested": v2(tensor(NESTED), digits=(1,)),
    "v2 FP64": v2(tensor(FLAT, datatype="FP64"), digits=(1,)),
    "v2 two": v2(tensor(FLAT), tensor(pixels(7).ravel().tolist(), name="y"), digits=(1, 7)),
    "v2 picture": v2(tensor([text(0)], datatype="BYTES", shape=[1]), digits=(0,)),
    "v2 without an id": post("/v2/models/mnist/infer", {"inputs": [tensor(FLAT)]}, (1,)),
    "v2 output by name": v2(tensor(FLAT), outputs=[{"name": "x"}], digits=(1,)),
    "v2 raw": raw(IN_RAW, BYTES, digits=(1,)),
    "v2 raw picture": raw(
        tensor(datatype="BYTES", shape=[1], parameters={"binary_data_size": len(PNG)}), PNG, digits=(0,)
    ),
    "v2 raw both ways": raw(IN_RAW, BYTES, parameters={"binary_data_output": True}),
    "v2 raw out by name": raw(IN_RAW, BYTES, outputs=[{"name": "x", "parameters": {"binary_data": True}}]),
    "v2 JSON in, raw out": v2(tensor(FLAT), parameters={"binary_data_output": True}),
    "v2 of a version": v2(tensor(FLAT), path="mnist/versions/1.0"),
    "v2 of an unknown version": v2(tensor(FLAT), path="mnist/versions/9"),
    "v2 gzip": post("/v2/models/mnist/infer", gzip.compress(GIVEN.body), **{"Content-Encoding": "gzip"}),
    "v2 no content type": Case("POST", "/v2/models/mnist/infer", GIVEN.body),
    "v2 explain": post("/v2/models/mnist/explain", {"inputs": [tensor(FLAT)]}),
    "v2 unknown model": v2(tensor(FLAT), path="unknown"),
    "v2 idle model": v2(tensor(FLAT), path="idle"),
    "v2 no JSON": post("/v2/models/mnist/infer", b"{"),
    "v2 nothing": post("/v2/models/mnist/infer", b""),
    "v2 no object": post("/v2/models/mnist/infer", [1]),
    "v2 without inputs": post("/v2/models/mnist/infer", {"id": "asked"}),
    "v2 inputs no list": post("/v2/models/mnist/infer", {"inputs": 1}),
    "v2 no inputs": v2(),
    "v2 input no object": v2(1),
    "v2 without a name": v2(tensor(FLAT, name=None)),
    "v2 without data": v2(tensor()),
    "v2 wrong shape": v2(tensor(FLAT, shape=[1, 28, 27])),
    "v2 negative shape": v2(tensor(FLAT, shape=[-1, 28, 28])),
    "v2 unknown datatype": v2(tensor(FLAT, datatype="FP99")),
    "v2 wrong data": v2(tensor(["a"] * 784)),
    "v2 FP16 in JSON": v2(tensor(FLAT, datatype="FP16")),
    "v2 id a number": v2(tensor(FLAT), id=1),
    "v2 unknown output": v2(tensor(FLAT), outputs=[{"name": "nothing"}]),
    "v2 raw, too short": raw(IN_RAW, BYTES[:-4]),
    "v2 raw, too long": raw(IN_RAW, BYTES + b"more"),
    "v2 raw, length no number": raw(IN_RAW, BYTES, length="x"),
    "v2 raw, length too large": raw(IN_RAW, BYTES, length="99999999"),
    "v2 infer by GET": get("/v2/models/mnist/infer"),
    "v2 live by POST": post("/v2/health/live", {}),
    "v2 unknown path": get("/v2/nothing"),
    # --- the repository
    "index": Case("POST", "/v2/repository/index", b"{}", manage=True),
    "load": Case("POST", "/v2/repository/models/mnist/load", manage=True),
    "load, unknown": Case("POST", "/v2/repository/models/unknown/load", manage=True),
    "unload": Case("POST", "/v2/repository/models/mnist_explain/unload", manage=True),
    "unload, unknown": Case("POST", "/v2/repository/models/mnist_explain/unload", manage=True),
    "v2 after unloading": v2(tensor(FLAT), path="mnist_explain"),
}
