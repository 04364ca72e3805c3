"""What KServe expects of the server in its pods: which ports it calls, and what moves out of their way.

Pure. Source: KServe's runtime for TorchServe, whose wrapper owns the ports 8080 (HTTP) and 8081 (gRPC) and
reads the configuration from CONFIG_PATH.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from torchkeeper.config.pods import ANYWHERE, listening, to_open
from torchkeeper.config.table import Configured
from torchkeeper.config.types import Address

#: KServe sets one of these in every pod of an InferenceService.
VARIABLES = ("PROTOCOL_VERSION", "INFERENCE_SERVICE_NAME")
#: What KServe can ask a runtime to speak.
PROTOCOLS = ("v1", "v2", "grpc-v2")
#: Who calls, in sentences.
CALLER = "KServe"
#: Names the configuration's file to the wrapper.
CONFIG_VARIABLE = "CONFIG_PATH"
#: Where management goes, since its usual port is KServe's for gRPC; so it is in TorchServe's samples.
MANAGEMENT_PORT = 8085


@dataclass(frozen=True)
class KServePorts:
    """What is opened for KServe beside the configured addresses; None where a configured one has the port."""

    http: Address | None
    grpc: Address | None


def is_asked_for(environ: Mapping[str, str]) -> bool:
    """Whether the environment is that of a pod of KServe's."""
    return any(environ.get(name) for name in VARIABLES)


def unknown_protocol(environ: Mapping[str, str]) -> str | None:
    """A warning if the protocol that KServe names is none of its own; all of them are spoken anyway."""
    named = environ.get("PROTOCOL_VERSION")
    if not named or named in PROTOCOLS:
        return None
    return f"PROTOCOL_VERSION={named} is none of {', '.join(PROTOCOLS)}; all of these are served"


def moved_defaults(values: Configured, configured: Collection[str]) -> tuple[Configured, tuple[str, ...]]:
    """With the addresses that nobody configured out of the way of KServe's ports; and their names.

    Inference is what KServe calls, so it takes that place itself; management goes to the first port from 8085
    that nothing else has.
    """
    moved = []
    if "inference_address" not in configured:
        moved.append("inference_address")
        values = replace(values, inference_address=Address("http", ANYWHERE, values.kserve_http_port))
    if "management_address" not in configured:
        taken = {port for name, _, port in listening(values) if name != "management_address"}
        taken |= {values.kserve_http_port, values.kserve_grpc_port}
        port = next(port for port in range(MANAGEMENT_PORT, 1 << 16) if port not in taken)
        moved.append("management_address")
        values = replace(values, management_address=Address("http", "127.0.0.1", port))
    return values, tuple(moved)


def ports(values: Configured, moved: Collection[str]) -> tuple[KServePorts, tuple[str, ...]]:
    """What to open beside what `moved_defaults` moved, and sentences about configured ones in the way."""
    warnings: list[str] = []
    http = to_open(values.kserve_http_port, "inference_address", values, CALLER, warnings)
    if "inference_address" in moved:
        http = None
    grpc = to_open(values.kserve_grpc_port, "grpc_inference_port", values, CALLER, warnings)
    return KServePorts(http, grpc), tuple(warnings)
