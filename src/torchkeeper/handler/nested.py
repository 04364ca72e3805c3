"""Nested lists of numbers as a tensor, without changing a number. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from torchkeeper.handler.ports import DATATYPES


def nested_tensor(value: Any, dtype: torch.dtype, what: str) -> torch.Tensor:
    """The tensor of nested lists; fractions are rounded to the type, as every fraction is.

    Args:
        what: by which an error calls it.

    Raises:
        ValueError: it is none, or has a whole number that the type has no place for.
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
    if not dtype.is_floating_point and not np.array_equal(found.numpy(), array):
        raise ValueError(f"{what} has numbers that are no {DATATYPES[str(dtype).removeprefix('torch.')]}")
    return found
