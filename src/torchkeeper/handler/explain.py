"""Explanations: which class to explain for which row, and Captum's Integrated Gradients.

Captum is an extra and slow to import (it brings matplotlib), so it is imported at the first explanation and
never before: predictions work without it. Source of the defaults (15 steps, target 0): TorchServe.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch

from torchkeeper.handler import rows
from torchkeeper.handler.errors import PredictionException

#: Steps of the path integral.
N_STEPS = 15

#: HTTP "not implemented": the model is there, explaining it is not possible.
NOT_IMPLEMENTED = 501

NO_CAPTUM = "Explanations need Captum, which is not installed here: pip install torchkeeper[explain]"
NOT_EAGER = (
    "Explanations need an eager model, this archive holds TorchScript or another compiled form: "
    "archive a state dict with its source (--model-file)"
)
NO_INSIGHTS = "This model's handler cannot explain: it has no method get_insights"


class LazyIntegratedGradients:
    """Stands for captum.attr.IntegratedGradients(model); imports Captum when it is first used."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._real: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._real is None:
            from captum.attr import IntegratedGradients

            self._real = IntegratedGradients(self._model)
        return getattr(self._real, name)


def is_eager(model: Any) -> bool:
    """Whether gradients can be taken through the model by Captum's means."""
    return isinstance(model, torch.nn.Module) and not isinstance(model, torch.jit.ScriptModule)


def integrated_gradients(model: Any) -> LazyIntegratedGradients | None:
    """The attribution method for a model; None when Captum is missing or the model is not eager."""
    if importlib.util.find_spec("captum") is None or not is_eager(model):
        return None
    return LazyIntegratedGradients(model)


def refusal(model: Any) -> PredictionException:
    """Why a model without an attribution method cannot be explained, as its client shall read it."""
    return PredictionException(NO_CAPTUM if is_eager(model) else NOT_EAGER, NOT_IMPLEMENTED)


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
