"""A context for unit tests; see torchkeeper.testing."""

from torchkeeper.testing import MockContext as MockContext

__all__ = ["MockContext"]
