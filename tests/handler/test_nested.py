"""Nested lists become tensors with the same numbers, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from torchkeeper.handler.nested import nested_tensor


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([[1, 2], [3, 4]], torch.int64),
        ([[1.0, 2]], torch.uint8),
        ([1, 0, True], torch.bool),
        ([1.5, 2], torch.bfloat16),
        ([], torch.int32),
        (7, torch.int8),
        ([1e18, 1], torch.int64),
        ([float("inf"), 65504], torch.float16),
        ([1e300], torch.float64),
        ([], torch.float16),
    ],
)
def test_numbers_stay(value: Any, dtype: torch.dtype) -> None:
    found = nested_tensor(value, dtype, "x")
    assert found.dtype == dtype
    assert found.tolist() == value


@pytest.mark.parametrize(
    ("value", "dtype", "why"),
    [
        ([1.5], torch.int64, "x has numbers that are no INT64"),
        ([300], torch.uint8, "x has numbers that are no UINT8"),
        ([2], torch.bool, "x has numbers that are no BOOL"),
        ([(1 << 53) + 1, 1.0], torch.int64, "x has numbers that are no INT64"),
        ([[1], [70000]], torch.float16, "x has numbers that are too large for FP16"),
        ([1e39, float("inf")], torch.float32, "x has numbers that are too large for FP32"),
        (-1e39, torch.bfloat16, "x has numbers that are too large for BF16"),
        ([1 << 63], torch.int64, "x has numbers that are no INT64"),
        ([1 << 70], torch.float32, "x must be numbers"),
        ([[1], [1, 2]], torch.float32, "x must be numbers"),
        (["1"], torch.float32, "x must be numbers"),
        ([None], torch.float32, "x must be numbers"),
    ],
)
def test_numbers_that_would_change_are_refused(value: Any, dtype: torch.dtype, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        nested_tensor(value, dtype, "x")
