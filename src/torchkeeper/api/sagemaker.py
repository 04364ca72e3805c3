"""What SageMaker asks of a container beyond the usual routes: by batch transform, of one of several models.

Pure. Source: SageMaker's developer guide, "Use Your Own Inference Code with Batch Transform" (the fields and
their ranges) and "Custom Containers Contract for Multi-Model Endpoints", and CreateTransformJob in its API
reference (what one job may have under way).
"""

from __future__ import annotations

import json
from collections.abc import Collection

from torchkeeper.errors import ModelNotFound

#: SageMaker's bounds: parallel requests, and megabytes under way at one time (requests times payload).
MAX_CONCURRENT = 100
MAX_MEGABYTES = 100
#: The header that names one of an endpoint's models, by its artifact's name.
TARGET = b"x-amzn-sagemaker-target-model"


def execution_parameters(workers: int, max_request_size: int) -> bytes:
    """The JSON body of `GET /execution-parameters`: one request per worker, records packed to the size taken.

    The payload is rounded down, so that SageMaker does not send more than `max_request_size` bytes. It is at
    least 1, since 0 would ask for bodies of any length.
    """
    concurrent = min(max(workers, 1), MAX_CONCURRENT)
    megabytes = min(max_request_size // (1024 * 1024), MAX_MEGABYTES // concurrent)
    parameters = {
        "MaxConcurrentTransforms": concurrent,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": max(megabytes, 1),
    }
    return json.dumps(parameters, indent=2).encode() + b"\n"


def target_model(header: str, names: Collection[str]) -> str:
    """The model that the header means: `mnist`, also as `mnist.tar.gz` or `mnist.mar`.

    Raises:
        ModelNotFound: it is none of these; another one must not answer in its place.
    """
    artifact = header.strip().removeprefix("/")
    candidates = (artifact, *(artifact.removesuffix(suffix) for suffix in (".tar.gz", ".mar")))
    found = next((name for name in candidates if name in names), None)
    if found is None:
        raise ModelNotFound(artifact)
    return found
