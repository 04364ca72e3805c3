"""How busy a model is, in the header of an answer to whoever asks: so that balancers can weigh replicas.

Source: Open Request Cost Aggregation (cncf/xds, orca_load_report.proto), asked for by the request header
`endpoint-load-metrics-format` in the forms TEXT and JSON, as Envoy reads them. Pure.
"""

from __future__ import annotations

import json

import msgspec

from torchkeeper.serving.ask import Busyness
from torchkeeper.wire.messages import Reply

#: The request header that asks, and the one that answers.
ASKS = b"endpoint-load-metrics-format"
TELLS = "endpoint-load-metrics"


def with_load(reply: Reply, form: str, load: Busyness | None) -> Reply:
    """The reply with the model's load in a header; without it where form or load is none that is known."""
    told = report(form, load) if load is not None else None
    return reply if told is None else msgspec.structs.replace(reply, headers={**reply.headers, TELLS: told})


def report(form: str, load: Busyness) -> str | None:
    """The header's value: the utilization is 1 when all workers are busy, and more where requests wait."""
    kind = form.strip().upper()
    utilization = round(load.utilization, 4)
    named = {"queue_depth": load.waiting, "ready_workers": load.serving}
    if kind == "TEXT":
        rest = "".join(f",named_metrics.{name}={value}" for name, value in named.items())
        return f"TEXT application_utilization={utilization:g}{rest}"
    if kind == "JSON":
        whole = {"application_utilization": utilization, "named_metrics": named}
        return f"JSON {json.dumps(whole, separators=(',', ':'))}"
    return None
