"""Makes one tensor of a batch's, or says which of its rows can be one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch

from torchkeeper.handler.errors import RowsApart


def stacked(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The rows' tensors (...) as one (N, ...).

    Raises:
        RowsApart: they have several shapes; rows of one shape are a group.
    """
    try:
        return torch.stack(list(tensors))
    except RuntimeError:
        groups: defaultdict[torch.Size, list[int]] = defaultdict(list)
        for place, tensor in enumerate(tensors):
            groups[tensor.shape].append(place)
        if len(groups) <= 1:
            raise
        raise RowsApart(list(groups.values())) from None
