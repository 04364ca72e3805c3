"""Explanations: which class to explain for which row, and Captum's Integrated Gradients.

Captum is an extra and slow to import (it brings matplotlib), so it is imported at the first explanation and
never before: predictions work without it. Source of the defaults (15 steps, target 0): TorchServe.
"""

from __future__ import annotations

import contextlib
import importlib.util
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from torchkeeper.handler import rows
from torchkeeper.handler.errors import PredictionException, UnreadableRows
from torchkeeper.handler.safe_text import safe_repr

#: Steps of the path integral.
N_STEPS = 15

#: HTTP "bad request".
BAD_REQUEST = 400

#: HTTP "not implemented": the model is there, explaining it is not possible.
NOT_IMPLEMENTED = 501

NO_CAPTUM = "Explanations need Captum, which is not installed here: pip install torchkeeper[explain]"
NOT_EAGER = (
    "Explanations need an eager model, this archive holds a compiled form: "
    "archive a state dict with its source (--model-file)"
)
NO_CLASSES = "Explanations need a model whose output is one tensor (N, classes)"
NO_INSIGHTS = "This model's handler cannot explain: it has no method get_insights"


class LazyIntegratedGradients:
    """Stands for Captum's IntegratedGradients(model), or LayerIntegratedGradients(model, layer).

    Imports Captum when it is first used.
    """

    def __init__(self, model: torch.nn.Module, layer: torch.nn.Module | None = None) -> None:
        self._model = model
        self._layer = layer
        self._real: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._real is None:
            from captum.attr import IntegratedGradients, LayerIntegratedGradients

            if self._layer is None:
                self._real = IntegratedGradients(self._model)
            else:
                self._real = LayerIntegratedGradients(self._model, self._layer)
        return getattr(self._real, name)


def is_eager(model: Any) -> bool:
    """Whether the model is Python's, so that its layers can be listened to."""
    return has_gradients(model) and not isinstance(model, torch.jit.ScriptModule)


def has_gradients(model: Any) -> bool:
    """Whether gradients of its output to its input can be taken: TorchScript's too."""
    return isinstance(model, torch.nn.Module)


def integrated_gradients(model: Any, layer: Any = None) -> LazyIntegratedGradients | None:
    """The attribution method for a model, to its input or to what a layer of it says.

    Returns:
        None when Captum is missing or the model does not allow it; a layer's needs an eager model.
    """
    allowed = has_gradients(model) if layer is None else is_eager(model)
    if importlib.util.find_spec("captum") is None or not allowed:
        return None
    return LazyIntegratedGradients(model, layer)


@contextlib.contextmanager
def eager_look() -> Iterator[None]:
    """A time in which this thread's calls of a model are the eager one's, which is the one explained."""
    before, _look.eager = _look.eager, True
    try:
        yield
    finally:
        _look.eager = before


def looks() -> bool:
    """Whether this thread is in such a time."""
    return _look.eager


class _Look(threading.local):
    eager = False


_look = _Look()


def refusal(*, allowed: bool) -> PredictionException:
    """Why a model without an attribution method cannot be explained, as its client shall read it.

    Args:
        allowed: whether the model would allow it.
    """
    return PredictionException(NO_CAPTUM if allowed else NOT_EAGER, NOT_IMPLEMENTED)


def batch_target(raw_rows: Sequence[Any], device: torch.device | None) -> Any:
    """What Captum takes as `target` for these rows.

    Returns:
        The row's own target for one row, an int64 tensor of shape (rows,) for more, or a list of tuples when
        the targets have more than one dimension.

    Raises:
        ValueError: a target is no number, or the rows' targets differ in form.
    """
    found = rows.targets(raw_rows)
    if len(found) == 1:
        return found[0]
    forms = {len(one) if isinstance(one, tuple) else 0 for one in found}
    if len(forms) > 1:
        raise ValueError("the targets of a batch must all be numbers, or all lists of the same length")
    return torch.tensor(found, device=device) if forms == {0} else found


def in_range(target: Any, output: Any) -> Any:
    """A `target` of Captum's for a model with such an output; what counts from the end is counted from 0.

    Raises:
        UnreadableRows: rows ask for a class that there is not; each is a 400 that names those there are.
        PredictionException: the output has no classes.
    """
    if not isinstance(output, torch.Tensor) or output.ndim < 2:
        kind = f"shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
        raise PredictionException(f"{NO_CLASSES}: {kind}", NOT_IMPLEMENTED)
    sizes = output.shape[1:]
    given = target.tolist() if isinstance(target, torch.Tensor) else target
    each = given if isinstance(given, list) else [given] * len(output)
    counted = [_counted(one, sizes) for one in each]
    wrong: dict[int, str | Exception] = {
        place: PredictionException(_out_of_range(each[place], sizes), BAD_REQUEST)
        for place, one in enumerate(counted)
        if one is None
    }
    if wrong:
        raise UnreadableRows(wrong)
    found = counted if isinstance(given, list) else counted[0]
    return torch.tensor(found, device=target.device) if isinstance(target, torch.Tensor) else found


def _counted(target: rows.Target, sizes: Sequence[int]) -> rows.Target | None:
    indexes = target if isinstance(target, tuple) else (target,)
    if len(indexes) > len(sizes):
        return None
    if any(not -size <= index < size for index, size in zip(indexes, sizes, strict=False)):
        return None
    found = tuple(index % size for index, size in zip(indexes, sizes, strict=False))
    return found if isinstance(target, tuple) else found[0]


def _out_of_range(target: rows.Target, sizes: Sequence[int]) -> str:
    ranges = ", ".join(f"0 to {size - 1}" for size in sizes)
    return f"target {safe_repr(target)} is out of range: the model's classes are {ranges}"


def batch_inputs(raw_rows: Sequence[Any]) -> Any:
    """The rows' own data for `get_insights`: one row's as it came, a list for more."""
    found = [_data_if_any(row) for row in raw_rows]
    return found[0] if len(found) == 1 else found


def _data_if_any(row: Any) -> Any:
    """A row's data; None for a row of other parameters, which only its own handler can read."""
    try:
        return rows.payload(row)
    except ValueError:
        return None
