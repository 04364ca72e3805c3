"""Classes by name, and response streaming; see torchkeeper.handler.helpers and .streaming."""

from torchkeeper.handler.context import Context as Context
from torchkeeper.handler.helpers import import_class as import_class
from torchkeeper.handler.otf import create_predict_response as create_predict_response
from torchkeeper.handler.streaming import (
    send_intermediate_predict_response as send_intermediate_predict_response,
)

__all__ = ["Context", "create_predict_response", "import_class", "send_intermediate_predict_response"]
