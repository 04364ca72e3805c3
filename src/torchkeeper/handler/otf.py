"""A batch's outcome as TorchServe's workers sent it to their server, for code that makes such messages.

Nothing here travels that way. Source: the layout of TorchServe's `ts.protocol.otf_message_handler`: numbers
have four bytes, big-endian; texts and bytes come after their length; -1 ends the list. Must not import torch.
"""

from __future__ import annotations

import io
import json
import logging
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from torchkeeper.handler.context import Context
from torchkeeper.handler.streaming import answers

logger = logging.getLogger(__name__)

_END = -1
_UNSUPPORTED = "Unsupported model output data type."
_NEXT = "ts_stream_next"


def create_predict_response(
    ret: Sequence[Any] | None,
    req_id_map: Mapping[int, str],
    message: str,
    code: int,
    context: Context | None = None,
    ts_stream_next: bool = False,
) -> bytearray | None:
    """The message of a batch's outcome.

    Args:
        ret: one value per request; None for a failure.
        req_id_map: index in `ret` -> request id.
        message: what happened, for the server.
        code: status, as far as the context does not say another.
        context: has status and headers of each answer.
        ts_stream_next: whether more parts of the answers come.

    Returns:
        None in the processes of a torchrun group that do not answer.
    """
    if not answers():
        return None
    told = bytearray(_number(code) + _counted(message.encode()))
    for place, request_id in req_id_map.items():
        told += _counted(request_id.encode())
        told += _head(code) if context is None else _head_of(context, place, ts_stream_next)
        try:
            told += _counted(b"error" if ret is None else _encoded(ret[place]))
        except TypeError as error:
            logger.warning("Unable to serialize model output: %s", error)
            return create_predict_response(None, req_id_map, _UNSUPPORTED, 503)
    return told + _number(_END)


def encode_response_headers(resp_hdr_map: Mapping[str, str]) -> bytearray:
    """Headers as such a message has them."""
    pairs = (text for pair in resp_hdr_map.items() for text in pair)
    return bytearray(_number(len(resp_hdr_map)) + b"".join(_counted(text.encode()) for text in pairs))


def _head_of(context: Context, place: int, more: bool) -> bytes:
    if more or context.get_response_headers(place).get(_NEXT) == "true":
        context.set_response_header(place, _NEXT, str(bool(more)).lower())
    status, phrase = context.get_response_status(place)
    kind = context.get_response_content_type(place) or ""
    return _head(status, kind, phrase or "", context.get_response_headers(place))


def _head(status: int, kind: str = "", phrase: str = "", headers: Mapping[str, str] | None = None) -> bytes:
    begin = _counted(kind.encode()) + _number(status) + _counted(phrase.encode())
    return begin + encode_response_headers(headers or {})


def _encoded(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    torch = sys.modules.get("torch")  # a tensor cannot come from where it is not imported
    if torch is not None and isinstance(value, torch.Tensor):
        buffer = io.BytesIO()
        torch.save(value, buffer)
        return buffer.getvalue()
    return json.dumps(value, indent=2).encode()


def _number(value: int) -> bytes:
    return struct.pack("!i", value)


def _counted(value: bytes) -> bytes:
    return _number(len(value)) + value
