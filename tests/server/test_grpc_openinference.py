"""The Open Inference Protocol by gRPC on a real server: MNIST typed and raw, readiness, refusals."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rpc_client import Client, refusal  # type: ignore[import-not-found]  # likewise

from conftest import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    EXAMPLE,
    Server,
    Start,
    eventually,
    mnist_server,
)
from torchkeeper.rpc.schema import HEALTH, OPEN_INFERENCE, TORCHSERVE_OPEN_INFERENCE

pytestmark = pytest.mark.slow


#: Loads when a file is there.
SLOW = """
import os, time

class Handler:
    def initialize(self, context):
        while not os.path.exists({gate!r}):
            time.sleep(0.01)

    def handle(self, data, context):
        return data
"""


def pixels(digit: int) -> np.ndarray:
    """A digit as the network wants it."""
    with Image.open(EXAMPLE / "test_data" / f"{digit}.png") as image:
        grey = np.asarray(image.convert("L"), "<f4") / 255
    return ((grey - 0.1307) / 0.3081)[None].astype("<f4")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = mnist_server(tmp_path_factory.mktemp("mnist"))
    eventually(lambda: running.manage.get("/v1/models/mnist").json()["ready"])
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    made = Client(server.grpc)
    yield made
    made.channel.close()


@pytest.mark.parametrize("service", [OPEN_INFERENCE, TORCHSERVE_OPEN_INFERENCE])
def test_typed_in_typed_out(client: Client, service: str) -> None:
    infer = client[service, "ModelInfer"]
    for digit in (2, 0, 1):
        contents = {"fp32_contents": pixels(digit).ravel()}
        answer = infer(
            model_name="mnist",
            inputs=[{"name": "x", "shape": [1, 28, 28], "datatype": "FP32", "contents": contents}],
        )
        (output,) = answer.outputs
        assert (answer.model_name, answer.model_version, len(answer.id)) == ("mnist", "1.0", 36)
        assert (output.name, output.datatype, list(output.shape)) == ("x", "INT64", [1])
        assert list(output.contents.int64_contents) == [digit]
        assert not answer.raw_output_contents
    picture = (EXAMPLE / "test_data" / "7.png").read_bytes()
    answer = infer(
        model_name="mnist",
        model_version="1.0",
        id="d3b1",
        inputs=[
            {"name": name, "shape": shape, "datatype": "BYTES", "contents": {"bytes_contents": [picture]}}
            for name, shape in (("a", [-1]), ("b", []))
        ],
        outputs=[{"name": "b"}],
    )
    assert answer.id == "d3b1"
    assert [(output.name, *output.contents.int64_contents) for output in answer.outputs] == [("b", 7)]


def test_raw_in_raw_out(client: Client) -> None:
    picture = (EXAMPLE / "test_data" / "4.png").read_bytes()
    answer = client[OPEN_INFERENCE, "ModelInfer"](
        model_name="mnist",
        inputs=[
            {"name": "pixels", "shape": [1, 28, 28], "datatype": "FP32"},
            {"name": "picture", "shape": [1], "datatype": "BYTES"},
        ],
        raw_input_contents=[pixels(3).tobytes(), struct.pack("<I", len(picture)) + picture],
    )
    assert [output.datatype for output in answer.outputs] == ["INT64", "INT64"]
    assert not any(output.HasField("contents") for output in answer.outputs)
    assert [struct.unpack("<q", raw) for raw in answer.raw_output_contents] == [(3,), (4,)]


def test_what_the_server_says_of_itself_and_its_models(client: Client) -> None:
    for service in (OPEN_INFERENCE, TORCHSERVE_OPEN_INFERENCE):
        assert client[service, "ServerLive"]().live
        eventually(lambda service=service: client[service, "ServerReady"]().ready)
        assert client[service, "ModelReady"](name="mnist", version="1.0").ready
        assert "binary_tensor_data" in client[service, "ServerMetadata"]().extensions
        metadata = client[service, "ModelMetadata"](name="mnist")
        assert (metadata.name, list(metadata.versions)) == ("mnist", ["1.0"])
        assert refusal(lambda service=service: client[service, "ModelReady"](name="nope")) == (
            "NOT_FOUND",
            "Model not found: nope",
        )


def test_refusals(client: Client) -> None:
    infer = client[OPEN_INFERENCE, "ModelInfer"]

    def asked(name: str = "mnist", version: str = "", **tensor: object) -> tuple[str, str]:
        found: tuple[str, str] = refusal(
            lambda: infer(model_name=name, model_version=version, inputs=[{"name": "x", **tensor}])
        )
        return found

    assert asked("nope") == ("NOT_FOUND", "Model not found: nope")
    assert asked("") == ("INVALID_ARGUMENT", "model_name is required.")
    assert asked(version="9")[0] == "NOT_FOUND"
    code, details = asked(datatype="FP32", shape=[1, 28, 28], contents={"fp32_contents": [0.5]})
    assert (code, details) == (
        "INVALID_ARGUMENT",
        "inputs[0] (x): shape [1, 28, 28] does not fit 1 elements",
    )
    code, details = asked(datatype="BYTES", contents={"bytes_contents": [b"no picture"]})
    assert (code, details) == ("INVALID_ARGUMENT", "no picture that Pillow can read (10 bytes)")
    code, details = asked(datatype="FP32", shape=[2], contents={"fp32_contents": [0.5, 0.5]})
    assert (code, details.partition(":")[0]) == ("INTERNAL", "Prediction failed")
    code, details = refusal(lambda: infer(model_name="mnist"))
    assert (code, details) == ("INVALID_ARGUMENT", 'the body must have "inputs", a list of tensors')


def test_readiness_is_the_truth(serve: Start, tmp_path: Path) -> None:
    server: Server = serve(
        {"slow": SLOW.format(gate=str(tmp_path / "gate"))},
        config="minWorkers: 1\nmaxWorkers: 1\n",
        enable_model_api="true",
    )
    client = Client(server.grpc)
    health = client[HEALTH, "Check"]
    watched = client[HEALTH, "Watch"](service="")
    assert next(watched).status == 2
    for name in ("", "slow", OPEN_INFERENCE):
        assert health(service=name).status == 2
    assert not client[OPEN_INFERENCE, "ServerReady"]().ready
    assert not client[OPEN_INFERENCE, "ModelReady"](name="slow").ready
    assert client[OPEN_INFERENCE, "ServerLive"]().live
    assert refusal(lambda: health(service="nope"))[0] == "NOT_FOUND"
    (tmp_path / "gate").touch()
    assert next(watched).status == 1
    assert health(service="slow").status == 1
    assert {name: found.status for name, found in client[HEALTH, "List"]().statuses.items()}["slow"] == 1
    assert next(client[HEALTH, "Watch"](service="nope")).status == 3
    management = Client(server.grpc_manage)
    assert management[HEALTH, "Check"]().status == 1
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(server.stop)
        assert [found.status for found in watched] == [2]
        stopped.result()
    client.channel.close()
    management.channel.close()
