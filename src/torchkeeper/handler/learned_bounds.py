"""A model whose file does not say which batches it takes, but whose code refuses others and says why.

The bounds are learned from those refusals: after the first one batches are filled up or cut as those of any
ServedModel. Without that, a library for 2 rows and more would refuse each request that comes alone.
Source of the sentences: the checks that AOTInductor writes into its libraries.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from torchkeeper.handler.ports import Port, Size, fixed
from torchkeeper.handler.served_model import ServedModel, datatype_of

#: What a library says of a batch of another size.
_REFUSAL = re.compile(
    r"input_handles\[\d+\]: dim value is too (?:small|large) at 0, expected (?:it )?to be ([<>])= (\d+)"
)
#: The one symbol of the rows of all inputs.
_ROWS = "batch"


class LearningModel(ServedModel):
    """A ServedModel whose inputs have no known sizes."""

    _learned = Size()
    #: Datatypes and shapes of the rows that came last (None: of other bounds), and the model of such rows.
    _latest: tuple[Any, ServedModel] | None = None

    def _whole(self, given: list[torch.Tensor]) -> Any:
        while True:
            model = self._model_of(given)
            try:
                return self._computed(given) if model is None else model(*given)
            except RuntimeError as error:
                if not self._learn(str(error)):
                    raise

    def _learn(self, said: str) -> bool:
        """Whether an error says a bound that was not known."""
        refusal = _REFUSAL.search(said)
        if refusal is None:
            return False
        before, bound = self._learned, int(refusal[2])
        if refusal[1] == ">":
            self._learned = Size(max(before.low, bound), before.high, _ROWS)
        else:
            self._learned = Size(before.low, bound, _ROWS)
        if self._latest is not None:
            self._latest = None, self._latest[1]
        return self._learned != before

    def _model_of(self, given: list[torch.Tensor]) -> ServedModel | None:
        """A model for batches of the learned size of rows like these; None: nothing is known of the rows."""
        if self._learned == Size() or len({len(tensor) if tensor.dim() else -1 for tensor in given}) != 1:
            return None
        rows = [(datatype_of(tensor), tensor.shape[1:]) for tensor in given]
        if self._latest is None or self._latest[0] != rows:
            ports = [
                Port(port.name, datatype, (self._learned, *map(fixed, shape)))
                for port, (datatype, shape) in zip(self.inputs, rows, strict=True)
            ]
            made = ServedModel(self._run, ports, self.outputs)
            if self._latest is not None:
                made.learn_from(self._latest[1])
            self._latest = rows, made
        return self._latest[1]
