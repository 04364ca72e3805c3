"""metrics.yaml: which metrics exist, of which type, with which unit and labels.

The front reads the server's file and sends what handlers may record with each model's specification; a
handler may read a file of its own. Pure. Source of the file's form: TorchServe's metrics configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

from torchkeeper.wire.messages import Declared
from torchkeeper.wire.yaml_text import read_yaml

KINDS = ("counter", "gauge", "histogram")
#: The server's own metrics, and those of handlers.
SERVERS, HANDLERS = "ts_metrics", "model_metrics"


class Flaw(Enum):
    """What is wrong with a file."""

    YAML = auto()
    #: Something is no mapping or no list.
    FORM = auto()
    #: A type that there is not, or a metric that lacks something.
    KEY = auto()


class MetricsYamlError(ValueError):
    """A text is no metrics.yaml; says why."""

    def __init__(self, flaw: Flaw, why: str) -> None:
        super().__init__(why)
        self.flaw = flaw


def load_metrics_yaml(text: str) -> dict[str, Any]:
    """The sections of a file's text.

    Raises:
        MetricsYamlError: it is no YAML, or no mapping.
    """
    try:
        found = read_yaml(text)
    except ValueError as error:
        raise MetricsYamlError(Flaw.YAML, f"is no YAML: {error}") from None
    if not isinstance(found, dict):
        raise MetricsYamlError(Flaw.FORM, f"must hold a mapping with the keys {SERVERS} and {HANDLERS}")
    return found


def metrics_of(section: Any) -> tuple[Declared, ...]:
    """The metrics of a section, in its order; none if the file has no such section.

    Raises:
        MetricsYamlError: an unknown type, or something that is no metric.
    """
    return tuple(_metrics(section or {}))


def _metrics(section: Any) -> Iterator[Declared]:
    if not isinstance(section, dict):
        raise MetricsYamlError(Flaw.FORM, f"must be a mapping of {', '.join(KINDS)}")
    for kind, metrics in section.items():
        if kind not in KINDS:
            raise MetricsYamlError(Flaw.KEY, f"{kind!r} is not one of {', '.join(KINDS)}")
        if not isinstance(metrics or [], list):
            raise MetricsYamlError(Flaw.FORM, f"{kind} must be a list of metrics")
        for metric in metrics or ():
            yield _metric(metric, kind)


def _metric(metric: Any, kind: str) -> Declared:
    if not isinstance(metric, dict):
        raise MetricsYamlError(Flaw.FORM, f"{metric!r} is no metric with name, unit and dimensions")
    for key in ("name", "unit"):
        if not metric.get(key):
            raise MetricsYamlError(Flaw.KEY, f"Metric {key} cannot be empty: {metric}")
    dimensions = metric.get("dimensions") or []
    if not isinstance(dimensions, list):
        raise MetricsYamlError(Flaw.FORM, f"dimensions of {metric['name']} must be a list of names")
    return Declared(str(metric["name"]), kind, str(metric["unit"]), tuple(map(str, dimensions)))
