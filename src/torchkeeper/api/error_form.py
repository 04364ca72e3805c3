"""How an error looks over HTTP: one row per dialect. A route says which dialect is spoken there.

Source: TorchServe's error bodies, with a fourth field `cause`; KServe's, one text under `error`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torchkeeper.errors import TorchkeeperError
from torchkeeper.serving.dialect import Dialect


@dataclass(frozen=True)
class ErrorForm:
    """Content type and body of an error."""

    content_type: bytes
    body: Callable[[TorchkeeperError], bytes]


def torchserve_body(error: TorchkeeperError) -> bytes:
    """TorchServe's three fields byte for byte (two spaces of indent, a trailing newline), then `cause`."""
    fields: dict[str, object] = {"code": error.status, "type": error.type, "message": error.message}
    if error.cause:
        fields["cause"] = error.told
    # Python's encoder is slow where it indents, and of refusals there may be thousands a second.
    lines = ",\n".join(f'  "{name}": {json.dumps(value)}' for name, value in fields.items())
    return f"{{\n{lines}\n}}\n".encode()


def kserve_body(error: TorchkeeperError) -> bytes:
    """KServe's one field: message and cause in one text."""
    return json.dumps({"error": error.text}, separators=(",", ":")).encode()


ERROR_FORMS: Mapping[Dialect, ErrorForm] = {
    Dialect.TORCHSERVE: ErrorForm(b"application/json", torchserve_body),
    Dialect.KSERVE_V1: ErrorForm(b"application/json", kserve_body),
    Dialect.OPEN_INFERENCE: ErrorForm(b"application/json", kserve_body),
}
