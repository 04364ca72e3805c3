"""Messages and services as values, from the compiled descriptors of `protos/`.

They live in a descriptor pool of their own: kserve's and tritonclient's modules define `inference.*` in
protobuf's default pool, where a second definition is an error. No code is generated, so any protobuf that has
`message_factory.GetMessageClass` will do. scripts/compile_protos.py makes the descriptors.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

INFERENCE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
MANAGEMENT = "org.pytorch.serve.grpc.management.ManagementAPIsService"
#: KServe's name of the Open Inference Protocol's service, and TorchServe's.
OPEN_INFERENCE = "inference.GRPCInferenceService"
TORCHSERVE_OPEN_INFERENCE = "org.pytorch.serve.grpc.openinference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"


@dataclass(frozen=True)
class Method:
    """One RPC: its service and name, the classes of its messages, and which of them come as streams."""

    service: str
    name: str
    request: Any
    reply: Any
    streams_in: bool
    streams_out: bool

    @property
    def path(self) -> str:
        """As HTTP/2 has it, without the first slash."""
        return f"{self.service}/{self.name}"


def _filled() -> DescriptorPool:
    pool = DescriptorPool()
    compiled = files("torchkeeper.rpc").joinpath("protos", "descriptors.binpb").read_bytes()
    for file in FileDescriptorSet.FromString(compiled).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _filled()


def message(name: str) -> Any:
    """The class of a message by its full name."""
    return GetMessageClass(POOL.FindMessageTypeByName(name))


def methods(service: str, like: str | None = None) -> tuple[Method, ...]:
    """The RPCs of a service; `like` names another service whose message classes are used.

    A message's name is not on the wire, so classes with more fields serve clients that know fewer.
    """
    names = POOL.FindServiceByName(service).methods
    shapes = POOL.FindServiceByName(like or service).methods_by_name
    found = []
    for name in (method.name for method in names):
        shape: Any = shapes[name]
        found.append(
            Method(
                service,
                name,
                GetMessageClass(shape.input_type),
                GetMessageClass(shape.output_type),
                shape.client_streaming,
                shape.server_streaming,
            )
        )
    return tuple(found)
