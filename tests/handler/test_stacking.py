"""Tensors of one shape are one batch; others say which belong together."""

from __future__ import annotations

import pytest
import torch

from torchkeeper.handler.errors import RowsApart
from torchkeeper.handler.stacking import stacked


def test_tensors_of_one_shape_are_one_batch() -> None:
    assert stacked([torch.zeros(2, 3), torch.ones(2, 3)]).sum((1, 2)).tolist() == [0, 6]


def test_tensors_of_several_shapes_are_grouped() -> None:
    with pytest.raises(RowsApart) as caught:
        stacked([torch.zeros(2), torch.zeros(3), torch.zeros(2), torch.zeros(1, 2)])
    assert caught.value.groups == [[0, 2], [1], [3]]


def test_nothing_is_no_batch() -> None:
    with pytest.raises(RuntimeError):
        stacked([])
