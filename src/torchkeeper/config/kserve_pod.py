"""What KServe expects of the server in its pods: which ports it calls, and what moves out of their way.

Pure. Source: KServe's runtime for TorchServe, whose wrapper owns the ports 8080 (HTTP) and 8081 (gRPC) and
reads the configuration from CONFIG_PATH.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from torchkeeper.config.pods import ANYWHERE, to_open
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


def served(
    values: Configured, configured: Collection[str]
) -> tuple[Configured, KServePorts, tuple[str, ...]]:
    """With inference on the port that is called, if nobody configured it; what else is opened; warnings."""
    warnings: list[str] = []
    http = None
    if "inference_address" in configured:
        http = to_open(values.kserve_http_port, "inference_address", values, CALLER, warnings)
    else:
        values = replace(values, inference_address=Address("http", ANYWHERE, values.kserve_http_port))
    grpc = to_open(values.kserve_grpc_port, "grpc_inference_port", values, CALLER, warnings)
    return values, KServePorts(http, grpc), tuple(warnings)
