"""Whether an answer is the one that eager float32 gives, and what so many equal ones prove. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torchkeeper.tune.refusal import TuneRefused

#: Relative difference of numbers that counts as none.
RELATIVE = 1e-2
#: Characters of an answer that are shown.
_SHOWN = 120
#: Different bodies of one sample's answers whose verdicts are kept.
_KEPT = 1000
_CONFIDENCE = 0.95


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


def read_check(text: str) -> Check:
    """The check that a flag names: exact, top1, none, rel=NUMBER, or same.

    Raises:
        TuneRefused: it names none.
    """
    kind, equals, number = text.partition("=")
    if kind == "rel" and equals:
        try:
            relative = float(number)
        except ValueError:
            relative = math.nan
        if 0 <= relative < 1:
            return Check("rel", relative)
        raise TuneRefused(f"--check {text}: rel is a number from 0 to 1, such as rel=1e-3")
    if text not in ("same", "exact", "top1", "none"):
        raise TuneRefused(f"--check {text}: there are same, exact, top1, rel=NUMBER and none")
    return Check(text)


def differs(expected: bytes, found: bytes, check: Check) -> str | None:
    """How an answer differs from the expected one; None where it does not."""
    if check.kind == "none" or expected == found:
        return None
    whole = f"{_shown(expected)} became {_shown(found)}"
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


def _shown(body: bytes) -> str:
    text = " ".join(body.decode(errors="replace").split())
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def at_most(samples: int) -> float:
    """The share of all requests that may differ where none of so many samples did, with 95 % confidence.

    The exact bound, of which 3 / samples is the well-known approximation (the rule of three).
    """
    return 1 - math.pow(1 - _CONFIDENCE, 1 / samples)


def proof(samples: int) -> str:
    """What so many samples without a difference prove."""
    which = "1 sample" if samples == 1 else f"{samples} samples"
    return (
        f"none of {which} was answered differently: with 95 % confidence at most {at_most(samples):.2%} of "
        f"requests like them are"
    )


@dataclass
class Judge:
    """Compares answers, as they come, with the expected ones; one body of a sample is compared once."""

    expected: dict[int, bytes]
    check: Check
    #: Of the samples, for people.
    names: Sequence[str]
    #: Whether the first answer to a sample is what others are compared with.
    learns: bool = False
    #: Answers that came, and the first one that was no success or another one.
    answers: int = 0
    failure: str = ""
    difference: str = ""
    _known: dict[int, set[bytes]] = field(default_factory=dict)

    def take(self, sample: int, status: int, body: bytes) -> None:
        """An answer to the sample of that number; status 0: there is none, and the body says why."""
        self.answers += 1
        if status != 200:
            self.failure = self.failure or f"{self.names[sample]} was answered with {status}: {_shown(body)}"
            return
        if self.learns:
            self.expected.setdefault(sample, body)
        known = self._known.setdefault(sample, set())
        if body in known or self.difference or sample not in self.expected:
            return
        if why := differs(self.expected[sample], body, self.check):
            self.difference = f"{self.names[sample]}: {why}"
        elif len(known) < _KEPT:
            known.add(body)

    @property
    def samples(self) -> int:
        """Different samples that were answered."""
        return len(self._known)
