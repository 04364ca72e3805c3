"""Whether a module is still what it was: its layers, weights, hooks and options.

What is changed within one of them is not seen, but for dictionaries and lists among the options.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

#: What a layer holds in dictionaries of its own.
_MEMBERS = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks")
#: Of these what no forward changes, and all that weights hang on.
_FIRM = ("_parameters", "_modules")


class Likeness:
    """A module as it is now; cheap enough to be compared at each call: some microseconds for each layer.

    Args:
        whole: whether all of it counts; else its layers and their parameters alone.
    """

    def __init__(self, model: torch.nn.Module, *, whole: bool) -> None:
        self._held: list[tuple[Iterable[Any], list[Any]]] = []
        for part in model.modules():
            options = vars(part)
            if not whole:
                for name in _FIRM:
                    self._look_at(options[name].values())
                continue
            self._look_at(options.values())
            for name, value in options.items():
                if name in _MEMBERS or (not name.startswith("_") and isinstance(value, dict)):
                    self._look_at(value.values())
                elif isinstance(value, list):
                    self._look_at(value)
        self._weights = [weight for weight in model.parameters() if weight.layout == torch.strided]
        self._places = self._now()

    def _look_at(self, values: Iterable[Any]) -> None:
        self._held.append((values, list(values)))

    def _now(self) -> list[int]:
        return [weight.data_ptr() for weight in self._weights]

    def holds(self) -> bool:
        """Whether it is the same still."""
        try:
            for values, kept in self._held:
                if list(values) != kept:  # what is the same object is not looked into
                    return False
        except (RuntimeError, TypeError, ValueError):  # of two tensors it cannot be said in a word
            return False
        return self._now() == self._places
