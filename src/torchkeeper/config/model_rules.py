"""What a setting of a model must be, and how JSON and requests say it. Pure.

Source of what is read leniently from JSON: TorchServe's reader takes numbers in texts, whole numbers with a
fraction and lists of one; from YAML it takes nothing but the type.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import msgspec

T = TypeVar("T")

#: The greatest of Java's whole numbers.
_INT = 2**31 - 1
#: Greater numbers are none: NaN and infinity are not, nor are whole numbers that no float can hold.
_GREATEST = sys.float_info.max


@dataclass(frozen=True)
class Rule(Generic[T]):
    """What a value must be."""

    wanted: str
    #: Whether a value of YAML's types is one.
    fits: Callable[[Any], bool]
    #: The value of what JSON holds, still to be tested. Raises ValueError where there is none to be read, and
    #: TypeError where TorchServe passes over what it finds.
    read: Callable[[Any], T]
    #: The type of a request's parameter.
    parameter: Any = None
    #: The value as it is kept.
    plain: Callable[[Any], T] = lambda value: value
    #: What holds of the operator's word and the archive's, where neither simply wins.
    meet: Callable[[T, T], T] | None = None
    #: What is wrong with a value, in a sentence that refuses the model; without such a function a wrong value
    #: costs the key alone, as in TorchServe, unless the rule is strict.
    refuses: Callable[[Any], str | None] | None = None
    #: Whether a wrong value refuses the model where there is no such function.
    strict: bool = False


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _GREATEST


def _alone(value: Any) -> Any:
    """The one element of a list stands for itself."""
    if isinstance(value, list):
        if len(value) != 1:
            raise TypeError("no single value")
        return value[0]
    return value


def _read_whole(value: Any) -> int:
    value = _alone(value)
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,19}", value, re.ASCII):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_GREATEST <= value <= _GREATEST:
        raise ValueError("no number")
    return int(value)


def _read_time(value: Any) -> float:
    value = _alone(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("no number")
    number = float(value) if isinstance(value, str) else value
    if not -_GREATEST <= number <= _GREATEST:
        raise ValueError("no number")
    return float(number)


def never(value: Any) -> Any:
    """The reading of what JSON cannot say."""
    raise ValueError("not said in JSON")


def whole(low: int, high: int = _INT, what: str = "") -> Rule[int]:
    """A whole number of that range; `what` is counted."""
    wanted = f"a whole number{what}" if low == 0 and high == _INT else f"a whole number{what} from {low}"
    wanted = wanted if high == _INT else f"{wanted} to {high}"
    meta = Annotated[int, msgspec.Meta(ge=low, le=high)]
    return Rule(wanted, lambda value: _is_whole(value, low, high), _read_whole, meta)


def _either(known: tuple[str, ...]) -> str:
    """The words in a sentence."""
    return " or ".join(filter(None, (", ".join(known[:-1]), known[-1])))


def choice(*known: str) -> Rule[str]:
    """One of these words."""

    def read(value: Any) -> str:
        value = _alone(value)
        if value not in known:
            raise TypeError("none of them")
        return str(value)

    wanted = _either(known)
    return Rule(wanted, lambda value: value in known, read, str)


#: How batches are formed.
BATCH_POLICIES = ("adaptive", "greedy", "delay")
#: What workers may do, the freest first.
SANDBOXES = ("off", "default", "strict")
NETWORKS = ("any", "none")


def _stricter(one: str, other: str) -> str:
    """Of two levels of the sandbox, or two networks, the one that allows less."""
    known = SANDBOXES if one in SANDBOXES else NETWORKS
    return max(one, other, key=known.index)


def _lesser(some: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    """The limits of both, the lesser one where both have it."""
    return {name: min(one[name] for one in (some, others) if name in one) for name in {**some, **others}}


def _own_choice(known: tuple[str, ...]) -> Rule[str]:
    """One of these words; what is none is never passed over. YAML reads a bare `off` as false."""

    def plain(value: Any) -> str:
        value = "off" if value is False else value
        if value not in known:
            raise ValueError("none of them")
        return str(value)

    def fits(value: Any) -> bool:
        return value in known or (value is False and "off" in known)

    return Rule(_either(known), fits, plain, plain=plain, meet=_stricter)


sandboxes, networks = _own_choice(SANDBOXES), _own_choice(NETWORKS)


#: What a worker's limits bound, by the names of `ulimit`: numbers, and bytes.
LIMITS = ("nofile", "nproc", "as", "fsize")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def read_limits(found: Any) -> dict[str, int]:
    """Limits by their names; a text may end in K, M, G or T.

    Raises:
        ValueError: they are none; says what they must be.
    """
    if not isinstance(found, dict) or not found.keys() <= set(LIMITS):
        raise ValueError(f"must name limits of {', '.join(LIMITS)}")
    limits = {}
    for name, value in found.items():
        match = re.fullmatch(r"([1-9]\d{0,14})([KMGT]?)", str(value), re.ASCII)
        if match is None or isinstance(value, bool):
            raise ValueError(f"{name} must be a whole number from 1, or one with K, M, G or T behind it")
        limits[name] = int(match[1]) * _UNITS.get(match[2], 1)
    return limits


def _are_limits(value: object) -> bool:
    try:
        read_limits(value)
    except ValueError:
        return False
    return True


limits = Rule[dict[str, int]](
    f"limits of {', '.join(LIMITS[:-1])} or {LIMITS[-1]}, each from 1",
    _are_limits,
    read_limits,
    plain=read_limits,
    meet=_lesser,
)
count = whole(0, 10_000)
#: Milliseconds since 1970.
moment = whole(0, 2**63 - 1)
milliseconds = whole(0, what=" of milliseconds")
#: Requests name whole ones only.
seconds = Rule[float](
    "a number of seconds", _is_time, _read_time, Annotated[int, msgspec.Meta(ge=1, le=_INT)]
)
boolean = Rule[bool]("true or false", lambda value: isinstance(value, bool), never)
numbers = Rule[tuple[int, ...]](
    "a list of whole numbers",
    lambda value: isinstance(value, list) and all(_is_whole(one, 0, _INT) for one in value),
    never,
    plain=tuple,
)


def _are_tensors(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(tensor, dict)
        and tensor.keys() == {"name", "datatype", "shape"}
        and isinstance(tensor["name"], str)
        and isinstance(tensor["datatype"], str)
        and isinstance(tensor["shape"], list)
        and all(_is_whole(size, -1, 2**63 - 1) for size in tensor["shape"])
        for tensor in value
    )


tensors = Rule[tuple[dict[str, Any], ...]](
    "a list of tensors, each with name, datatype and shape", _are_tensors, never, plain=tuple
)


def _is_machine(value: object) -> bool:
    if not isinstance(value, dict) or not value.keys() <= {"cores", "features"}:
        return False
    features = value.get("features", [])
    known = isinstance(features, list) and all(isinstance(one, str) for one in features)
    return known and _is_whole(value.get("cores"), 1, _INT)


machine = Rule[dict[str, Any]](
    "the number of `cores` and a list of the processor's `features`", _is_machine, never
)
