"""A model's door: calls that want no gradients go to the variant that serves, all others to the eager model.

It stands in the place of the module's `forward`, so that whoever holds the module (the handler, a pipeline of
it, Captum) comes through it and nobody has to be told. The module itself, its weights and its layers stay as
the handler made them. Knows tensors; of configuration it knows nothing.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils import _pytree as pytree

from torchkeeper.handler import explain
from torchkeeper.handler.aot import AheadOfTime
from torchkeeper.handler.compile_cache import CompileCache
from torchkeeper.handler.compiling import NotCompiled
from torchkeeper.handler.just_in_time import JustInTime
from torchkeeper.handler.likeness import Likeness
from torchkeeper.handler.safe_text import first_sentence

logger = logging.getLogger(__name__)

Cast = Callable[[torch.Tensor], torch.Tensor]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
#: Values of a call that are shown as they are.
_PLAIN = (bool, int, float, str, type(None))
_CHANGED = (
    "the model's weights were changed after it was loaded, and its `execution` works on a copy of them: "
    "change them in initialize, or leave execution out"
)
_WITH_GRADIENTS = (
    "The handler runs its model with gradients, which only the eager float32 model has: such calls gain "
    "nothing by `execution`. Call it under torch.inference_mode(), as BaseHandler does"
)


class NotRunnable(RuntimeError):
    """The model, or the machine, cannot be run as asked; the message says why."""


class ModelDoor:
    """Stands in a module's `forward`. Without a variant it lets everything through to the module.

    Raises:
        NotRunnable: nothing can stand there; says why.
    """

    def __init__(self, model: Any) -> None:
        if not isinstance(model, torch.nn.Module):
            raise NotRunnable(f"the model is a {type(model).__name__}, and no torch.nn.Module")
        if hasattr(model, "_orig_mod"):
            raise NotRunnable("the model was compiled by its handler already")
        self.model = model
        #: What serves; None: the model itself.
        self.variant: Callable[..., Any] | None = None
        #: Calls that the variant has answered, and those of the eager model.
        self.served = self.eager = 0
        self._forward = model.forward
        self._inputs: list[Cast] = []
        self._dtype: torch.dtype | None = None
        self._watched = [
            tensor for tensor in (*model.parameters(), *model.buffers()) if not tensor.is_inference()
        ]
        self._versions = 0
        #: Whether the eager model takes over for good where the variant cannot answer or is another one.
        self._lenient = False
        #: The model as it was when the door was opened; of TorchScript nobody can look.
        self._likeness: Likeness | None = None
        self._recording = False
        self._recorded: tuple[Any, Any] | None = None

    @property
    def scripted(self) -> bool:
        """Whether the model is TorchScript."""
        return isinstance(self.model, torch.jit.ScriptModule)

    def convert(self, weights: Cast, inputs: Cast, dtype: torch.dtype | None = None) -> None:
        """Makes the variant a copy with other weights; those that stay as they are are shared.

        Args:
            weights: what becomes of each parameter and buffer.
            inputs: what becomes of each tensor that is given to the model.
            dtype: of outputs that are to become float32 again.

        Raises:
            NotRunnable: the model cannot be copied.
        """
        self.variant = _copied(self.variant or self.model, weights)
        self._inputs.append(inputs)
        self._dtype = dtype or self._dtype

    def change(self, step: Callable[[torch.nn.Module], None]) -> None:
        """Makes the variant a copy whose layers a step changes; weights that it leaves are shared.

        Raises:
            NotRunnable: the model cannot be copied.
        """
        self.convert(_as_it_is, _as_it_is)
        assert isinstance(self.variant, torch.nn.Module)
        step(self.variant)

    def freeze(self) -> None:
        """Makes the variant a frozen copy of TorchScript: weights are constants, and layers are joined.

        Raises:
            NotRunnable: the model is no TorchScript, or cannot be frozen.
        """
        if not self.scripted:
            raise NotRunnable("the model is no TorchScript")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                frozen = torch.jit.freeze(self.model)
                self.variant = torch.jit.optimize_for_inference(frozen)
        except RuntimeError as error:
            raise NotRunnable(f"torch cannot freeze it ({first_sentence(error, 200)})") from error

    def record(self) -> None:
        """Keeps the last call of the variant, to compile from it; makes a variant if there is none."""
        if self.variant is None:
            self.convert(_as_it_is, _as_it_is)
        self._recording = True

    def compile_ahead(self, cache: CompileCache | None = None) -> None:
        """Compiles the variant from the call that was recorded, or takes its compiled code from the cache.

        Raises:
            NotRunnable: that is not possible, or there was no such call.
        """
        # Tensors that were made in inference mode have no place in a program.
        args, kwargs = pytree.tree_map(_cloned, self._taken())
        assert self.variant is not None
        try:
            self.variant = AheadOfTime(self.variant, args, kwargs, cache)
        except NotCompiled as error:
            raise NotRunnable(str(error)) from error

    def compile_running(self, mode: str, dynamic: bool | None) -> tuple[JustInTime, object]:
        """Has its next calls compile the variant; gives that, and what is to be known of the one recorded.

        Args:
            mode, dynamic: as torch.compile takes them.

        Raises:
            NotRunnable: that is not possible, or there was no such call.
        """
        call = pytree.tree_map(_shown, self._taken())
        assert isinstance(self.variant, torch.nn.Module)
        self.variant = JustInTime(self.variant, mode, dynamic)
        return self.variant, call

    def _taken(self) -> tuple[Any, Any]:
        """The call that was recorded; no other one is from now on."""
        if self._recorded is None:
            raise NotRunnable("no sample came through the handler's model without gradients")
        weights = {tensor.device.type for tensor in self.model.parameters()} - {"cpu"}
        if weights:
            raise NotRunnable(f"the model is on {weights.pop()}, and only the CPU's are compiled so")
        recorded, self._recording, self._recorded = self._recorded, False, None
        return recorded

    @property
    def used(self) -> bool:
        """Whether the variant has answered a call, and if it is compiled, as compiled."""
        compiled = self.variant.served > 0 if isinstance(self.variant, AheadOfTime | JustInTime) else True
        return self.served > 0 and compiled

    @property
    def uncompiled(self) -> int:
        """Calls that a compiled variant has answered, but not as compiled."""
        return self.variant.others if isinstance(self.variant, AheadOfTime | JustInTime) else 0

    def open(self, *, lenient: bool = False) -> None:
        """Puts it into the model's `forward`; from now on weights must not change.

        Args:
            lenient: whether they may, and its layers and options too: the eager model serves from then on, as
                it does once the variant cannot answer what the eager model can.
        """
        if self.variant is None:
            return
        self._versions = self._version()
        for part in () if self.scripted else self.model.modules():
            part.register_load_state_dict_pre_hook(self._loads)  # type: ignore[no-untyped-call]  # untyped in torch
        self.model.forward = self
        self._lenient = lenient
        self._likeness = None if self.scripted else Likeness(self.model, whole=lenient)

    def _loads(self, *_: Any) -> None:
        if not self._lenient:
            raise RuntimeError(_CHANGED)
        self._close("its weights are changed")

    def _close(self, why: str) -> None:
        if self.model.forward is self:
            self.model.forward = self._forward
            logger.warning("The model runs as its handler made it from now on: %s", why)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output.

        Raises:
            RuntimeError: weights were changed.
            TypeError: tensors of the variant's own dtype are where nobody can find and cast them.
        """
        if explain.looks():
            return self._forward(*args, **kwargs)
        if torch.is_grad_enabled():
            return self._with_gradients(args, kwargs)
        if self._likeness is not None and not self._likeness.holds():
            if not self._lenient:
                raise RuntimeError(_CHANGED)
            self._close("its layers or options are changed")
            return self._forward(*args, **kwargs)
        if not self._lenient:
            return self._answer(args, kwargs)
        try:
            return self._answer(args, kwargs)
        except Exception as error:  # noqa: BLE001 - the model's own code raises anything
            answer = self._forward(*args, **kwargs)  # which fails too where it is the request's fault
            self._close(first_sentence(error, 200))
            return answer

    def _answer(self, args: Any, kwargs: Any) -> Any:
        if self._version() != self._versions:
            raise RuntimeError(_CHANGED)
        self.served += 1
        assert self.variant is not None
        args, kwargs = pytree.tree_map(self._cast_input, (args, kwargs))
        if self._recording:
            self._recorded = args, kwargs
        return pytree.tree_map(self._cast_output, self.variant(*args, **kwargs))

    def _with_gradients(self, args: Any, kwargs: Any) -> Any:
        if not self.eager:
            logger.warning("%s", _WITH_GRADIENTS)
        self.eager += 1
        return self._forward(*args, **kwargs)

    def _version(self) -> int:
        """Grows with each change of a weight in its place."""
        return sum(tensor._version for tensor in self._watched)

    def _cast_input(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            for cast in self._inputs:
                value = cast(value)
        return value

    def _cast_output(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            value = value.float() if value.dtype == self._dtype else value
            return value.contiguous() if value.layout == torch.strided else value
        if self._dtype is not None and any(_is_of(each, self._dtype) for each in _held(value)):
            raise TypeError(
                f"the model gives a {type(value).__name__} with tensors of {self._dtype}, which cannot be "
                "cast back to float32 there: give a tuple, list or dict, or leave execution.dtype out"
            )
        return value


def _copied(model: Any, weights: Cast) -> Any:
    if isinstance(model, torch.jit.ScriptModule):
        raise NotRunnable("the model is TorchScript, whose code may name dtypes and layouts of its own")
    for name, part in model.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise NotRunnable(f"its layer {name!r} is TorchScript, of which a copy keeps dtypes and layouts")
        if any(getattr(part, hooks, None) for hooks in _HOOKS):
            raise NotRunnable(f"its layer {name or 'model'!r} has a hook, which a copy would not call")
    memo: dict[int, Any] = {}
    for tensor in model.parameters():
        made = weights(tensor.detach())
        shared = made.data_ptr() == tensor.data_ptr() and made.dtype == tensor.dtype
        # torch multiplies batches by a weight in one step only where the weight can have gradients: else it
        # copies it for each, which takes a transformer ten times as long. Nobody asks the variant for any.
        gradients = made.is_floating_point() and not made.is_inference()
        memo[id(tensor)] = tensor if shared else torch.nn.Parameter(made, requires_grad=gradients)
    for tensor in model.buffers():
        memo[id(tensor)] = weights(tensor.detach().clone())
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # the model's own classes raise anything
        raise NotRunnable(f"the model cannot be copied ({type(error).__name__}: {error})") from error


def _as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _cloned(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _shown(value: Any) -> object:
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.stride()
    return value if isinstance(value, _PLAIN) else type(value).__qualname__


def _is_of(value: Any, dtype: torch.dtype) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == dtype


def _held(value: Any) -> Iterator[Any]:
    yield from getattr(value, "__dict__", {}).values()
    yield from (getattr(value, name, None) for name in getattr(type(value), "__slots__", ()))
