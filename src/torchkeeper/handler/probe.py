"""Whether the rows of a model's batch are independent, found out by computing: data in, yes or no out.

The first dimension may be a batch or, say, a sequence; no file format tells. Requests may share a batch, and
a batch may be cut or filled up, only where each row's outputs depend on that row alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from torchkeeper.handler.ports import DATATYPES, Port, Size

#: Datatype -> torch's type of elements.
DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, text) for text, name in DATATYPES.items() if hasattr(torch, text)
}
#: Computes outputs by name from inputs by name.
Compute = Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]]

#: Rows that are tried, and lengths of dimensions that may have any: the first that the model computes counts.
_ROWS, _LENGTHS = 3, (2, 32, 224)
#: Elements of a trial that is made after another one failed.
_MOST = 1 << 24


def independent_rows(
    compute: Compute, inputs: Sequence[Port], size: Size, device: torch.device
) -> bool | None:
    """Whether each row's outputs stayed the same when the other rows changed, and when all changed places.

    None: nothing that was tried could be computed. `size` is that of the batches, in which all inputs have
    their rows.
    """
    rows = max(size.low, _ROWS if size.high is None else min(_ROWS, size.high))
    seen: list[list[list[int]]] = []
    for length in _LENGTHS:
        shapes = [_shape(port, rows, length) for port in inputs]
        if shapes in seen or (seen and sum(map(math.prod, shapes)) > _MOST):
            continue
        seen.append(shapes)
        try:
            return rows > 0 and _tried(compute, inputs, rows, length, device)
        except Exception:  # noqa: BLE001 - values that a model was not made for may do anything to it
            continue
    return None


def _tried(compute: Compute, inputs: Sequence[Port], rows: int, length: int, device: torch.device) -> bool:
    maker = torch.Generator().manual_seed(0)
    first = {port.name: made_up(port, rows, maker, length).to(device) for port in inputs}
    others = {name: torch.cat((tensor[:1], _other(tensor[1:]))) for name, tensor in first.items()}
    with torch.inference_mode():
        found = compute(first)
        changed = compute(others)
        turned = compute({name: tensor.flip(0) for name, tensor in first.items()})
    return all(
        value.dim() > 0
        and value.shape[0] == rows
        and same(value[0], changed[name][0])
        and same(value, turned[name].flip(0))
        for name, value in found.items()
    )


def made_up(port: Port, rows: int, maker: torch.Generator, length: int = _LENGTHS[0]) -> torch.Tensor:
    """A tensor that an input of known sizes takes: so many rows, unless it has one length only.

    `length` is that of other dimensions, as far as they may have it.
    """
    lengths = _shape(port, rows, length)
    dtype = DTYPES[port.datatype or ""]
    if dtype.is_floating_point:
        return torch.randn(lengths, generator=maker).to(dtype)
    return torch.randint(0, 2, lengths, generator=maker).to(dtype)


def _shape(port: Port, rows: int, length: int) -> list[int]:
    first, *others = port.sizes or ()
    within = (max(size.low, length if size.high is None else min(length, size.high)) for size in others)
    return [first.low if first.fixed else rows, *within]


def _other(tensor: torch.Tensor) -> torch.Tensor:
    """Other values of the same kind everywhere: an index stays one of the two that were tried."""
    return 3 * tensor + 1 if tensor.is_floating_point() else (tensor == 0).to(tensor.dtype)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two outputs differ by no more than the order of computing does."""
    if one.shape != other.shape or not one.is_floating_point():
        return torch.equal(one, other)
    return torch.allclose(one.double(), other.double(), rtol=1e-2, atol=1e-3, equal_nan=True)
