"""metrics.yaml: which metrics exist, of which type, with which unit and labels.

Read once, in the front; workers get the model metrics with the model's specification. Source of the file's
form: TorchServe's metrics configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from torchkeeper.wire.messages import Declared

KINDS = ("counter", "gauge", "histogram")
#: The file that counts when the setting metrics_config names none.
DEFAULT_FILE = Path(__file__).with_name("metrics.yaml")


class CatalogueError(ValueError):
    """The file cannot be read or is no metrics.yaml; the text says why."""


@dataclass(frozen=True)
class Catalogue:
    """What a metrics.yaml declares: the server's own metrics, and those of handlers."""

    ts: tuple[Declared, ...] = ()
    model: tuple[Declared, ...] = ()


def read_catalogue(path: Path | None) -> Catalogue:
    """The catalogue of a file, of the package's own if no path is given.

    Raises:
        CatalogueError: it cannot be read, or is no metrics.yaml.
    """
    path = path or DEFAULT_FILE
    try:
        return parse_catalogue(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, CatalogueError) as error:
        raise CatalogueError(f"{path}: {error}") from None


def parse_catalogue(text: str) -> Catalogue:
    """The catalogue in a file's text; of two metrics of one name the later counts.

    Raises:
        CatalogueError: it is no YAML, an unknown type, or a metric without name or unit.
    """
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CatalogueError(f"is no YAML: {error}") from None
    if not isinstance(found, dict):
        raise CatalogueError("must hold a mapping with the keys ts_metrics and model_metrics")
    return Catalogue(_section(found, "ts_metrics"), _section(found, "model_metrics"))


def _section(found: dict[str, Any], name: str) -> tuple[Declared, ...]:
    section = found.get(name) or {}
    if not isinstance(section, dict):
        raise CatalogueError(f"{name} must be a mapping of {', '.join(KINDS)}")
    declared: dict[str, Declared] = {}
    for kind, metrics in section.items():
        if kind not in KINDS:
            raise CatalogueError(f"{name}: {kind!r} is not one of {', '.join(KINDS)}")
        for metric in metrics or ():
            entry = _declared(metric, kind, name)
            declared[entry.name] = entry
    return tuple(declared.values())


def _declared(metric: Any, kind: str, section: str) -> Declared:
    if not isinstance(metric, dict):
        raise CatalogueError(f"{section}: {metric!r} is no metric with name, unit and dimensions")
    for key in ("name", "unit"):
        if not metric.get(key):
            raise CatalogueError(f"{section}: Metric {key} cannot be empty: {metric}")
    dimensions = metric.get("dimensions") or ()
    if not isinstance(dimensions, list | tuple):
        raise CatalogueError(f"{section}: dimensions of {metric['name']} must be a list of names")
    return Declared(str(metric["name"]), kind, str(metric["unit"]), tuple(map(str, dimensions)))
