"""The oldest built-in handler: tensors in files come in, and tensors go out.

Source: TorchServe's `densenet_handler`, which can't answer batches.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import torch

from torchkeeper.handler.base import BaseHandler
from torchkeeper.handler.rows import payload, readable
from torchkeeper.handler.stacking import stacked
from torchkeeper.handler.timing import timed


class DenseNetHandler(BaseHandler):
    """Answers a tensor that torch.save wrote with the model's output for it, in the same form."""

    @timed
    def preprocess(self, data: Any) -> Any:
        """The rows' tensors as one batch.

        Raises:
            UnreadableRows: rows are no tensors.
            RowsApart: rows are tensors of several shapes.
        """
        return stacked(list(readable(data, _tensor))).to(self.device)

    @timed
    def postprocess(self, data: Any) -> Any:
        """One tensor (1, ...) per request."""
        return [row.cpu().clone() for row in data.split(1)]


def _tensor(row: Any) -> torch.Tensor:
    content = payload(row)
    if isinstance(content, str):
        content = base64.b64decode(content)
    if not isinstance(content, bytes | bytearray):
        raise ValueError(f"a request needs a tensor that torch.save wrote, not {type(content).__name__}")
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - torch's reader of broken files raises anything
        raise ValueError(f"no tensor that torch.save wrote ({len(content)} bytes)") from None
    if not isinstance(found, torch.Tensor):
        raise ValueError(f"the file holds a {type(found).__name__}, not a tensor")
    return found
