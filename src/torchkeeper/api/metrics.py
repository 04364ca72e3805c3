"""/metrics: names and an Accept header in, a page of numbers out.

The form is TorchServe's, which its dashboards expect. OpenMetrics is written by prometheus-client, and only
where the setting metrics_openmetrics allows it: Prometheus asks for that form by itself, and its names
ending in _total would break the dashboards of today.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition

from torchkeeper.api.body import USUAL, FormLimits, parse_fields
from torchkeeper.api.call import Call, Handler
from torchkeeper.api.routes import Endpoint
from torchkeeper.metrics.registry import Registry, as_metric
from torchkeeper.metrics.text import CONTENT_TYPE, render
from torchkeeper.wire.messages import Reply


class MetricsApi:
    """The metrics page.

    Args:
        registry: the metrics.
        openmetrics: the setting metrics_openmetrics.
        forms: how many fields a query may have.
    """

    def __init__(self, registry: Registry, *, openmetrics: bool = False, forms: FormLimits = USUAL) -> None:
        self._registry = registry
        self._forms = forms
        self._openmetrics = openmetrics
        self._collectors = CollectorRegistry()
        self._collectors.register(registry)

    def endpoints(self) -> Mapping[Endpoint, Handler]:
        """What this API serves."""
        return {Endpoint.METRICS: self._page}

    async def _page(self, call: Call) -> Reply:
        fields = parse_fields(call.scope["query_string"], self._forms.fields)
        asked = [field for field in fields if field.name == "name[]"]
        names = [field.value.decode("utf-8", "replace") for field in asked if field.value]
        body, content_type = self.render(names, call.header(b"accept") or "")
        return Reply(body, 200, "", {}, content_type)

    def render(self, names: Sequence[str] = (), accept: str = "") -> tuple[bytes, str]:
        """The page and its content type.

        Args:
            names: values of the query's `name[]`: only these metrics; empty: all.
            accept: the request's Accept header.
        """
        if self._openmetrics and "application/openmetrics-text" in accept.lower():
            source = _Selected(self._registry, names) if names else self._collectors
            body: bytes = exposition.generate_latest(source)  # type: ignore[no-untyped-call]
            return body, exposition.CONTENT_TYPE_LATEST
        return render(self._registry.exposed(), names).encode(), CONTENT_TYPE


class _Selected:
    """The metrics of some names, as a collector."""

    def __init__(self, registry: Registry, names: Sequence[str]) -> None:
        self._registry = registry
        self._names = names

    def collect(self) -> list[Metric]:
        found = [as_metric(family, self._names) for family in self._registry.exposed()]
        return [metric for metric in found if metric.samples]
