"""What an AOTInductor package takes, read from the C++ source that the package brings along. Pure.

The source checks each input's datatype, fixed lengths and bounds, but not always that lengths of one symbol
are equal: compiled code takes the length from one input, and reads as much memory of the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from torchkeeper.handler.ports import DATATYPES, Size, fixed

#: Bounds of a dimension from here on are none.
UNBOUNDED = 1 << 31
#: What AOTInductor writes to check its inputs: the beginning of an input's check ...
_INPUT = re.compile(r"(?m)^\s*int32_t (\w+)_expected_dtype = aoti_torch_dtype_(\w+)\(\);")
#: ... and a length: (fixed, -, -, dimension) or (-, dimension, "<" or ">", bound).
_LENGTH = r"if \((?:(\d+) != {name}_size\[(\d+)\]|{name}_size\[(\d+)\] ([<>]) (\d+))\)"
_STRIDE = r"{name}_stride\[(\d+)\]"
#: Which dimension of which input gives a symbol its value.
_SYMBOL = re.compile(r"(?m)^\s*(?:int64_t|auto) (\w+) = (\w+)_size\[(\d+)\];")
#: What newer versions of torch say of an input's lengths in terms of symbols.
_TERMS = r"assert_size_stride\({name}, \{{([^}}]*)\}},"


@dataclass(frozen=True)
class InputCheck:
    """What is known of an input: None, its datatype or sizes are not checked."""

    datatype: str | None
    sizes: tuple[Size, ...] | None
    #: Dimensions whose lengths depend on others, nobody knows how.
    untold: tuple[int, ...] = ()


def input_checks(source: str) -> list[InputCheck]:
    """What is known of each input, in their order."""
    begins = list(_INPUT.finditer(source))
    ends = [*(match.start() for match in begins[1:]), len(source)][: len(begins)]
    checked = {
        begin[1]: (DATATYPES.get(begin[2]), _lengths(begin[1], source[begin.end() : end]))
        for begin, end in zip(begins, ends, strict=True)
    }
    owners = []
    for symbol, name, place in _SYMBOL.findall(source):
        known = checked.get(name, (None, None))[1] or ()
        if int(place) < len(known):
            owners.append(_Owner(symbol, name, int(place), known[int(place)]))
    found = []
    for name, (datatype, sizes) in checked.items():
        if sizes is None:
            found.append(InputCheck(datatype, None))
        else:
            found.append(InputCheck(datatype, *_related(name, sizes, _terms(name, source), owners)))
    return found


@dataclass(frozen=True)
class _Owner:
    """A dimension that gives a symbol its value."""

    symbol: str
    name: str
    place: int
    size: Size


def _terms(name: str, source: str) -> list[str]:
    match = re.search(_TERMS.format(name=re.escape(name)), source)
    return [term.strip() for term in match[1].split(",")] if match else []


def _related(
    name: str, sizes: tuple[Size, ...], terms: list[str], owners: list[_Owner]
) -> tuple[tuple[Size, ...], tuple[int, ...]]:
    """The sizes with their symbols, and the places of those that depend on others, nobody knows how."""
    related, untold = [], []
    for place, size in enumerate(sizes):
        symbol = None
        if not size.fixed:
            own = [owner.symbol for owner in owners if (owner.name, owner.place) == (name, place)]
            if place < len(terms):  # the package itself checks a term that is no symbol
                own += [owner.symbol for owner in owners if owner.symbol == terms[place]]
            else:
                own += _alike(place, size, owners)
                untold += [place] if owners and not own else []
            symbol = own[0] if own else None
        related.append(replace(size, symbol=symbol))
    return tuple(related), tuple(untold)


def _alike(place: int, size: Size, owners: list[_Owner]) -> list[str]:
    """The symbol of a length that gives none its value: the one of its bounds, if several do at its place."""
    alike = [owner for owner in owners if owner.size == size]
    if len(alike) > 1:
        alike = [owner for owner in alike if owner.place == place]
    return [owner.symbol for owner in alike] if len(alike) == 1 else []


def _lengths(name: str, text: str) -> tuple[Size, ...] | None:
    """The sizes of an input's dimensions; those without a check may be anything. None: nothing is checked."""
    found: dict[int, Size] = {}
    for match in re.finditer(_LENGTH.format(name=re.escape(name)), text):
        only, place, other, sign, bound = match.groups()
        if only is not None:
            found[int(place)] = fixed(int(only))
            continue
        known = found.get(int(other), Size())
        high = int(bound) if int(bound) < UNBOUNDED else None
        found[int(other)] = Size(int(bound), known.high) if sign == "<" else Size(known.low, high)
    strides = (int(place) for place in re.findall(_STRIDE.format(name=re.escape(name)), text))
    rank = max([*found, *strides], default=-1) + 1
    return tuple(found.get(place, Size()) for place in range(rank)) if rank else None
