"""Clients as TorchServe users have them: stubs compiled from the .proto files, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import google.rpc
import pytest

from conftest import EXAMPLE, mnist_server  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

PROTOS = Path(__file__).parents[2] / "src" / "torchkeeper" / "rpc" / "protos"

CLIENT = """
import sys

import grpc
import grpc_predict_v2_pb2 as v2
import grpc_predict_v2_pb2_grpc
import inference_pb2
import inference_pb2_grpc
import management_pb2
import management_pb2_grpc
import open_inference_grpc_pb2 as own
import open_inference_grpc_pb2_grpc
from google.protobuf.empty_pb2 import Empty

inference, management, folder = sys.argv[1:]
with grpc.insecure_channel(management) as channel:
    stub = management_pb2_grpc.ManagementAPIsServiceStub(channel)
    request = management_pb2.RegisterModelRequest(
        url="mnist.mar", model_name="again", initial_workers=1, synchronous=True
    )
    print(stub.RegisterModel(request).msg)
    print(stub.UnregisterModel(management_pb2.UnregisterModelRequest(model_name="again")).msg)
with grpc.insecure_channel(inference) as channel:
    stub = inference_pb2_grpc.InferenceAPIsServiceStub(channel)
    print(stub.Ping(Empty()).health.split())

    def request(digit, **fields):
        with open(f"{folder}/{digit}.png", "rb") as picture:
            return inference_pb2.PredictionsRequest(
                model_name="mnist", input={"data": picture.read()}, **fields
            )

    print([stub.Predictions(request(digit)).prediction.decode() for digit in range(10)])
    print([part.prediction for part in stub.StreamPredictions(request(4))])
    answers = stub.StreamPredictions2(request(digit, sequence_id="s") for digit in (7, 8, 9))
    print([(answer.prediction, answer.sequence_id, answer.HasField("status")) for answer in answers])
    with open(f"{folder}/2.png", "rb") as picture:
        contents = [picture.read()]
    for module, stubs in ((v2, grpc_predict_v2_pb2_grpc), (own, open_inference_grpc_pb2_grpc)):
        tensor = module.ModelInferRequest.InferInputTensor(
            name="input-0",
            datatype="BYTES",
            shape=[1],
            contents=module.InferTensorContents(bytes_contents=contents),
        )
        asked = module.ModelInferRequest(model_name="mnist", inputs=[tensor])
        print(list(stubs.GRPCInferenceServiceStub(channel).ModelInfer(asked).outputs[0].contents.int64_contents))
"""


def test_stubs_from_the_proto_files(tmp_path: Path) -> None:
    (tmp_path / "stubs").mkdir()
    (google_rpc,) = {Path(folder).parents[1] for folder in google.rpc.__path__}
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}"),
            *(f"--proto_path={google_rpc}", "--python_out=stubs", "--grpc_python_out=stubs"),
            *sorted(path.name for path in PROTOS.glob("*.proto")),
        ],
        cwd=tmp_path,
        check=True,
    )
    (tmp_path / "client.py").write_text(CLIENT)
    server = mnist_server(tmp_path, enable_model_api="true")
    done = subprocess.run(
        [sys.executable, "client.py", server.grpc, server.grpc_manage, EXAMPLE / "test_data"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "stubs"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        'Model "again" Version: 1.0 registered with 1 initial workers',
        'Model "again" unregistered',
        "['{', '\"status\":', '\"Healthy\"', '}']",
        str([str(digit) for digit in range(10)]),
        "[b'4']",
        str([(str(digit).encode(), "s", False) for digit in (7, 8, 9)]),
        "[2]",
        "[2]",
    ], done.stderr
    server.stop()
