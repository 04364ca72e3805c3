"""The committed descriptors are those of the .proto files, and live beside modules that define the same."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from torchkeeper.rpc.schema import (
    HEALTH,
    INFERENCE,
    MANAGEMENT,
    OPEN_INFERENCE,
    POOL,
    TORCHSERVE_OPEN_INFERENCE,
    message,
    methods,
)

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "src" / "torchkeeper" / "rpc" / "protos"


def files(data: bytes) -> dict[str, FileDescriptorProto]:
    return {file.name: file for file in FileDescriptorSet.FromString(data).file}


def test_the_committed_descriptors_are_up_to_date() -> None:
    compiled = runpy.run_path(str(ROOT / "scripts" / "compile_protos.py"))["compiled"]()
    ours = {path.name for path in PROTOS.glob("*.proto")}
    found, committed = files(compiled), files((PROTOS / "descriptors.binpb").read_bytes())
    assert set(found) == set(committed) >= ours
    # What is imported is Google's, and may have gained an option since.
    assert {name: found[name] for name in ours} == {name: committed[name] for name in ours}


def test_nothing_of_it_is_in_protobufs_default_pool() -> None:
    assert POOL is not descriptor_pool.Default()
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")


OPEN = "ServerLive ServerReady ModelReady ServerMetadata ModelMetadata ModelInfer"


@pytest.mark.parametrize(
    ("service", "names"),
    [
        (INFERENCE, "Ping Predictions StreamPredictions StreamPredictions2"),
        (MANAGEMENT, "DescribeModel ListModels RegisterModel ScaleWorker SetDefault UnregisterModel"),
        (OPEN_INFERENCE, "ServerLive ServerReady ModelReady ServerMetadata ModelMetadata ModelInfer"),
        (
            TORCHSERVE_OPEN_INFERENCE,
            "ServerLive ServerReady ModelReady ServerMetadata ModelMetadata ModelInfer",
        ),
    ],
)
def test_services(service: str, names: str) -> None:
    found = methods(service)
    assert [method.name for method in found] == names.split()
    streams = {method.name: (method.streams_in, method.streams_out) for method in found}
    wanted = {"StreamPredictions": (False, True), "StreamPredictions2": (True, True)}
    assert streams == {name: wanted.get(name, (False, False)) for name in names.split()}


def test_a_service_may_use_the_messages_of_another_of_the_same_form() -> None:
    theirs = {method.name: method for method in methods(TORCHSERVE_OPEN_INFERENCE)}
    ours = {method.name: method for method in methods(TORCHSERVE_OPEN_INFERENCE, like=OPEN_INFERENCE)}
    sent = theirs["ModelInfer"].request(
        model_name="m",
        parameters={"target": {"int64_param": 3}},
        inputs=[{"name": "x", "shape": [2], "contents": {"fp32_contents": [1, 2]}}],
        raw_input_contents=[b"raw"],
    )
    read = ours["ModelInfer"].request.FromString(sent.SerializeToString())
    assert str(read) == str(sent)
    metadata = ours["ModelMetadata"].reply(name="m", versions=["1"], properties={"a": "b"})
    assert theirs["ModelMetadata"].reply.FromString(metadata.SerializeToString()).name == "m"


def test_health_is_the_standard_one() -> None:
    assert message("grpc.health.v1.HealthCheckResponse")(status=1).SerializeToString() == b"\x08\x01"
    assert {"Check", "Watch"} <= {method.name for method in methods(HEALTH)}
