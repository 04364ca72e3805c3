"""Answers in parts: what a handler calls to send one, and how parts become one answer where one is wanted.

Must not import torch. Source: TorchServe's `ts.handler_utils.utils`, "Response streaming".
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from torchkeeper.handler.context import Context, Line


def send_intermediate_predict_response(
    ret: Sequence[Any],
    req_id_map: Mapping[int, str],
    message: str,
    code: int,
    context: Context | None = None,
) -> None:
    """Sends a part of each request's answer now; the handler's return value is the last part.

    Status and headers of the whole answer are those of the first part. Where no server listens (unit tests,
    other ranks of a torchrun group) nothing happens.

    Args:
        ret: one value per request, encoded as returned ones are; None: nothing for that request yet.
        req_id_map: index in `ret` -> request id, usually `context.request_ids`.
        message: kept for TorchServe's signature; no client sees it.
        code: HTTP status of the answer; 200 leaves it to `context.set_response_status`.
        context: the handler's context.
    """
    if context is None or context.line is None or not answers():
        return
    ids = context.request_ids or {}
    values: list[Any] = [None] * len(ids)
    for index, request_id in req_id_map.items():
        place = index if ids.get(index) == request_id else _place(ids, request_id)
        values[place] = ret[index]
    context.line.send(values, None if code == 200 else code)


def answers() -> bool:
    """Whether this process is the one that answers: of a torchrun group, the first."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _place(ids: Mapping[int, str], request_id: str) -> int:
    for place, own in ids.items():
        if own == request_id:
            return place
    raise ValueError(f"no request of the batch has the id {request_id!r}")


class Collector:
    """Takes the parts instead of the clients, for callers who want whole answers.

    Args:
        owners: per row of the batch, the number of the request that it came with.
        line: where the clients are, to know who left.
    """

    def __init__(self, owners: Sequence[int], line: Line | None = None) -> None:
        self._parts: list[list[Any]] = [[] for _ in owners]
        self._owners = owners
        self._line = line

    def send(self, values: Sequence[Any], status: int | None = None) -> None:
        """Keeps one part per row; None is no part."""
        for parts, value in zip(self._parts, values, strict=True):
            if value is not None:
                parts.append(value)

    def gone(self) -> frozenset[int]:
        """The rows whose clients left."""
        left = self._line.gone() if self._line is not None else ()
        return frozenset(row for row, owner in enumerate(self._owners) if owner in left)

    def joined(self, last: Sequence[Any] | None) -> list[Any]:
        """The whole answers: texts and bytes joined, values of other types as a list of the parts.

        Args:
            last: one last part per row; None: there is none.
        """
        ends = [None] * len(self._parts) if last is None else last
        return [
            _join([*parts, *([] if end is None and parts else [end])])
            for parts, end in zip(self._parts, ends, strict=True)
        ]


def _join(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, str) for part in parts):
        return "".join(parts)
    if all(isinstance(part, bytes | bytearray) for part in parts):
        return b"".join(parts)
    return parts
