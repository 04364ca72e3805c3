"""Asks a server through Triton's client over gRPC and prints as JSON what came of it; see `asking.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from asking import GRPC, IDLE, UNKNOWN, lineage
from pictures import DIGITS, picture, pixels
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import np_to_triton_dtype

Given = dict[str, Any]


def refused(call: Callable[[], Any]) -> Given:
    """How the client says that the server refused."""
    try:
        return {"answered": str(call())}
    except Exception as error:  # noqa: BLE001  which one it is, is the question
        status = getattr(error, "status", lambda: None)()
        return {"classes": list(lineage(error)), "text": str(error), "status": status}


def array(values: np.ndarray[Any, Any], name: str = "x") -> InferInput:
    given = InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    return given.set_data_from_numpy(values)


#: By name: what makes the inputs, and how they are sent. This client sends raw tensors only.
FORMS: dict[str, tuple[Callable[[int], list[InferInput]], Given]] = {
    "numbers": (lambda digit: [array(pixels(digit))], {}),
    "picture": (lambda digit: [array(np.array([picture(digit)], dtype=np.object_))], {}),
    "FP16": (lambda digit: [array(pixels(digit).astype(np.float16))], {}),
    "BF16": (lambda digit: [array(pixels(digit).astype(ml_dtypes.bfloat16))], {}),
    "one of two": (
        lambda digit: [array(pixels(9 - digit), "other"), array(pixels(digit))],
        {"outputs": [InferRequestedOutput("x")]},
    ),
    "a version": (lambda digit: [array(pixels(digit))], {"model_version": "1.0"}),
    "gzip": (lambda digit: [array(pixels(digit))], {"compression_algorithm": "gzip"}),
}


def found(result: InferResult) -> Given:
    response = result.get_response()
    (output,) = response.outputs
    return {
        "id": response.id,
        "name": output.name,
        "datatype": output.datatype,
        "shape": list(output.shape),
        "digit": result.as_numpy("x").tolist(),
    }


def asked(client: InferenceServerClient) -> Given:
    def infer(inputs: list[InferInput], model: str = "mnist", **options: Any) -> InferResult:
        return client.infer(model, inputs, request_id="asked", **options)

    numbers = [array(pixels(1))]
    wrong = array(pixels(1))
    wrong._input.shape[0] = 2  # the client has no other way to a tensor that does not fit its shape
    return {
        "live": client.is_server_live(),
        "server ready": client.is_server_ready(),
        "ready": [client.is_model_ready("mnist", version) for version in ("", "1.0")],
        "idle is ready": client.is_model_ready(IDLE),
        "readiness of unknown": refused(lambda: client.is_model_ready(UNKNOWN)),
        "server": client.get_server_metadata(as_json=True),
        "model": client.get_model_metadata("mnist", as_json=True),
        "forms": {
            name: [found(infer(make(digit), **options)) for digit in DIGITS]
            for name, (make, options) in FORMS.items()
        },
        "unknown": refused(lambda: infer(numbers, UNKNOWN)),
        "unknown version": refused(lambda: infer(numbers, model_version="9")),
        "unknown model's metadata": refused(lambda: client.get_model_metadata(UNKNOWN)),
        "idle": refused(lambda: infer(numbers, IDLE)),
        "wrong shape": refused(lambda: infer([wrong])),
        "unknown output": refused(lambda: infer(numbers, outputs=[InferRequestedOutput("nothing")])),
        "Triton's configuration": refused(lambda: client.get_model_config("mnist")),
    }


def main() -> None:
    with InferenceServerClient(GRPC) as client:
        print(json.dumps(asked(client)))


if __name__ == "__main__":
    main()
