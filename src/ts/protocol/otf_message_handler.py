"""Response streaming at its deprecated place, and messages; see torchkeeper.handler.streaming and .otf."""

from torchkeeper.handler import left_out as _left_out
from torchkeeper.handler.helpers import deprecated as deprecated
from torchkeeper.handler.otf import create_predict_response as create_predict_response
from torchkeeper.handler.otf import encode_response_headers as encode_response_headers
from torchkeeper.handler.streaming import (
    send_intermediate_predict_response as send_intermediate_predict_response,
)

__getattr__ = _left_out.refusing(__name__)

__all__ = [
    "create_predict_response",
    "deprecated",
    "encode_response_headers",
    "send_intermediate_predict_response",
]
