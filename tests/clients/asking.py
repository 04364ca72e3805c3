"""What the clients' scripts share. It runs in their own environments, with nothing of ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator

#: The arguments of every script: the base URLs of the inference and the management API, the address of the
#: gRPC inference API, the name of a model that is not ready.
BASE, MANAGE, GRPC, IDLE = sys.argv[1:5]
#: A model that no server has.
UNKNOWN = "unknown"


def lineage(error: BaseException) -> Iterator[str]:
    """The names of an error's classes, so that a test can tell the client's own from any other."""
    return (f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__)
