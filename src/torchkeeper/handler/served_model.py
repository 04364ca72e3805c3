"""A model that came without its source: named tensors in and out, in batches of the size that it allows.

Called like a module. A batch that is larger than the model's bound is computed in several calls; a smaller
one is filled up with its last row, whose surplus results are cut off; both only where the rows are
independent. Knows nothing of files.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from torchkeeper.handler.ports import (
    DATATYPES,
    Port,
    Size,
    batch_size,
    misfit,
    portions,
    signature,
    size_text,
    unequal,
)
from torchkeeper.handler.probe import independent_rows
from torchkeeper.wire.messages import Signature

logger = logging.getLogger(__name__)

Run = Callable[[list[torch.Tensor]], Any]


class ServedModel:
    """A loaded model of a format that needs no Python source."""

    def __init__(
        self, run: Run, inputs: Sequence[Port], outputs: Sequence[Port], *, session: Any = None
    ) -> None:
        """`run` computes a list of tensors, one per input, to the model's own structure of outputs.

        Args:
            run: it is called with batches of the model's size only.
            inputs: what the model takes, in the order of `run`.
            outputs: the leaves of what `run` returns.
            session: where attributes are looked for that this class does not have.
        """
        self._run = run
        self._session = session
        #: Whether it has been said that batches are filled up.
        self._told = False
        #: What the trial said of the rows, once it was made.
        self._trial: bool | None = None
        self._tried = False
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        #: The size of batches; None: the first dimension is no batch.
        self.batch: Size | None = batch_size(inputs, outputs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self._session is None:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        return getattr(self._session, name)

    @property
    def signature(self) -> Signature:
        """What is told of the model."""
        return signature(self.inputs, self.outputs)

    def eval(self) -> ServedModel:
        """Nothing: it can do nothing but infer."""
        return self

    def __call__(self, *tensors: torch.Tensor, **named: torch.Tensor) -> Any:
        """The model's outputs in its own structure, for a batch of any size.

        Raises:
            TypeError: the tensors are not the model's inputs.
        """
        given = list(tensors)
        for port in self.inputs[len(given) :]:
            if port.name not in named:
                raise TypeError(f"the model's input {port.name!r} is missing")
            given.append(named.pop(port.name))
        if named or len(given) > len(self.inputs):
            known = ", ".join(port.name for port in self.inputs)
            raise TypeError(f"{len(given) + len(named)} inputs for a model that takes {known}")
        return self._whole(given)

    def named(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The outputs by their names."""
        found = pytree.tree_leaves(self._whole([tensors[port.name] for port in self.inputs]))
        return {port.name: leaf for port, leaf in zip(self.outputs, found, strict=True)}

    def independent(self, device: torch.device) -> bool | None:
        """Whether each row of a batch is computed from that row alone; found out once, by computing.

        None: made-up rows could not be computed, so nobody knows.
        """
        if not self._tried and self.batch is not None:
            self._trial = independent_rows(self.named, self.inputs, self.batch, device)
        self._tried = True
        return self._trial

    def learn_from(self, other: ServedModel) -> None:
        """What was found out by `other`, which computes the same in other sizes, holds here too."""
        self._told = self._told or other._told
        if other._trial is not None:
            self._trial, self._tried = other._trial, True

    def _whole(self, given: list[torch.Tensor]) -> Any:
        size, count = self.batch, self._rows(given)
        if size is None or count is None or size.holds(count):
            return self._computed(given)
        if not (independent := self.independent(given[0].device)):
            raise _inseparable(size, known=independent is not None)
        parts = []
        at = 0
        for rows in portions(count, size):
            parts.append(self._part([tensor[at : at + rows] for tensor in given], rows, size))
            at += rows
        return parts[0] if len(parts) == 1 else pytree.tree_map(_joined, *parts)

    def _computed(self, given: list[torch.Tensor]) -> Any:
        for port, tensor in zip(self.inputs, given, strict=True):
            if (why := misfit(port, datatype_of(tensor), tensor.shape)) is not None:
                raise ValueError(f"the model's input {port.name}: {why}")
        if (why := unequal(self.inputs, [tensor.shape for tensor in given])) is not None:
            raise ValueError(f"the model's inputs: {why}")
        return self._run(given)

    def _rows(self, given: list[torch.Tensor]) -> int | None:
        """The rows of a batch; None for no rows, and where the tensors do not look like the inputs."""
        counts = {
            tensor.shape[0] if port.sizes is not None and tensor.dim() == len(port.sizes) else None
            for port, tensor in zip(self.inputs, given, strict=True)
        }
        return (counts.pop() or None) if len(counts) == 1 else None

    def _part(self, given: list[torch.Tensor], rows: int, size: Size) -> Any:
        wanted = max(rows, size.low)
        if wanted > rows:
            self._tell(size)
            given = [_filled(tensor, wanted) for tensor in given]
        found = self._computed(given)
        if any(not leaf.dim() or leaf.shape[0] != wanted for leaf in pytree.tree_leaves(found)):
            raise _inseparable(size)
        return pytree.tree_map(lambda leaf: leaf[:rows], found) if wanted > rows else found

    def _tell(self, size: Size) -> None:
        if not self._told:
            self._told = True
            logger.warning(
                "The model takes batches of %d rows at least: smaller ones are filled up, and cost as much. "
                'A program exported for every size, torch.export.Dim("batch", min=1), and not compiled, '
                "takes them as they are",
                size.low,
            )


def datatype_of(tensor: torch.Tensor) -> str | None:
    """The protocol's name of a tensor's datatype; None if it has none."""
    return DATATYPES.get(str(tensor.dtype).removeprefix("torch."))


def _inseparable(size: Size, *, known: bool = True) -> RuntimeError:
    why = "does not give a row for each that depends on it alone"
    if not known:
        why = "could not be tried on made-up rows, so that nobody knows whether each is computed alone"
    return RuntimeError(
        f"the model takes {size_text(size)} rows and {why}: a batch of another size is not computed in "
        "parts; export it with a dynamic batch"
    )


def _filled(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    last = tensor[-1:].expand(rows - tensor.shape[0], *tensor.shape[1:])
    return torch.cat((tensor, last)).contiguous()


def _joined(*leaves: torch.Tensor) -> torch.Tensor:
    return torch.cat(leaves)
