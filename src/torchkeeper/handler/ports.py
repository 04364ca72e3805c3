"""What a model without source takes and gives: named tensors, their datatypes and the sizes they may have.

Pure, and without torch. Datatypes have the Open Inference Protocol's names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torchkeeper.wire.messages import Signature, TensorSpec

#: torch's and numpy's name of an element's type -> the protocol's datatype.
DATATYPES: dict[str, str] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
}


@dataclass(frozen=True)
class Size:
    """How long a dimension may be, `high` included (None: no bound); those of one symbol are equally long."""

    low: int = 0
    high: int | None = None
    symbol: str | None = None

    @property
    def fixed(self) -> bool:
        """Whether there is one length only."""
        return self.low == self.high

    def holds(self, length: int) -> bool:
        """Whether a dimension may have this length."""
        return self.low <= length and (self.high is None or length <= self.high)


def fixed(length: int) -> Size:
    """The size of a dimension of one length."""
    return Size(length, length)


@dataclass(frozen=True)
class Port:
    """An input or output: its name and, where the file says so, its datatype and dimensions."""

    name: str
    datatype: str | None = None
    sizes: tuple[Size, ...] | None = None


class NamedTensors(dict[str, Any]):
    """A request's tensors by name, as arrays; `datatypes` has their datatypes."""

    def __init__(self, tensors: Mapping[str, Any], datatypes: Mapping[str, str]) -> None:
        super().__init__(tensors)
        self.datatypes = dict(datatypes)


def batch_size(inputs: Sequence[Port], outputs: Sequence[Port]) -> Size | None:
    """The size that the first dimension of all inputs and outputs has; None: there is no such dimension.

    Inputs must have known dimensions; an output whose dimensions nobody knows is taken to follow them.
    """
    known = [port.sizes for port in (*inputs, *outputs) if port.sizes is not None]
    if not inputs or any(port.sizes is None for port in inputs) or not all(known):
        return None
    firsts = {sizes[0] for sizes in known}
    return firsts.pop() if len(firsts) == 1 else None


def portions(count: int, size: Size) -> list[int]:
    """How many of `count` rows go into each call of a model with batches of `size`: as evenly as can be."""
    calls = 1 if size.high is None else max(-(-count // size.high), 1)
    each, more = divmod(count, calls)
    return [each + 1] * more + [each] * (calls - more)


def misfit(port: Port, datatype: str | None, shape: Sequence[int]) -> str | None:
    """Why a tensor cannot be this input; None: it can, as far as the file says."""
    if datatype is not None and port.datatype is not None and datatype != port.datatype:
        return f"datatype {datatype} is not {port.datatype}"
    sizes = port.sizes
    if sizes is None:
        return None
    if len(sizes) != len(shape) or not all(map(Size.holds, sizes, shape)):
        return f"shape {list(shape)} is not {shape_text(sizes)}"
    return None


def unequal(ports: Iterable[Port], shapes: Iterable[Sequence[int]]) -> str | None:
    """Which dimensions of one symbol differ in length among the inputs; None: none do."""
    lengths: dict[str, tuple[int, str]] = {}
    for port, shape in zip(ports, shapes, strict=True):
        for number, (size, length) in enumerate(zip(port.sizes or (), shape, strict=False)):
            if size.symbol is None:
                continue
            where = f"dimension {number} of {port.name}"
            other, place = lengths.setdefault(size.symbol, (length, where))
            if other != length:
                return f"{where} is {length} and {place} is {other}; they must be equal"
    return None


def shape_text(sizes: Sequence[Size]) -> str:
    """A shape for people: [1..64, 3, 224, 224]."""
    return f"[{', '.join(map(size_text, sizes))}]"


def size_text(size: Size) -> str:
    """A length for people: 3, 1..64, or 2.. without a bound."""
    if size.fixed:
        return str(size.low)
    return f"{size.low}.." if size.high is None else f"{size.low}..{size.high}"


def numbered(prefix: str, names: Iterable[str | None]) -> list[str]:
    """The names; where there is none, the prefix and its number."""
    return [name if name is not None else f"{prefix}{number}" for number, name in enumerate(names)]


def signature(inputs: Iterable[Port], outputs: Iterable[Port]) -> Signature:
    """What is told of a model; a dimension of no fixed length is -1."""
    return Signature(tuple(map(_spec, inputs)), tuple(map(_spec, outputs)))


def _spec(port: Port) -> TensorSpec:
    sizes = port.sizes
    shape = None if sizes is None else tuple(size.low if size.fixed else -1 for size in sizes)
    return TensorSpec(port.name, port.datatype, shape)
