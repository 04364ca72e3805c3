"""A recorder whose metrics are declared in a metrics.yaml: units and labels come from the file.

Reads the file's `model_metrics` section only; the rest of it is the server's business. Must not import torch.
Source: TorchServe's `ts.metrics.metric_cache_yaml_impl`.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from pathlib import Path

from torchkeeper.handler.metric_errors import (
    MetricsCacheIOError,
    MetricsCacheKeyError,
    MetricsCachePyYamlError,
    MetricsCacheTypeError,
    MetricsCacheValueError,
)
from torchkeeper.handler.recorder import Recorder
from torchkeeper.wire.metrics_yaml import HANDLERS, Flaw, MetricsYamlError, load_metrics_yaml, metrics_of

#: What TorchServe raises for what is wrong with a file.
_RAISED: Mapping[Flaw, type[Exception]] = {
    Flaw.YAML: MetricsCachePyYamlError,
    Flaw.FORM: MetricsCacheTypeError,
    Flaw.KEY: MetricsCacheKeyError,
}


class MetricCacheAbstract(Recorder, abc.ABC):
    """Recorder with the metrics of a file, of whatever form: base of those that read one.

    Args:
        config_file_path: the file.

    Raises:
        MetricsCacheTypeError: the path is no path.
    """

    def __init__(self, config_file_path: str | Path) -> None:
        super().__init__()
        if not isinstance(config_file_path, str | Path):
            raise MetricsCacheTypeError(f"a metrics file is named by its path, not by {config_file_path!r}")
        self.config_file_path = config_file_path

    @abc.abstractmethod
    def initialize_cache(self) -> None:
        """Declares the file's metrics."""


class MetricsCacheYamlImpl(MetricCacheAbstract):
    """Recorder with the metrics of a metrics.yaml; `initialize_cache` declares them.

    Raises:
        MetricsCacheTypeError: the path is no path, or the file no mapping.
        MetricsCacheIOError: the file cannot be read.
        MetricsCachePyYamlError: it is no YAML.
    """

    def __init__(self, config_file_path: str | Path) -> None:
        super().__init__(config_file_path)
        try:
            self._file = load_metrics_yaml(Path(config_file_path).read_text(encoding="utf-8"))
        except OSError as error:
            raise MetricsCacheIOError(f"Error reading {config_file_path} file: {error}") from error
        except UnicodeDecodeError as error:
            raise MetricsCachePyYamlError(f"Error parsing file {config_file_path}: {error}") from error
        except MetricsYamlError as error:
            raise self._raised(error) from error

    def initialize_cache(self) -> None:
        """Declares the file's metrics.

        Raises:
            MetricsCacheKeyError: no such section, an unknown type, or a metric that lacks a key.
            MetricsCacheTypeError: something in it is no mapping or no list.
            MetricsCacheValueError: the section is empty.
        """
        if HANDLERS not in self._file:
            raise MetricsCacheKeyError(f"'{HANDLERS}' key not found in {self.config_file_path}")
        section = self._file[HANDLERS]
        if not section:
            raise MetricsCacheValueError(f"Missing `{HANDLERS}` specification")
        try:
            self.declare(metrics_of(section))
        except MetricsYamlError as error:
            raise self._raised(error) from error

    def _raised(self, error: MetricsYamlError) -> Exception:
        return _RAISED[error.flaw](f"Error parsing file {self.config_file_path}: {error}")
