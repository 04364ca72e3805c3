"""What SageMaker's batch transform asks of a container, beyond the usual routes.

Pure. Source: SageMaker's developer guide, "Use Your Own Inference Code with Batch Transform" (the fields and
their ranges), and CreateTransformJob in its API reference (what one job may have under way).
"""

from __future__ import annotations

import json

#: SageMaker's bounds: parallel requests, and megabytes under way at one time (requests times payload).
MAX_CONCURRENT = 100
MAX_MEGABYTES = 100


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
