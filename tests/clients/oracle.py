"""KServe's own model server with digits to ask for; runs in the environment of KServe's SDK.

It has no torch to look at pictures with: it knows the example's pictures by their bytes, and the pixels by
their values. Arguments: the names of the models that are ready, with commas between; the name of one that is
not. It says on stderr which port it found.
"""

from __future__ import annotations

import base64
import sys
from typing import Any

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.errors import InvalidInput
from pictures import DIGITS, picture, pixels


def key(data: str | bytes | np.ndarray[Any, Any]) -> bytes:
    """What tells a picture from the others: its PNG, also as base64, or its pixels."""
    if isinstance(data, np.ndarray):
        return data.astype("<f4").tobytes()
    return base64.b64decode(data) if isinstance(data, str) else data


KNOWN = {key(form): digit for digit in DIGITS for form in (picture(digit), pixels(digit))}


class Digits(Model):  # type: ignore[misc]  # the SDK has no types
    """Answers v1 and v2 as the MNIST example does."""

    def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": "x", "datatype": "FP32", "shape": [1, 28, 28]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        return [{"name": "x", "datatype": "INT64", "shape": [1]}]

    def predict(
        self, payload: dict[str, Any] | InferRequest, headers: dict[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        if not isinstance(payload, InferRequest):
            return {"predictions": [KNOWN[key(instance["data"])] for instance in instances(payload)]}
        outputs = []
        for given in payload.inputs:
            data = given.as_numpy()
            digit = KNOWN[key(data.ravel()[0] if given.datatype == "BYTES" else data)]
            output = InferOutput(given.name, [1], "INT64")
            raw = payload.use_binary_outputs
            output.set_data_from_numpy(np.array([digit], np.int64), binary_data=raw)
            outputs.append(output)
        return InferResponse(
            payload.id,
            self.name,
            outputs,
            model_version="1.0",
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )

    def explain(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        return {"explanations": [np.zeros((1, 28, 28)).tolist() for _ in instances(payload)]}


def instances(payload: Any) -> list[Any]:
    """What the SDK leaves to a model to check."""
    if not isinstance(payload, dict) or "instances" not in payload:
        raise InvalidInput('Expected key "instances" in request body')
    return list(payload["instances"])


def main() -> None:
    ready, idle = sys.argv[1].split(","), sys.argv[2]
    models = [Digits(name) for name in ready]
    for model in models:
        model.load()
    server = ModelServer(http_port=0, enable_grpc=False)
    # `start` would leave out a model that is not ready.
    server.registered_models.update(Digits(idle))
    server.start(models)


if __name__ == "__main__":
    main()
