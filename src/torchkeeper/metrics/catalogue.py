"""The metrics that the server counts and those that handlers may record, as a metrics.yaml declares them.

Read once, in the front; workers get the handlers' metrics with the model's specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchkeeper.wire.messages import Declared
from torchkeeper.wire.metrics_yaml import (
    HANDLERS,
    SERVERS,
    MetricsYamlError,
    load_metrics_yaml,
    metrics_of,
)

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
        CatalogueError: it is no metrics.yaml.
    """
    try:
        found = load_metrics_yaml(text)
    except MetricsYamlError as error:
        raise CatalogueError(str(error)) from None
    return Catalogue(_section(found, SERVERS), _section(found, HANDLERS))


def _section(found: Mapping[str, Any], name: str) -> tuple[Declared, ...]:
    try:
        metrics = metrics_of(found.get(name))
    except MetricsYamlError as error:
        raise CatalogueError(f"{name}: {error}") from None
    return tuple({metric.name: metric for metric in metrics}.values())
