"""Our messages live in one process with kserve's and tritonclient's, under the protobuf that these want."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tools import tool

pytestmark = pytest.mark.slow

SRC = Path(__file__).parents[2] / "src"
SCRIPT = """
import json, sys
import google.protobuf
__import__(sys.argv[1])
from torchkeeper.rpc.schema import message, methods

request = message("inference.ModelInferRequest")(model_name="mnist", raw_input_contents=[b"x"])
request.inputs.add(name="a", datatype="FP32", shape=[1, 2]).parameters["target"].int64_param = 3
back = type(request).FromString(request.SerializeToString())
module = __import__(sys.argv[1], fromlist=["ModelInferRequest"])
theirs = module.ModelInferRequest.FromString(back.SerializeToString())
(tensor,) = theirs.inputs
print(json.dumps({
    "protobuf": google.protobuf.__version__,
    "same": back == request,
    "theirs": [theirs.model_name, list(tensor.shape), tensor.parameters["target"].int64_param],
    "methods": [method.path for method in methods("inference.GRPCInferenceService")][:1],
}))
"""


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("kserve", "kserve.protocol.grpc.grpc_predict_v2_pb2"),
        ("tritonclient", "tritonclient.grpc.service_pb2"),
    ],
)
def test_messages_beside_those_of_others(name: str, module: str) -> None:
    done = subprocess.run(
        [tool(name) / "python", "-c", SCRIPT, module],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told.pop("protobuf").startswith("6."), "no longer the older protobuf: find one that is"
    assert told == {
        "same": True,
        "theirs": ["mnist", [1, 2], 3],
        "methods": ["inference.GRPCInferenceService/ServerLive"],
    }
