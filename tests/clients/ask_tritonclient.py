"""Asks a server through Triton's client over HTTP and prints as JSON what came of it; see `asking.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import ml_dtypes
import numpy as np
from asking import BASE, IDLE, MANAGE, UNKNOWN, lineage
from pictures import DIGITS, picture, pixels, text
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import np_to_triton_dtype

Given = dict[str, Any]


def refused(call: Callable[[], Any]) -> Given:
    """How the client says that the server refused."""
    try:
        return {"answered": str(call())}
    except Exception as error:  # noqa: BLE001  which one it is, is the question
        status = getattr(error, "status", lambda: None)()
        return {"classes": list(lineage(error)), "text": str(error), "status": status}


def array(values: np.ndarray[Any, Any], name: str = "x", *, binary: bool) -> list[InferInput]:
    given = InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    return [given.set_data_from_numpy(values, binary_data=binary)]


def numbers(digit: int, *, binary: bool) -> list[InferInput]:
    return array(pixels(digit), binary=binary)


def png(digit: int, *, binary: bool) -> list[InferInput]:
    element = picture(digit) if binary else text(digit)
    return array(np.array([element], dtype=np.object_), binary=binary)


def half(digit: int) -> list[InferInput]:
    return array(pixels(digit).astype(np.float16), binary=True)


def bfloat(digit: int) -> list[InferInput]:
    return array(pixels(digit).astype(ml_dtypes.bfloat16), binary=True)


def pair(digit: int) -> list[InferInput]:
    """Two inputs, of which the second is wanted back: JSON beside raw bytes in one message."""
    return array(pixels(9 - digit), "other", binary=False) + array(pixels(digit), binary=True)


GZIP = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}
DEFLATE = {"request_compression_algorithm": "deflate", "response_compression_algorithm": "deflate"}


def wanted(*, binary: bool) -> dict[str, Any]:
    return {"outputs": [InferRequestedOutput("x", binary_data=binary)]}


#: By name: what makes the inputs, and how they are sent.
FORMS: dict[str, tuple[Callable[[int], list[InferInput]], Given]] = {
    "numbers in JSON": (lambda digit: numbers(digit, binary=False), wanted(binary=False)),
    "numbers in JSON, raw answer": (lambda digit: numbers(digit, binary=False), {}),
    "numbers raw": (lambda digit: numbers(digit, binary=True), {}),
    "numbers raw, answer in JSON": (lambda digit: numbers(digit, binary=True), wanted(binary=False)),
    "picture in JSON": (lambda digit: png(digit, binary=False), wanted(binary=False)),
    "picture raw": (lambda digit: png(digit, binary=True), wanted(binary=True)),
    "FP16": (half, {}),
    "BF16": (bfloat, {}),
    "one of two": (pair, wanted(binary=True)),
    "a version": (lambda digit: numbers(digit, binary=True), {"model_version": "1.0"}),
    "gzip both ways": (lambda digit: numbers(digit, binary=False), GZIP),
    "deflate both ways": (lambda digit: numbers(digit, binary=False), DEFLATE),
    "gzip both ways, raw": (lambda digit: numbers(digit, binary=True), GZIP),
}


def found(result: InferResult) -> Given:
    response = result.get_response()
    (output,) = response["outputs"]
    return {
        "id": response["id"],
        "name": output["name"],
        "datatype": output["datatype"],
        "shape": output["shape"],
        "raw": "data" not in output,
        "digit": result.as_numpy("x").tolist(),
    }


def asked(client: InferenceServerClient) -> Given:
    def infer(inputs: list[InferInput], model: str = "mnist", **options: Any) -> InferResult:
        return client.infer(model, inputs, request_id="asked", **options)

    wrong = InferInput("x", [1, 28, 28], "FP32")
    wrong._data = [1.0]  # the client has no other way to a tensor that does not fit its shape
    nothing = InferRequestedOutput("nothing")
    return {
        "live": client.is_server_live(),
        "server ready": client.is_server_ready(),
        "ready": [client.is_model_ready("mnist", version) for version in ("", "1.0")],
        "others are ready": [client.is_model_ready(name) for name in (IDLE, UNKNOWN)],
        "another version is ready": client.is_model_ready("mnist", "9"),
        "server": client.get_server_metadata(),
        "model": client.get_model_metadata("mnist"),
        "model of that version": client.get_model_metadata("mnist", "1.0"),
        "forms": {
            name: [found(infer(make(digit), **options)) for digit in DIGITS]
            for name, (make, options) in FORMS.items()
        },
        "explanation": explained(client),
        "unknown": refused(lambda: infer(numbers(1, binary=True), UNKNOWN)),
        "unknown version": refused(lambda: infer(numbers(1, binary=True), model_version="9")),
        "unknown model's metadata": refused(lambda: client.get_model_metadata(UNKNOWN)),
        "idle": refused(lambda: infer(numbers(1, binary=True), IDLE)),
        "wrong shape": refused(lambda: infer([wrong])),
        "unknown output": refused(lambda: infer(numbers(1, binary=True), outputs=[nothing])),
        "Triton's configuration": refused(lambda: client.get_model_config("mnist")),
        "load by the inference API": refused(lambda: client.load_model("mnist")),
    }


def explained(client: InferenceServerClient) -> list[int]:
    """The shape of a compressed answer that is long enough to be packed: the client's own post, since it has
    no explanations."""
    body, size = client.generate_request_body(numbers(3, binary=True))
    headers = {"Inference-Header-Content-Length": str(size), "Accept-Encoding": "gzip"}
    answer = client._post("v2/models/mnist/explain", body, headers, None)
    coding = answer.get("content-encoding")
    length = int(answer.get("inference-header-content-length"))
    result = InferenceServerClient.parse_response_body(
        answer.read(), header_length=length, content_encoding=coding
    )
    return [coding, *result.as_numpy("x").shape]


def repository(manager: InferenceServerClient, client: InferenceServerClient) -> Given:
    """Unloading and loading, which the management API does, and what the inference API says of it."""

    def index() -> Given:
        return {row["name"]: row["state"] for row in manager.get_model_repository_index()}

    manager.unload_model("mnist")
    unloaded = {
        "index": index(),
        "ready": client.is_model_ready("mnist"),
        "infer": refused(lambda: client.infer("mnist", numbers(1, binary=True))),
    }
    manager.load_model("mnist")
    loaded = {
        "index": index(),
        "ready": client.is_model_ready("mnist"),
        "infer": found(client.infer("mnist", numbers(1, binary=True), request_id="asked")),
    }
    return {
        "unloaded": unloaded,
        "loaded": loaded,
        "unknown": refused(lambda: manager.load_model(UNKNOWN)),
    }


def main() -> None:
    with (
        InferenceServerClient(urlsplit(BASE).netloc) as client,
        InferenceServerClient(urlsplit(MANAGE).netloc) as manager,
    ):
        print(json.dumps(asked(client) | {"repository": repository(manager, client)}))


if __name__ == "__main__":
    main()
