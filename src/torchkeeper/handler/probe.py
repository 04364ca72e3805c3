"""Whether the rows of a model's batch are independent, found out by computing: data in, yes or no out.

The first dimension may be a batch or, say, a sequence; no file format tells. Requests may share a batch, and
a batch may be cut or filled up, only where each row's outputs depend on that row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from torchkeeper.handler.ports import DATATYPES, Port, Size

#: Datatype -> torch's type of elements.
DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, text) for text, name in DATATYPES.items() if hasattr(torch, text)
}
#: Computes outputs by name from inputs by name.
Compute = Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]]

#: Rows that are tried, and the length of dimensions that may have any.
_ROWS, _LENGTH = 3, 2


def independent_rows(compute: Compute, inputs: Sequence[Port], size: Size, device: torch.device) -> bool:
    """Whether each row's outputs stayed the same when the other rows changed, and when all changed places.

    `size` is that of the batches, in which all inputs have their rows.
    """
    rows = max(size.low, _ROWS if size.high is None else min(_ROWS, size.high))
    maker = torch.Generator().manual_seed(0)
    try:
        first = {port.name: made_up(port, rows, maker).to(device) for port in inputs}
        others = {name: torch.cat((tensor[:1], _other(tensor[1:]))) for name, tensor in first.items()}
        with torch.inference_mode():
            found = compute(first)
            changed = compute(others)
            turned = compute({name: tensor.flip(0) for name, tensor in first.items()})
    except Exception:  # noqa: BLE001 - values that a model was not made for may do anything to it
        return False
    return rows > 0 and all(
        value.dim() > 0
        and value.shape[0] == rows
        and _same(value[0], changed[name][0])
        and _same(value, turned[name].flip(0))
        for name, value in found.items()
    )


def made_up(port: Port, rows: int, maker: torch.Generator) -> torch.Tensor:
    """A tensor that an input of known sizes takes: so many rows, unless it has one length only."""
    first, *others = port.sizes or ()
    lengths = [first.low if first.fixed else rows, *map(_length, others)]
    dtype = DTYPES[port.datatype or ""]
    if dtype.is_floating_point:
        return torch.randn(lengths, generator=maker).to(dtype)
    return torch.randint(0, 2, lengths, generator=maker).to(dtype)


def _length(size: Size) -> int:
    return (
        size.low if size.fixed else max(size.low, _LENGTH if size.high is None else min(_LENGTH, size.high))
    )


def _other(tensor: torch.Tensor) -> torch.Tensor:
    """Other values of the same kind everywhere: an index stays one of the two that were tried."""
    return 3 * tensor + 1 if tensor.is_floating_point() else (tensor == 0).to(tensor.dtype)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if not one.is_floating_point():
        return torch.equal(one, other)
    return torch.allclose(one.double(), other.double(), rtol=1e-2, atol=1e-3, equal_nan=True)
