"""Postpones the random filling of new parameters: weights from a file replace almost all of it unseen.

While a model is constructed, a parameter that is filled at random keeps its memory untouched, and what was to
be done to it is noted. It is done at once, in its order, when anything but the weights' shape is asked for:
so whoever looks sees what he would have seen. What was seeded by hand is not postponed, for draws that follow
would change. Code that torch does not announce to its modes (compiled TorchScript, extensions, other threads)
sees the untouched memory. Knows nothing of files and state dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

from torchkeeper.handler.seed import is_chosen

#: What fills at random.
_FILLS: set[Any] = {
    *(init.uniform_, init.normal_, init.kaiming_uniform_),
    *(torch.Tensor.uniform_, torch.Tensor.normal_),
}
#: What changes a tensor in its place without showing it; `init` does so to those too that want gradients.
_INITS: set[Any] = {init.uniform_, init.normal_, init.kaiming_uniform_, init.constant_}
_CHANGES: set[Any] = {
    *(torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.zero_, torch.Tensor.fill_),
    *(torch.Tensor.mul_, torch.Tensor.div_, torch.Tensor.add_, torch.Tensor.sub_, torch.Tensor.clamp_),
    torch.Tensor.erfinv_,
}
#: What gives the same memory in another form.
_VIEWS: set[Any] = {torch.Tensor.data.__get__, torch.Tensor.detach}  # type: ignore[attr-defined]
#: What looks at anything but the values.
_LOOKS: set[Any] = {
    *(torch.Tensor.size, torch.Tensor.dim, torch.Tensor.numel, torch.Tensor.stride, torch.Tensor.__len__),
    *(torch.Tensor.is_contiguous, torch.Tensor.is_floating_point, torch.Tensor.requires_grad_),
    *(torch.Tensor.__hash__, torch.Tensor.element_size, torch.Tensor.nelement, torch.Tensor.new_empty),
    *(torch.empty_like, torch.zeros_like, torch.ones_like, torch.rand_like, torch.randn_like),
    *(torch.Tensor.new_tensor, torch.Tensor.new_zeros, torch.Tensor.new_ones, torch.Tensor.new_full),
    *(
        getattr(torch.Tensor, name).__get__
        for name in (
            *("shape", "dtype", "device", "layout", "ndim", "requires_grad", "grad", "grad_fn", "is_leaf"),
            *("is_cuda", "is_meta", "is_sparse", "is_quantized"),
        )
    ),
    torch.Tensor.requires_grad.__set__,  # type: ignore[attr-defined]
}


@dataclass(frozen=True)
class _Act:
    """What was to be done to the memory at `target`, with what lies at `source`."""

    run: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: int
    source: int | None = None


class Postponed(TorchFunctionMode):
    """In force while a model is constructed; `settle` is to be called afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self._seed = torch.initial_seed()
        self._acts: list[_Act] = []
        #: Addresses of memory to which something is still to be done.
        self._untouched: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Does what torch was asked for, or postpones it."""
        kwargs = kwargs or {}
        tensors = list(_tensors((args, kwargs)))
        if func in _FILLS and kwargs.get("generator") is None and self._may_wait(tensors[0]):
            self._untouched.add(_address(tensors[0]))
        if (func in _LOOKS and len(tensors) == 1) or self._untouched.isdisjoint(map(_address, tensors)):
            return func(*args, **kwargs)
        if len(tensors) == 1:
            (tensor,) = tensors
            if _changes_alone(func, tensor) and kwargs.get("generator") is None:
                self._acts.append(_Act(func, args, kwargs, _address(tensor)))
                return tensor
            if func in _VIEWS or (func is torch.Tensor.__getitem__ and type(args[1]) is int):
                return func(*args, **kwargs)
            if func is torch.Tensor.clone and not tensor.requires_grad:
                return self._cloned(tensor, kwargs)
        self._play(self._acts)
        return func(*args, **kwargs)

    def _may_wait(self, tensor: torch.Tensor) -> bool:
        """Whether nobody sees that a tensor is not filled yet, and no draw that follows is another one."""
        return (
            type(tensor) in (torch.Tensor, torch.nn.Parameter)
            and tensor.device.type == "cpu"
            and tensor.layout == torch.strided
            and tensor.numel() > 0
            and not tensor.is_inference()
            and _address(tensor) != 0  # else it only stands for others
            and tensor.untyped_storage().resizable()  # else NumPy or another process has it, too
            and torch.initial_seed() == self._seed
            and not is_chosen(self._seed)
        )

    def _cloned(self, tensor: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        made = torch.empty_like(tensor, **options)
        self._untouched.add(_address(made))
        self._acts.append(_Act(torch.Tensor.copy_, (made, tensor), {}, _address(made), _address(tensor)))
        return made

    def settle(self, replaced: Iterable[torch.Tensor]) -> None:
        """Does what was postponed of all memory but that of tensors whose values are to be replaced."""
        wanted = self._untouched - {_address(tensor) for tensor in replaced if _has_all_of_it(tensor)}
        acts = []
        for act in reversed(self._acts):
            if act.target in wanted:
                acts.append(act)
                if act.source is not None:
                    wanted.add(act.source)
        self._play(acts[::-1])

    def _play(self, acts: Sequence[_Act]) -> None:
        self._acts, self._untouched = [], set()
        seeded = torch.initial_seed() != self._seed
        with torch.no_grad(), torch.random.fork_rng(devices=(), enabled=seeded):
            if seeded:  # since: those draws are not to be these
                torch.default_generator.seed()
            for act in acts:
                act.run(*act.args, **act.kwargs)


def _changes_alone(func: Any, tensor: torch.Tensor) -> bool:
    """Whether it changes the tensor in its place, shows nothing of it and does not fail."""
    return func in _INITS or (func in _CHANGES and not (tensor.requires_grad and torch.is_grad_enabled()))


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))


def _address(tensor: torch.Tensor) -> int:
    """Where a tensor's memory begins; 0: it has none of its own."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # sparse tensors, and those that only stand for others
        return 0


def _has_all_of_it(tensor: torch.Tensor) -> bool:
    """Whether whoever fills a tensor has filled its memory."""
    return tensor.is_contiguous() and tensor.nbytes == tensor.untyped_storage().nbytes()
