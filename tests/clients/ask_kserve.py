"""Asks a server through KServe's SDK and prints as JSON what came of it; `asking.py` tells the arguments."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

import numpy as np
from asking import BASE, GRPC, IDLE, UNKNOWN, lineage
from grpc import RpcError
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    InferResponse,
    RESTConfig,
)
from kserve.protocol.infer_type import RequestedOutput
from pictures import DIGITS, picture, pixels, text


async def refused(call: Awaitable[Any]) -> dict[str, Any]:
    """How the client says that the server refused."""
    try:
        return {"answered": str(await call)}
    except RpcError as error:
        return {"classes": list(lineage(error)), "text": error.details(), "status": error.code().name}
    except Exception as error:  # noqa: BLE001  which one it is, is the question
        status = getattr(getattr(error, "response", None), "status_code", None)
        return {"classes": list(lineage(error)), "text": str(error), "status": status}


async def first_version() -> dict[str, Any]:
    async with InferenceRESTClient(RESTConfig(protocol="v1", retries=0)) as client:

        async def predict(*digits: int, model: str = "mnist") -> Any:
            instances = [{"data": text(digit), "target": digit} for digit in digits]
            return await client.infer(BASE, {"instances": instances}, model_name=model)

        explained = await client.explain(BASE, "mnist", {"instances": [{"data": text(3), "target": 5}]})
        return {
            "live": await client.is_server_live(BASE),
            "ready": await client.is_model_ready(BASE, "mnist"),
            "idle is ready": await client.is_model_ready(BASE, IDLE),
            "one by one": [(await predict(digit))["predictions"] for digit in DIGITS],
            "together": (await predict(*DIGITS))["predictions"],
            "shape of the explanations": np.array(explained["explanations"]).shape,
            "unknown": await refused(predict(1, model=UNKNOWN)),
            "readiness of unknown": await refused(client.is_model_ready(BASE, UNKNOWN)),
            "idle": await refused(predict(1, model=IDLE)),
            "no list": await refused(client.infer(BASE, {"instances": 1}, model_name="mnist")),
        }


def numbers(digit: int, *, binary: bool) -> InferInput:
    given = InferInput("input-0", [1, 28, 28], "FP32")
    given.set_data_from_numpy(pixels(digit), binary_data=binary)
    return given


def png(digit: int, *, binary: bool) -> InferInput:
    given = InferInput("input-0", [1], "BYTES")
    element = picture(digit) if binary else text(digit)
    given.set_data_from_numpy(np.array([element], dtype=np.object_), binary_data=binary)
    return given


def request(given: InferInput, model: str = "mnist", **options: Any) -> InferRequest:
    return InferRequest(model, [given], request_id="asked", **options)


def found(response: InferResponse) -> dict[str, Any]:
    (output,) = response.outputs
    return {
        "id": response.id,
        "model": response.model_name,
        "name": output.name,
        "datatype": output.datatype,
        "shape": list(output.shape),
        "digit": output.as_numpy().tolist(),
    }


async def second_version() -> dict[str, Any]:
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=0)) as client:

        async def infer(asked: InferRequest, model: str = "mnist") -> dict[str, Any]:
            headers: dict[str, str] = {}
            response = await client.infer(BASE, asked, model_name=model, response_headers=headers)
            return found(response) | {"content type": headers["content-type"]}

        forms = {
            "numbers in JSON": lambda digit: request(numbers(digit, binary=False)),
            "numbers raw": lambda digit: request(numbers(digit, binary=True)),
            "picture in JSON": lambda digit: request(png(digit, binary=False)),
            "picture raw": lambda digit: request(png(digit, binary=True)),
            "raw answer": lambda digit: request(
                numbers(digit, binary=True), parameters={"binary_data_output": True}
            ),
            "named output": lambda digit: request(
                numbers(digit, binary=False),
                request_outputs=[RequestedOutput("input-0", {"binary_data": True})],
            ),
        }
        wrong = InferInput("input-0", [1, 28, 28], "FP32", data=[1.0])
        return {
            "live": await client.is_server_live(BASE),
            "server ready": await client.is_server_ready(BASE),
            "ready": await client.is_model_ready(BASE, "mnist"),
            "idle is ready": await client.is_model_ready(BASE, IDLE),
            "unknown is ready": await client.is_model_ready(BASE, UNKNOWN),
            "forms": {name: [await infer(make(digit)) for digit in DIGITS] for name, make in forms.items()},
            "unknown": await refused(infer(request(numbers(1, binary=True), UNKNOWN), UNKNOWN)),
            "idle": await refused(infer(request(numbers(1, binary=True), IDLE), IDLE)),
            "wrong shape": await refused(infer(request(wrong))),
        }


def typed(datatype: str, shape: list[int], data: list[Any]) -> InferInput:
    return InferInput("input-0", shape, datatype, data=data)


async def by_grpc() -> dict[str, Any]:
    async with InferenceGRPCClient(GRPC, retries=0) as client:

        async def infer(asked: InferRequest) -> dict[str, Any]:
            response = await client.infer(asked)
            return found(response) | {"raw": response.outputs[0]._raw_data is not None}

        forms = {
            "numbers typed": lambda digit: typed("FP32", [1, 28, 28], pixels(digit).ravel().tolist()),
            "numbers raw": lambda digit: numbers(digit, binary=True),
            "picture typed": lambda digit: typed("BYTES", [1], [picture(digit)]),
            "picture raw": lambda digit: png(digit, binary=True),
        }
        wrong = typed("FP32", [1, 28, 28], [1.0])
        return {
            "live": await client.is_server_live(),
            "server ready": await client.is_server_ready(),
            "ready": await client.is_model_ready("mnist"),
            "idle is ready": await client.is_model_ready(IDLE),
            "forms": {
                name: [await infer(request(make(digit))) for digit in DIGITS] for name, make in forms.items()
            },
            "readiness of unknown": await refused(client.is_model_ready(UNKNOWN)),
            "unknown": await refused(infer(request(numbers(1, binary=True), UNKNOWN))),
            "idle": await refused(infer(request(numbers(1, binary=True), IDLE))),
            "wrong shape": await refused(infer(request(wrong))),
        }


async def main() -> None:
    told = {"v1": await first_version(), "v2": await second_version(), "gRPC": await by_grpc()}
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main())
