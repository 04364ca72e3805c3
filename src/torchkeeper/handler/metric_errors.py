"""What the recording of metrics may raise; names and bases are TorchServe's.

Only wrong calls raise (an unknown unit, a name that is no text). A number that cannot be recorded is logged
instead: measuring must not fail a request.
"""

from __future__ import annotations

import yaml


class GeneralMetricsCacheError(Exception):
    """Anything that has no class of its own below."""


class MetricsCacheIOError(OSError):
    """A metrics file that cannot be read."""


class MetricsCachePyYamlError(yaml.YAMLError):
    """A metrics file that is no YAML."""


class MetricsCacheTypeError(TypeError):
    """An argument of the wrong type."""


class MetricsCacheValueError(ValueError):
    """An argument with a value that is not allowed."""


class MetricsCacheKeyError(KeyError):
    """A metric, or a key of a metrics file, that does not exist."""
