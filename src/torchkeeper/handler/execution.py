"""How a model is run: the table of what `execution` in model-config.yaml may ask for, variant by variant.

Called by the loader alone, after the handler's `initialize` has returned: the handler has loaded the model
as it always does, and knows nothing of this. What the model or the machine cannot do is refused, with the
reason.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from torchkeeper.handler.compile_cache import CompileCache
from torchkeeper.handler.compiling import NotCompiled
from torchkeeper.handler.context import Context
from torchkeeper.handler.door import ModelDoor, NotRunnable
from torchkeeper.handler.just_in_time import JustInTime, warmed
from torchkeeper.handler.quantize import NotQuantized, quantizer
from torchkeeper.handler.safe_text import first_sentence
from torchkeeper.machine.hardware import processor_features
from torchkeeper.wire.execution import Compile, Execution

logger = logging.getLogger(__name__)

#: What a processor must have of these for a dtype to be worth it: instructions that compute with it.
_INSTRUCTIONS = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"),
    "float16": ("avx512_fp16", "amx_fp16", "fphp"),
}
#: What needs no model to be applied to.
_WITHOUT_MODEL = {"threads"}
#: Dimensions of a batch of pictures, whose memory may be channels_last.
_PICTURES = 4


def model_is(context: Context, model: Any) -> None:
    """Says which model `execution` is to be applied to, where a handler keeps it elsewhere than `self.model`.

    For a handler's `initialize`; called once for each model if there are several.

    Args:
        context: what `initialize` was given.
        model: a torch.nn.Module; it stays where it is, and those who hold it need not know.
    """
    context.models.append(model)


@dataclass(frozen=True)
class Applied:
    """What was applied, by the keys of `execution`, and the doors of the models that it was applied to."""

    said: dict[str, Any]
    doors: Sequence[ModelDoor]
    #: The key that needs a sample, which is to be answered before `warmed_by`; "": none does.
    waits: str = ""
    #: Where compiled code is kept; None: nowhere.
    cache: CompileCache | None = None
    #: The largest batch that it warms up with.
    batch_size: int = 1
    #: How it is compiled by its calls; None: it is not.
    running: Compile | None = None

    def warmed_by(self, warm: Callable[[], None]) -> None:
        """Warms up; compiles before that, from the sample that was answered, or meanwhile.

        Raises:
            NotRunnable: the model or the machine cannot do it.
            Exception: whatever `warm` raises.
        """
        try:
            if self.running is not None:
                self._warm_compiling(self.running, warm)
                return
            for door in self.doors if self.waits else ():
                door.compile_ahead(self.cache)
        except (NotRunnable, NotCompiled) as error:
            raise NotRunnable(f"execution.{self.waits} is not possible: {error}") from error
        warm()

    def _warm_compiling(self, wanted: Compile, warm: Callable[[], None]) -> None:
        models: list[JustInTime] = []
        keys: list[str | None] = []
        for door in self.doors:
            model, call = door.compile_running(wanted.mode, wanted.dynamic)
            about = wanted.mode, wanted.dynamic, self.batch_size, call
            keys.append(self.cache.key(model.uncompiled, about) if self.cache else None)
            models.append(model)
        known = [key for key in keys if key is not None]
        key = hashlib.sha256("".join(known).encode()).hexdigest() if len(known) == len(keys) else None
        warmed(models, warm, self.cache, key)

    @property
    def uncompiled(self) -> int:
        """Calls of compiled models that ran uncompiled so far."""
        return sum(door.uncompiled for door in self.doors)

    def check_used(self) -> None:
        """Makes sure that samples have come through; called once they were answered.

        Raises:
            NotRunnable: none has: the variant would serve nobody.
        """
        for door in self.doors:
            if door.eager and not door.served:
                raise NotRunnable(
                    "execution: the handler runs its model with gradients, which only the eager model has: "
                    "call it under torch.inference_mode()"
                )
            if not door.used:
                raise NotRunnable(
                    f"execution: no sample came through the handler's {type(door.model).__name__}: it "
                    "computes with something else; say with what: "
                    "torchkeeper.handler.execution.model_is(context, model)"
                )


def apply(wanted: Execution, handler: Any, context: Context) -> Applied:
    """Applies what is wanted to a handler that has loaded its model.

    Args:
        wanted: what model-config.yaml says.
        handler: the handler object; None for a function.
        context: the handler's.

    Raises:
        NotRunnable: the model or the machine cannot do it.
    """
    doors: list[ModelDoor] = []
    said: dict[str, Any] = {}
    for key, attribute, run in VARIANTS:
        value = getattr(wanted, attribute)
        if not value:
            continue
        if attribute not in _WITHOUT_MODEL and not doors:
            doors = _doors(key, handler, context)
        try:
            said[key] = run(value, doors)
        except NotRunnable as error:
            raise NotRunnable(f"execution.{key}: {value} is not possible: {error}") from error
    for door in doors:
        door.open()
    waits = "aot" if wanted.aot else "compile" if wanted.compile else ""
    batch_size = int(context.system_properties["batch_size"] or 1)
    return Applied(said, doors, waits, _cache(context), batch_size, wanted.compile)


def wish(wanted: Execution, handler: Any, context: Context) -> dict[str, Any]:
    """Applies what a handler's models can do of what the operator wishes for all models, and says what not.

    A model stays as it is, or becomes that again, where it cannot. GPUs' models are left alone.

    Returns:
        what was applied to one of them at least, by the keys of `execution`.
    """
    own = getattr(handler, "model", None)
    said: dict[str, Any] = {}
    for model in context.models or ([] if own is None else [own]):
        left = []
        try:
            if any(weight.device.type != "cpu" for weight in getattr(model, "parameters", tuple)()):
                continue
            door = ModelDoor(model)
            for key, attribute, run in VARIANTS:
                if value := getattr(wanted, attribute):
                    try:
                        said[key] = run(value, [door])
                    except NotRunnable as error:
                        left.append(f"not {key}: {error}")
            door.open(lenient=True)
        except Exception as error:  # noqa: BLE001 - whatever the model's classes raise, its load does not fail
            left.append(first_sentence(error, 200))
        if left:
            logger.info("The server wishes for faster models; this one stays as it is: %s", "; ".join(left))
    return said


def _cache(context: Context) -> CompileCache | None:
    if not context.compile_cache:
        return None
    model = context.manifest.get("model") or {}
    named = (model.get("configFile"), *str(model.get("serializedFile") or "").split(","))
    left_out = frozenset(name for name in named if name)
    folder, model_dir = Path(context.compile_cache), Path(context.system_properties["model_dir"])
    return CompileCache(folder, model_dir, left_out, context.compile_cache_max_bytes)


def _doors(key: str, handler: Any, context: Context) -> list[ModelDoor]:
    own = getattr(handler, "model", None)
    models = context.models or ([] if own is None else [own])
    if not models:
        raise NotRunnable(
            f"execution.{key}: the handler keeps no model at self.model; "
            "say which one it is in initialize: torchkeeper.handler.execution.model_is(context, model)"
        )
    try:
        return [ModelDoor(model) for model in models]
    except NotRunnable as error:
        raise NotRunnable(
            f"execution.{key} is not possible: {error}. If another one computes, say which in initialize: "
            "torchkeeper.handler.execution.model_is(context, model)"
        ) from error


# --- the variants ----------------------------------------------------------------------------------------


def _threads(count: int, _: Sequence[ModelDoor]) -> int:
    torch.set_num_threads(count)
    return torch.get_num_threads()


def _memory_format(name: str, doors: Sequence[ModelDoor]) -> str:
    def channels_last(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dim() != _PICTURES or tensor.layout != torch.strided:
            return tensor
        return tensor.contiguous(memory_format=torch.channels_last)

    if not any(weight.dim() == _PICTURES for door in doors for weight in door.model.parameters()):
        raise NotRunnable("the model has no weights of convolutions over pictures, which alone gain by it")
    for door in doors:
        door.convert(channels_last, channels_last)
    return name


def _dtype(name: str, doors: Sequence[ModelDoor]) -> str:
    dtype: torch.dtype = getattr(torch, name)
    for door in doors:
        _check_dtype(name, door.model, processor_features())

        def cast(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(dtype) if tensor.is_floating_point() else tensor

        door.convert(cast, cast, dtype)
    return name


def _quantize(name: str, doors: Sequence[ModelDoor]) -> str:
    try:
        step = quantizer(name)
        for door in doors:
            if any(weight.device.type != "cpu" for weight in door.model.parameters()):
                raise NotRunnable("the model is on a GPU, and only the CPU's are quantized")
            door.change(step)
    except NotQuantized as error:
        raise NotRunnable(str(error)) from error
    return name


def _freeze(wanted: bool, doors: Sequence[ModelDoor]) -> bool:
    for door in doors:
        door.freeze()
    return wanted


def _aot(wanted: bool, doors: Sequence[ModelDoor]) -> bool:
    for door in doors:
        door.record()
    return wanted


def _compile(wanted: Compile, doors: Sequence[ModelDoor]) -> dict[str, Any]:
    for door in doors:
        door.record()
    return {"mode": wanted.mode, "dynamic": wanted.dynamic}


def _check_dtype(name: str, model: torch.nn.Module, features: frozenset[str] | None) -> None:
    """Refuses what gains nothing: no weights of float32, or no instructions of the processor for it."""
    weights = [weight for weight in model.parameters() if weight.dtype == torch.float32]
    if not weights:
        raise NotRunnable("the model has no weights of float32")
    on_cpu = weights[0].device.type == "cpu"
    if on_cpu and features is not None and not features & set(_INSTRUCTIONS[name]):
        known = ", ".join(_INSTRUCTIONS[name])
        raise NotRunnable(f"this processor has no instructions for it ({known}), float32 is faster here")


#: Key, the schema's attribute, and what applies it; in the order in which they are applied.
VARIANTS: tuple[tuple[str, str, Callable[[Any, Sequence[ModelDoor]], Any]], ...] = (
    ("threads", "threads", _threads),
    ("memoryFormat", "memory_format", _memory_format),
    ("dtype", "dtype", _dtype),
    ("quantize", "quantize", _quantize),
    ("freeze", "freeze", _freeze),
    ("aot", "aot", _aot),
    ("compile", "compile", _compile),
)
