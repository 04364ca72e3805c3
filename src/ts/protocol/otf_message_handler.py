"""Response streaming, at its deprecated place; see torchkeeper.handler.streaming."""

from torchkeeper.handler.streaming import (
    send_intermediate_predict_response as send_intermediate_predict_response,
)

__all__ = ["send_intermediate_predict_response"]
