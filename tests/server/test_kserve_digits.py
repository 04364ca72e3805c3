"""Digits and explanations over KServe v1 and v2: the payloads of TorchServe's KServe examples, real MNIST."""

from __future__ import annotations

import base64
import io
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kserve_requests import infer, tensor  # type: ignore[import-not-found]  # likewise
from PIL import Image

from conftest import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    EXAMPLE,
    Server,
    mnist_server,
)

pytestmark = pytest.mark.slow

LENGTH = "Inference-Header-Content-Length"


def picture(digit: int) -> bytes:
    return (EXAMPLE / "test_data" / f"{digit}.png").read_bytes()


def text(digit: int) -> str:
    return base64.b64encode(picture(digit)).decode()


def pixels(digit: int) -> np.ndarray[Any, Any]:
    """A digit as the model takes it: float32 [1, 28, 28], normalised."""
    grey = np.array(Image.open(io.BytesIO(picture(digit))), dtype=np.float32) / 255
    return ((grey - np.float32(0.1307)) / np.float32(0.3081)).reshape(1, 28, 28)


def raw_request(body: dict[str, Any], raw: bytes) -> dict[str, Any]:
    head = json.dumps(body).encode()
    return {"content": head + raw, "headers": {LENGTH: str(len(head))}}


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = mnist_server(tmp_path_factory.mktemp("mnist"))
    yield server
    server.stop()


def test_the_examples_digits_on_v1(mnist: Server) -> None:
    body = {"instances": [{"data": text(2), "target": 0}]}
    answer = mnist.client.post("/v1/models/mnist:predict", json=body)
    assert (answer.status_code, answer.json()) == (200, {"predictions": [2]})
    assert answer.headers["content-type"] == "application/json"
    explained = mnist.client.post("/v1/models/mnist:explain", json=body).json()["explanations"]
    assert np.array(explained).shape == (1, 1, 28, 28)


def test_the_examples_digits_on_v2(mnist: Server) -> None:
    url = "/v2/models/mnist/infer"
    of_bytes = tensor("312a4eb0-0ca7-4803-a101-a6d2c18486fe", "BYTES", [-1], [text(0)])
    answer = mnist.client.post(url, json=infer(of_bytes, id="d3b15cad-50a2-4eaf-80ce-8b0a428bd298"))
    assert answer.json() == {
        "id": "d3b15cad-50a2-4eaf-80ce-8b0a428bd298",
        "model_name": "mnist",
        "model_version": "1.0",
        "outputs": [
            {
                "name": "312a4eb0-0ca7-4803-a101-a6d2c18486fe",
                "datatype": "INT64",
                "shape": [1],
                "data": [0],
            }
        ],
    }
    of_numbers = tensor("input-0", "FP32", [1, 28, 28], pixels(1).tolist())
    found = mnist.client.post(url, json=infer(of_numbers))
    assert found.json()["outputs"][0]["data"] == [1]
    assert found.json()["id"] == found.headers["x-request-id"]
    versioned = mnist.client.post("/v2/models/mnist/versions/1.0/infer", json=infer(of_numbers))
    assert versioned.json()["outputs"] == found.json()["outputs"]


def test_ten_digits_in_each_of_v2s_forms(mnist: Server) -> None:
    url = "/v2/models/mnist/infer"
    for digit in range(10):
        numbers = pixels(digit)
        bfloat = torch.from_numpy(numbers).bfloat16().view(torch.int16).numpy()
        forms: list[dict[str, Any]] = [
            {"json": infer(tensor("x", "FP32", [1, 28, 28], numbers.ravel().tolist()))},
            {"json": infer(tensor("x", "FP64", [1, 28, 28], numbers.tolist()))},
        ]
        for datatype, raw in (
            ("FP32", numbers.tobytes()),
            ("FP64", numbers.astype("<f8").tobytes()),
            ("FP16", numbers.astype("<f2").tobytes()),
            ("BF16", bfloat.tobytes()),
        ):
            given = tensor("x", datatype, [1, 28, 28], binary_data_size=len(raw))
            forms.append(raw_request(infer(given), raw))
        framed = struct.pack("<I", len(picture(digit))) + picture(digit)
        given = tensor("x", "BYTES", [1], binary_data_size=len(framed))
        forms.append(raw_request(infer(given), framed))
        for form in forms:
            answer = mnist.client.post(url, **form)
            assert answer.status_code == 200, answer.text
            assert answer.json()["outputs"][0]["data"] == [digit]


