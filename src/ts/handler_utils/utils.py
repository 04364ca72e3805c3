"""Classes by name, and response streaming; see torchkeeper.handler.helpers and .streaming."""

from torchkeeper.handler.helpers import import_class as import_class
from torchkeeper.handler.streaming import (
    send_intermediate_predict_response as send_intermediate_predict_response,
)

__all__ = ["import_class", "send_intermediate_predict_response"]
