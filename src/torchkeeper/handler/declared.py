"""A recorder whose metrics are declared in a metrics.yaml: units and labels come from the file.

Reads the file's `model_metrics` section only; the rest of it is the server's business. Must not import torch.
Source: TorchServe's `ts.metrics.metric_cache_yaml_impl`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from torchkeeper.handler.metric import MetricTypes
from torchkeeper.handler.metric_errors import (
    MetricsCacheIOError,
    MetricsCacheKeyError,
    MetricsCachePyYamlError,
    MetricsCacheTypeError,
    MetricsCacheValueError,
)
from torchkeeper.handler.recorder import Recorder

SECTION = "model_metrics"


class MetricsCacheYamlImpl(Recorder):
    """Recorder with the metrics of a file; `initialize_cache` declares them.

    Args:
        config_file_path: the metrics.yaml.

    Raises:
        MetricsCacheTypeError: the path is no path, or the file no mapping.
        MetricsCacheIOError: the file cannot be read.
        MetricsCachePyYamlError: it is no YAML.
    """

    def __init__(self, config_file_path: str | Path) -> None:
        super().__init__()
        if not isinstance(config_file_path, str | Path):
            raise MetricsCacheTypeError(f"a metrics file is named by its path, not by {config_file_path!r}")
        self.config_file_path = config_file_path
        try:
            self._file = yaml.safe_load(Path(config_file_path).read_text(encoding="utf-8"))
        except OSError as error:
            raise MetricsCacheIOError(f"Error reading {config_file_path} file: {error}") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise MetricsCachePyYamlError(f"Error parsing file {config_file_path}: {error}") from error
        if not isinstance(self._file, dict):
            raise MetricsCacheTypeError(f"{config_file_path} must hold a mapping with the key {SECTION}")

    def initialize_cache(self) -> None:
        """Declares the file's metrics.

        Raises:
            MetricsCacheKeyError: no such section, an unknown type, or a metric that lacks a key.
            MetricsCacheValueError: the section is empty.
        """
        if SECTION not in self._file:
            raise MetricsCacheKeyError(f"'{SECTION}' key not found in {self.config_file_path}")
        section = self._file[SECTION]
        if not section:
            raise MetricsCacheValueError(f"Missing `{SECTION}` specification")
        for kind, metrics in section.items():
            if kind not in {member.value for member in MetricTypes}:
                raise MetricsCacheKeyError(f"Invalid metric type: {kind!r}")
            for metric in metrics or ():
                self._declare(metric, MetricTypes(kind))

    def _declare(self, metric: dict[str, Any], kind: MetricTypes) -> None:
        missing = [key for key in ("name", "unit", "dimensions") if key not in metric]
        if missing:
            raise MetricsCacheKeyError(f"Key not found in cache spec: {missing[0]!r} of {metric}")
        self.add_metric_to_cache(metric["name"], metric["unit"], metric["dimensions"], kind)
