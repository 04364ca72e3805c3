"""A context for unit tests; see torchkeeper.testing."""

from torchkeeper.handler.helpers import get_yaml_config as get_yaml_config
from torchkeeper.handler.metrics_store import MetricsStore as MetricsStore
from torchkeeper.testing import MockContext as MockContext

__all__ = ["MetricsStore", "MockContext", "get_yaml_config"]
