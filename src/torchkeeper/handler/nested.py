"""Nested lists of numbers as a tensor, without changing a number. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from torchkeeper.handler.ports import DATATYPES

#: Below this each whole number is a fraction of 64 bits.
_EXACT = 1 << 53


def nested_tensor(value: Any, dtype: torch.dtype, what: str) -> torch.Tensor:
    """The tensor of nested lists; fractions are rounded to the type, as every fraction is.

    Args:
        what: by which an error calls it.

    Raises:
        ValueError: it is none, or has a number that the type has no place for.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0, dtype=object)
    if array.dtype.kind == "u" and array.dtype.itemsize == 8:  # of numpy's two such types torch knows one
        array = array.astype("L")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} must be numbers, nested evenly")
    found = torch.from_numpy(array if array.flags.writeable else array.copy()).to(dtype)
    name = DATATYPES[str(dtype).removeprefix("torch.")]
    if dtype.is_floating_point:
        endless = found.isinf()
        if endless.any() and np.isfinite(array[endless.numpy()]).any():
            raise ValueError(f"{what} has numbers that are too large for {name}")
    elif not np.array_equal(found.numpy(), array) or not _is_exact(found, array, value):
        raise ValueError(f"{what} has numbers that are no {name}")
    return found


def _is_exact(found: torch.Tensor, array: npt.NDArray[Any], value: Any) -> bool:
    """Whether whole numbers are as they came: among fractions numpy makes large ones fractions, too."""
    if array.dtype.kind != "f" or not (np.abs(array) >= _EXACT).any():
        return True
    given: object = np.asarray(value, dtype=object).tolist()
    return given == found.tolist()
