"""What may be said of how many requests share a batch, what they may cost, and which ones do. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from torchkeeper.config.model_rules import Rule, choice, never, whole

#: A batch has one request, until a worker's warm-up has shown that several give the same answers.
AUTO: Literal["auto"] = "auto"
#: Requests that a batch has at most then.
MOST_BY_ITSELF = 64
#: What a request may cost, beside what one of its header fields says.
ITEMS, BYTES, ELEMENTS = "items", "bytes", "elements"
COSTS = (ITEMS, BYTES, ELEMENTS)
#: The envelope whose requests have tensors that the front can read.
TENSORS = "kservev2"
#: A header field's name (RFC 9110, section 5.6.2).
_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_number = whole(1)


def _read_size(value: Any) -> int | Literal["auto"]:
    return AUTO if value in (AUTO, [AUTO]) else _number.read(value)


def most_in_batch(batch_size: int | Literal["auto"]) -> int:
    """Requests that a batch may have at most, whatever workers find out."""
    return MOST_BY_ITSELF if batch_size == AUTO else batch_size


def _is_cost(value: object) -> bool:
    """One of the words, or a header's name; `Bytes` is no header, but a slip."""
    if not isinstance(value, str):
        return False
    return value in COSTS or (_FIELD.fullmatch(value) is not None and value.lower() not in COSTS)


def _is_bound(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value <= 2**53


batch_size = Rule[int | Literal["auto"]](
    f"{_number.wanted} or {AUTO}",
    lambda value: value == AUTO or _number.fits(value),
    _read_size,
    _number.parameter | Literal["auto"],
)
batch_cost = Rule[str](f"{', '.join(COSTS)} or the name of a request header", _is_cost, never, strict=True)
max_batch_cost = Rule[float](f"a number above 0, to {2**53}", _is_bound, never, strict=True)
batch_by = replace(choice("shape"), strict=True)


def unpaired(config: Mapping[object, Any]) -> str | None:
    """Why a whole model-config.yaml cannot hold with what it says of costs; None: it can."""
    cost, bound = config.get("batchCost"), "maxBatchCost" in config
    if cost is None and bound:
        return f"maxBatchCost needs batchCost, which says what requests cost: {batch_cost.wanted}"
    if cost not in (None, ITEMS) and not bound:
        return f"batchCost: {str(cost)[:100]} needs maxBatchCost, the most that a batch may cost"
    return None


def unreadable(cost: str, by: str | None, envelope: str | None) -> str | None:
    """Why a model's requests, which come in that envelope, cannot be weighed so; None: they can.

    Args:
        envelope: that the settings name for all requests, if any; those at KServe v2's URLs have their own.
    """
    if (cost != ELEMENTS and by is None) or envelope in (None, TENSORS):
        return None
    key = f"batchCost: {ELEMENTS}" if cost == ELEMENTS else f"batchBy: {by}"
    return f"{key} needs requests with tensors (KServe v2's), and those of this server come as {envelope}"
