"""Gives a model the values of a state dict: by pointing at the tensors of a mapped file, else by copying.

A parameter takes a tensor over as it is where nothing tells them apart but the values, and where nobody holds
the memory that it had; it stays the same object, so whoever holds it (ties, optimizers, hooks) has the new
values. All else, and all that a model says of its own loading, is `load_state_dict`'s, errors included.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import torch

#: torch's own way to load a module, and those of its classes that add checks to it.
_USUAL = {
    one._load_from_state_dict for one in (torch.nn.Module, torch.nn.BatchNorm1d, torch.nn.InstanceNorm1d)
}
_HOOKS = ("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")


def loads_as_usual(model: torch.nn.Module) -> bool:
    """Whether each value in a state dict takes its parameter's or buffer's place, and none is missing."""
    return type(model).load_state_dict is torch.nn.Module.load_state_dict and all(
        type(part)._load_from_state_dict in _USUAL
        and not isinstance(part, torch.jit.ScriptModule)
        and not any(getattr(part, hooks, None) for hooks in _HOOKS)
        for part in model.modules()
    )


def assign(model: torch.nn.Module, state: MutableMapping[str, Any]) -> None:
    """Lets parameters take over the tensors of `state` that fit; `load_state_dict` is to do the rest.

    Args:
        model: one that `loads_as_usual`.
        state: name -> tensor; those that were taken over are replaced by their parameters, for copying a
            parameter onto itself does nothing.
    """
    names: dict[torch.nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    fitting = [
        (parameter, state[own[-1]])  # as where each name is copied in turn
        for parameter, own in names.items()
        if all(_fits(parameter, state.get(name)) for name in own) and _alone(parameter)
    ]
    for parameter, tensor in _apart(fitting):
        parameter.data = tensor
        state.update(dict.fromkeys(names[parameter], parameter))


def _fits(parameter: torch.nn.Parameter, value: Any) -> bool:
    return (
        type(parameter) is torch.nn.Parameter
        and type(value) is torch.Tensor
        and parameter.layout == value.layout == torch.strided
        and parameter.device == value.device
        and parameter.dtype == value.dtype
        and parameter.shape == value.shape
        and parameter.stride() == value.stride()
        and parameter.is_conj() == value.is_conj()
        and parameter.is_neg() == value.is_neg()
        and not parameter.is_inference()
        and value.numel() > 0
    )


def _alone(parameter: torch.Tensor) -> bool:
    """Whether no other tensor, array or process has the parameter's memory: it would keep the old values."""
    return parameter.untyped_storage().resizable() and 0 < _users(parameter) == _users(torch.empty(1))


def _users(tensor: torch.Tensor) -> int:
    """How many have a tensor's memory, itself and who counts included; 0: torch does not tell."""
    count = getattr(torch._C, "_storage_Use_Count", None)  # there is no public one
    storage = tensor.untyped_storage()
    return int(count(storage._cdata)) if count else 0


def _apart(
    fitting: list[tuple[torch.nn.Parameter, torch.Tensor]],
) -> Iterator[tuple[torch.nn.Parameter, torch.Tensor]]:
    """Those whose tensors share no memory: a change of one parameter must not be another's."""
    fitting.sort(key=lambda pair: pair[1].data_ptr())
    begins = [tensor.data_ptr() for _, tensor in fitting]
    ends = [begin + _span(tensor) for begin, (_, tensor) in zip(begins, fitting, strict=True)]
    reached = 0
    for index, pair in enumerate(fitting):
        follows = begins[index + 1] if index + 1 < len(fitting) else ends[index]
        if reached <= begins[index] and ends[index] <= follows:
            yield pair
        reached = max(reached, ends[index])


def _span(tensor: torch.Tensor) -> int:
    """Bytes from a tensor's first element to behind its last one."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()
