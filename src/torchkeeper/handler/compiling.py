"""What all ways of compiling a model have in common: where the compiler works, and which answers agree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from torchkeeper.handler.safe_text import first_sentence

#: Where the compiler keeps what it writes; without it that is a folder which all users share.
_WORKSHOP = "TORCHINDUCTOR_CACHE_DIR"
#: How far answers may be from those of the uncompiled model, by the bits of their dtype.
_TOLERANCES = {16: (5e-2, 5e-2), 32: (1e-3, 1e-4), 64: (1e-5, 1e-6)}
#: Types of answers beside tensors that are compared.
_PLAIN = (bool, int, str)


class NotCompiled(RuntimeError):
    """The model cannot be compiled; the message says why."""


@contextmanager
def workshop(folder: Path) -> Iterator[None]:
    """Where torch's compiler writes meanwhile, here and in processes begun here."""
    before = os.environ.get(_WORKSHOP)
    os.environ[_WORKSHOP] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_WORKSHOP]
        else:
            os.environ[_WORKSHOP] = before


def with_temp(folder: Path) -> dict[str, str]:
    """The environment of a process with another temp folder, where compilers leave things, too."""
    return {**os.environ, "TMPDIR": str(folder)}


def compile_no_headers() -> None:
    """Has torch's compiler compile no headers beforehand: 150 MB in a folder of a known name that stays."""
    config = torch._inductor.config
    for part, name in ((config, "cpp_cache_precompile_headers"), (config.aot_inductor, "precompile_headers")):
        if hasattr(part, name):  # older ones do not do it
            setattr(part, name, False)


def check_same(model: Any, expected: Any, found: Any) -> None:
    """Refuses what a compiled model answers, unless it is what the uncompiled one does.

    Raises:
        NotCompiled: it is something else.
    """
    most = 16 if _is_quantized(model) else 64
    try:
        for one, other in zip(pytree.tree_leaves(expected), pytree.tree_leaves(found), strict=True):
            if isinstance(one, torch.Tensor):
                _check_close(one, other, most)
            elif isinstance(one, _PLAIN) and one != other:
                raise ValueError(f"another {type(one).__name__}")
    except Exception as error:
        why = first_sentence(error)
        raise NotCompiled(f"compiled it computes something else for the samples: {why}") from error


def _is_quantized(model: Any) -> bool:
    """Whether weights are of a class of their own: they round, and in another order they round otherwise."""
    return any(type(weight) not in (torch.Tensor, torch.nn.Parameter) for weight in model.parameters())


def _check_close(one: torch.Tensor, other: torch.Tensor, most: int = 64) -> None:
    """Refuses answers that differ by more than numbers of their bits do, or of `most` bits."""
    # torch.testing, which does the same, imports most of torch.distributed for it: a second of each start.
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        raise ValueError(f"{other.dtype}, {tuple(other.shape)} for {one.dtype}, {tuple(one.shape)}")
    if not (one.is_floating_point() or one.is_complex()):
        if not torch.equal(one, other):
            raise ValueError(f"other values of {one.dtype}")
        return
    relative, absolute = _TOLERANCES.get(min(one.dtype.itemsize * 8, most), (0.0, 0.0))
    if not torch.allclose(other, one, rtol=relative, atol=absolute, equal_nan=True):
        raise ValueError(f"a difference of {(other - one).abs().max().item():.3g}")