def test_raw_in_and_raw_out(mnist: Server) -> None:
    raw = pixels(7).tobytes()
    body = infer(tensor("x", "FP32", [1, 28, 28], binary_data_size=len(raw)))
    answer = mnist.client.post(
        "/v2/models/mnist/infer", **raw_request(body | {"parameters": {"binary_data_output": True}}, raw)
    )
    size = int(answer.headers[LENGTH])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert json.loads(answer.content[:size])["outputs"] == [
        {"name": "x", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}}
    ]
    assert struct.unpack("<q", answer.content[size:]) == (7,)


def test_explanations_have_the_same_numbers_on_every_url(mnist: Server) -> None:
    form = {"data": ("3.png", picture(3))}
    native = mnist.client.post("/explanations/mnist", files=form, data={"target": "5"}).json()
    instance = {"data": text(3), "target": 5}
    first = mnist.client.post("/v1/models/mnist:explain", json={"instances": [instance]}).json()
    other = {"data": text(3), "target": 3}
    both = mnist.client.post("/v1/models/mnist:explain", json={"instances": [other, instance]}).json()
    given = tensor("input-0", "BYTES", [1], [text(3)], target=5)
    second = mnist.client.post("/v2/models/mnist/explain", json=infer(given)).json()["outputs"][0]
    whole = infer(tensor("input-0", "BYTES", [1], [text(3)]), parameters={"target": 5})
    third = mnist.client.post("/v2/models/mnist/explain", json=whole).json()["outputs"][0]
    assert (second["name"], second["datatype"], second["shape"]) == ("input-0", "FP64", [1, 28, 28])
    expected = np.array(native)
    for found in (
        first["explanations"][0],
        both["explanations"][1],
        np.reshape(second["data"], [1, 28, 28]),
        np.reshape(third["data"], [1, 28, 28]),
    ):
        np.testing.assert_allclose(np.array(found), expected, atol=1e-6)
    assert not np.allclose(np.array(both["explanations"][0]), expected, atol=1e-6)


def test_what_cannot_be_read_fails_alone_in_a_batch(tmp_path: Path) -> None:
    server = mnist_server(tmp_path, "batchSize: 8\nmaxBatchDelay: 500\nbatchPolicy: delay\nmaxWorkers: 1\n")
    url = "/v1/models/mnist:explain"

    def ask(number: int) -> tuple[int, Any]:
        instance: dict[str, Any] = {"data": text(number % 10), "target": number % 10}
        if number == 3:
            instance["target"] = "two"
        if number == 5:
            instance["data"] = "AAAA"
        answer = server.client.post(url, json={"instances": [instance]})
        return answer.status_code, answer.json()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert [status for status, _ in answers] == [200, 200, 200, 400, 200, 400, 200, 200]
    assert answers[3][1] == {"error": "target must be the number of a class, not 'two'"}
    assert answers[5][1] == {"error": "no picture that Pillow can read (3 bytes)"}
    server.stop()


def test_all_protocols_side_by_side_under_load(mnist: Server) -> None:
    def ask(number: int) -> None:
        digit, kind = number % 10, number // 10 % 4
        if kind == 0:
            assert mnist.client.put("/predictions/mnist", content=picture(digit)).text == str(digit)
        elif kind == 1:
            instances = [{"data": text(other)} for other in (digit, 9 - digit)]
            answer = mnist.client.post("/v1/models/mnist:predict", json={"instances": instances})
            assert answer.json() == {"predictions": [digit, 9 - digit]}
        elif kind == 2:
            given = [tensor(str(other), "BYTES", [1], [text(other)]) for other in (digit, 9 - digit)]
            answer = mnist.client.post("/v2/models/mnist/infer", json=infer(*given, id=str(number)))
            assert answer.json()["id"] == str(number)
            found = [(one["name"], one["data"]) for one in answer.json()["outputs"]]
            assert found == [(str(digit), [digit]), (str(9 - digit), [9 - digit])]
        else:
            answer = mnist.client.post("/v2/models/mnist/infer", json=infer(tensor("x", "FP32", [1], [])))
            assert answer.status_code == 400

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(400)))
