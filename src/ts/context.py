"""The context of a batch; see torchkeeper.handler.context."""

from torchkeeper.handler.context import Context as Context
from torchkeeper.handler.context import RequestProcessor as RequestProcessor

__all__ = ["Context", "RequestProcessor"]
