"""When two answers of a model are the same, although numbers are computed in another way. Pure.

One rule for all who ask: `torchkeeper tune` of variants, a worker of batches.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: Relative difference of numbers that counts as none.
RELATIVE = 1e-2
#: Characters of an answer that are shown.
_SHOWN = 120


@dataclass(frozen=True)
class Check:
    """When two answers are the same: "same", "exact", "top1", "rel" or "none"."""

    kind: str = "same"
    #: Relative difference that numbers may have.
    relative: float = RELATIVE

    def __str__(self) -> str:
        return f"rel={self.relative:g}" if self.kind == "rel" else self.kind

    @property
    def told(self) -> str:
        """The rule in words."""
        numbers = f"fractions to {self.relative:g}"
        return {
            "exact": "byte for byte",
            "top1": f"the same greatest in lists and maps of fractions, other {numbers}, all else equal",
            "rel": f"{numbers}, all else equal",
            "none": "not compared",
        }.get(self.kind, f"the same greatest in maps of probabilities, other {numbers}, all else equal")


def differs(expected: bytes, found: bytes, check: Check) -> str | None:
    """How an answer differs from the expected one; None where it does not."""
    if check.kind == "none" or expected == found:
        return None
    whole = f"{shown(expected)} became {shown(found)}"
    if check.kind == "exact":
        return whole
    try:
        why = _differs(json.loads(expected), json.loads(found), check, "")
    except (ValueError, RecursionError, OverflowError):  # no JSON, or numbers that no float can hold
        return whole
    return f"{why} ({whole})" if why else None


def _differs(one: Any, other: Any, check: Check, place: str) -> str | None:
    if _ranked(one, other, check):
        return _rank(one, other, place)
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{place or 'the map'} has other keys"
        pairs = [(f"{place}.{key}", one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return f"{place or 'the list'} has {len(other)} values instead of {len(one)}"
        if _floats(one) and _floats(other):
            return _far(one, other, check.relative, place)
        pairs = [(f"{place}[{at}]", *pair) for at, pair in enumerate(zip(one, other, strict=True))]
    elif _is_number(one) and _is_number(other) and not _whole([one, other]):
        return _far([one], [other], check.relative, place)
    else:
        same = type(one) is type(other) and one == other
        return None if same else f"{place or 'the answer'} is another one"
    return next((why for path, *two in pairs if (why := _differs(two[0], two[1], check, path))), None)


def _ranked(one: Any, other: Any, check: Check) -> bool:
    """Whether only the greatest of the numbers counts: of both, which must be scores."""
    if check.kind == "rel" or type(one) is not type(other) or not (_floats(one) and _floats(other)):
        return False
    if len(one) < 2:
        return False
    if isinstance(one, list):
        return check.kind == "top1" and len(one) == len(other)
    return check.kind == "top1" or all(map(_is_probability, (*one.values(), *other.values())))


def _is_probability(value: float) -> bool:
    """Whether it may be one: a NaN stands for one that could not be computed."""
    return 0 <= value <= 1 or math.isnan(value)


def _rank(one: Any, other: Any, place: str) -> str | None:
    where = f"{place}: " if place else ""
    if _nans(one) != _nans(other):  # which are neither greater nor smaller than anything
        return f"{where}there is a NaN in the place of a number"
    first, second = (_greatest(value) for value in (one, other))
    return None if first == second else f"{where}the greatest is {second!r} instead of {first!r}"


def _items(value: Any) -> list[tuple[Any, float]]:
    return list(value.items() if isinstance(value, dict) else enumerate(value))


def _nans(value: Any) -> set[Any]:
    return {key for key, number in _items(value) if math.isnan(number)}


def _greatest(value: Any) -> Any:
    known = [(key, number) for key, number in _items(value) if not math.isnan(number)]
    return max(known, key=lambda item: item[1], default=(None,))[0]


def _far(one: Sequence[float], other: Sequence[float], relative: float, place: str) -> str | None:
    """A number that is too far off: by the greatest of its list, since rounding errors are."""
    scale = max((abs(value) for value in (*one, *other) if math.isfinite(value)), default=0.0)
    for at, (first, second) in enumerate(zip(one, other, strict=True)):
        same = first == second or (math.isnan(first) and math.isnan(second))
        if not same and not abs(first - second) <= relative * scale:
            where = f"{place}[{at}]" if len(one) > 1 else place or "the number"
            return f"{where} is {second:g} instead of {first:g}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _floats(value: Any) -> bool:
    """Whether it is a map or a list of numbers with fractions, none of them whole, and not empty."""
    if not isinstance(value, dict | list) or not value:
        return False
    return all(isinstance(one, float) for one in (value.values() if isinstance(value, dict) else value))


def _whole(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int) for value in values)


def shown(body: bytes) -> str:
    """The beginning of an answer, in one line."""
    text = " ".join(body.decode(errors="replace").split())
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
