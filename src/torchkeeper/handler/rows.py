"""Reads one row of a batch: where its data is, and which class is to be explained.

A row is the dict of a request's parameters, or, behind an envelope, whatever the envelope took out of it.
Must not import torch: rows are what came over the wire.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from torchkeeper.handler.errors import PredictionException, UnreadableRows
from torchkeeper.handler.safe_text import safe_repr, safe_str

T = TypeVar("T")

#: The largest index that a tensor may hold.
_FARTHEST = (1 << 63) - 1

#: A number, of however many digits: Python does not read too many of them.
_WHOLE = re.compile(r"\s*[+-]?[0-9]+\s*")

#: Parameters that an error names.
_NAMED = 5

#: What captum takes for one row: a class index, or one index per further output dimension.
Target = int | tuple[int, ...]


def fields(row: Any) -> Any:
    """The dict that holds `data` and `target`: the row, or its body when that is a JSON object with data."""
    if isinstance(row, dict) and "data" not in row:
        body = row.get("body")
        if isinstance(body, dict) and "data" in body:
            return body
    return row


def payload(row: Any) -> Any:
    """A row's data: its `data` or else its `body`; a row that is no dict is the data itself.

    Raises:
        ValueError: a dict with neither.
    """
    row = fields(row)
    if not isinstance(row, dict):
        return row
    if "data" in row or "body" in row:
        # `or`: a form's empty field must not hide the other one.
        return row.get("data") or row.get("body")
    found = ", ".join(safe_repr(name) for name in sorted(row)[:_NAMED]) or "nothing"
    more = f" and {len(row) - _NAMED} more" if len(row) > _NAMED else ""
    raise ValueError(f"a request needs a parameter 'data' or a body; this one has {found}{more}")


def target(row: Any) -> Target:
    """The class to explain: the row's `target` as number, text, bytes or list of them; 0 without one.

    Raises:
        ValueError: a target that is no number.
        PredictionException: one that no tensor has an index for; 400.
    """
    row = fields(row)
    given = row.get("target") if isinstance(row, dict) else None
    if given is None or given in ("", b""):
        return 0
    if isinstance(given, list | tuple):
        return tuple(_index(part) for part in given)
    return _index(given)


def _index(given: Any) -> int:
    text = given.decode("utf-8", "replace") if isinstance(given, bytes | bytearray) else given
    try:
        index = int(text)
    except (TypeError, ValueError, OverflowError):
        index = None
    whole = index is not None or (isinstance(text, str) and _WHOLE.fullmatch(text) is not None)
    if not whole or (isinstance(given, float) and given != index):
        raise ValueError(f"target must be the number of a class, not {safe_repr(text)}")
    if index is None or abs(index) > _FARTHEST:
        raise PredictionException(f"target {safe_repr(text)} is out of range: no model has such a class", 400)
    return index


def targets(rows: Sequence[Any]) -> list[Target]:
    """One target per row.

    Raises:
        UnreadableRows: some of them are no numbers.
    """
    return list(readable(rows, target))


def readable(rows: Iterable[Any], read: Callable[[Any], T]) -> Iterator[T]:
    """Each row as `read` reads it; behind a row that cannot be read, the others are only tried.

    Args:
        read: raises ValueError of a row that says nothing; what else it raises is that row's own as well.

    Raises:
        UnreadableRows: at the end, with all of those.
        MemoryError: as `read` does: that is no row's own.
    """
    found: dict[int, str | Exception] = {}
    for place, row in enumerate(rows):
        try:
            value = read(row)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - `read` may be users' code
            found[place] = safe_str(error) if isinstance(error, ValueError) else error
        else:
            if not found:
                yield value
    if found:
        raise UnreadableRows(found)
