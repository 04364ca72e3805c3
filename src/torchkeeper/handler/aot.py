"""A model compiled ahead of time while it loads: torch.export with an open batch, then AOTInductor.

The compiler runs in a process of its own (`python -m torchkeeper.handler.aot PROGRAM PACKAGE THREADS`), so
that the worker has neither its memory nor its threads afterwards; all that it writes lies in a folder that
goes again, but for the package, which a cache may keep.
Compiled code is made for calls like the one that it was compiled from: others go to the uncompiled variant.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.export
from torch.utils import _pytree as pytree

from torchkeeper.handler.compile_cache import CompileCache
from torchkeeper.handler.compiling import NotCompiled, check_same, compile_no_headers, with_temp, workshop
from torchkeeper.handler.exported import read_pt2
from torchkeeper.handler.safe_text import first_sentence
from torchkeeper.handler.served_model import ServedModel
from torchkeeper.machine.scratch import folder_for_a_while

logger = logging.getLogger(__name__)

#: Types whose values are compared.
_PLAIN = (bool, int, float, str, bytes, torch.dtype, torch.device)


class AheadOfTime:
    """The compiled model for calls like the one it was compiled from, the uncompiled one for others."""

    def __init__(
        self,
        uncompiled: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        cache: CompileCache | None = None,
    ) -> None:
        """Compiles, or takes what was compiled before.

        Args:
            uncompiled: the model.
            args, kwargs: of a call of it; tensors with as many rows as the first one have their batch there.
            cache: where compiled code is kept; None: nowhere.

        Raises:
            NotCompiled: that is not possible.
        """
        self.uncompiled = uncompiled
        #: Calls that the compiled model has answered, and others.
        self.served = self.others = 0
        args, kwargs = _two_rows(args, kwargs)
        flat, self._form = pytree.tree_flatten((args, kwargs))
        self._constants = [None if isinstance(value, torch.Tensor) else value for value in flat]
        tensors = [value for value in flat if isinstance(value, torch.Tensor)]
        self._open = [_rows(value) == _rows(tensors[0]) for value in tensors]
        self._like = [_kind(value, opened) for value, opened in zip(tensors, self._open, strict=True)]
        with folder_for_a_while("aot-") as folder:
            plain = _TensorsOnly(uncompiled, flat, self._form)

            def build() -> tuple[ServedModel, Path]:
                with workshop(folder / "workshop"):
                    package = _compiled(_exported(plain, tensors, self._open), folder)
                    return _loaded(package, plain, tensors), package

            if cache is None:
                self._compiled, _ = build()
            else:
                key = cache.key(uncompiled, self._call(tensors)) if self._is_plain() else None
                self._compiled = cache.obtained(key, lambda kept: _usable(kept, plain, tensors), build)

    def _is_plain(self) -> bool:
        """Whether the options of the samples' call are the same wherever they are written the same."""
        return all(value is None or isinstance(value, _PLAIN) for value in self._constants)

    def _call(self, tensors: Sequence[torch.Tensor]) -> object:
        """What compiled code depends on of the call."""
        shapes = [(value.dtype, tuple(value.shape), value.stride()) for value in tensors]
        return str(self._form), self._constants, self._open, shapes

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output."""
        flat, form = pytree.tree_flatten((args, kwargs))
        if form != self._form or not self._fits(flat):
            if not self.others:
                logger.warning(
                    "A call unlike the samples that the model was compiled from (another shape, form or "
                    "option) runs uncompiled, as all such calls do"
                )
            self.others += 1
            return self.uncompiled(*args, **kwargs)
        self.served += 1
        return self._compiled(*(value for value in flat if isinstance(value, torch.Tensor)))

    def _fits(self, flat: Sequence[Any]) -> bool:
        tensors = [value for value in flat if isinstance(value, torch.Tensor)]
        if len(tensors) != len(self._like):
            return False
        kinds = [_kind(value, opened) for value, opened in zip(tensors, self._open, strict=True)]
        others = (None if isinstance(value, torch.Tensor) else value for value in flat)
        return kinds == self._like and all(map(_equal, others, self._constants))


def _equal(one: Any, other: Any) -> bool:
    """Whether an option is that of the samples; objects other than plain values are only themselves."""
    return one is other or (type(one) is type(other) and isinstance(one, _PLAIN) and one == other)


def _rows(value: torch.Tensor) -> int | None:
    return value.shape[0] if value.dim() else None


def _kind(value: torch.Tensor, opened: bool) -> tuple[torch.dtype, torch.Size]:
    return value.dtype, value.shape[1:] if opened and value.dim() else value.shape


def _two_rows(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same call with a batch of two where it has one of one: a 1 would be taken for the only length.

    Raises:
        NotCompiled: the call has no tensor with rows.
    """
    tensors = [value for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    if not tensors or _rows(tensors[0]) is None:
        raise NotCompiled("it is not called with a tensor whose first dimension is the batch")

    def twice(value: Any) -> Any:
        return torch.cat((value, value)) if isinstance(value, torch.Tensor) and _rows(value) == 1 else value

    return pytree.tree_map(twice, (args, kwargs)) if _rows(tensors[0]) == 1 else (args, kwargs)


class _TensorsOnly(torch.nn.Module):
    """A model called with the tensors of a call alone; all else is as it was in that call."""

    def __init__(self, model: Any, flat: Sequence[Any], form: pytree.TreeSpec) -> None:
        super().__init__()
        self.model = model
        self._flat, self._form = flat, form

    def forward(self, *tensors: torch.Tensor) -> Any:
        left = iter(tensors)
        flat = [next(left) if isinstance(value, torch.Tensor) else value for value in self._flat]
        args, kwargs = pytree.tree_unflatten(flat, self._form)
        return self.model(*args, **kwargs)


def _exported(model: _TensorsOnly, tensors: Sequence[torch.Tensor], opened: Sequence[bool]) -> Any:
    batch = torch.export.Dim("batch", min=1)
    shapes = (tuple({0: batch} if is_open else None for is_open in opened),)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(model, tuple(tensors), dynamic_shapes=shapes)
    except Exception as error:  # torch and the model's own code raise anything
        raise NotCompiled(f"torch.export cannot export it: {first_sentence(error).rstrip('.')}") from error


def _compiled(program: Any, folder: Path) -> Path:
    source, package = folder / "program.pt2", folder / "package.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, source)
    temp = folder / "temp"
    temp.mkdir()
    run = subprocess.run(
        [
            sys.executable,
            "-P",  # the archive's folder, where this process is, may have modules of Python's own names
            *("-W", "ignore"),
            *("-m", "torchkeeper.handler.aot"),
            source,
            package,
            str(torch.get_num_threads()),
        ],
        env=with_temp(temp),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if run.returncode != 0 or not package.is_file():
        said = run.stdout.strip() or run.stderr.strip().rpartition("\n")[2] or f"exit code {run.returncode}"
        raise NotCompiled(f"AOTInductor cannot compile it: {said}")
    return package


def _usable(kept: Path, model: _TensorsOnly, tensors: Sequence[torch.Tensor]) -> ServedModel | None:
    """The model of a package that was kept; None where it does not load, or computes something else."""
    try:
        return _loaded(kept, model, tensors)
    except NotCompiled as error:
        logger.warning("Compiled code that was kept is of no use, and is made anew: %s", error)
        return None


def _loaded(package: Path, model: _TensorsOnly, tensors: Sequence[torch.Tensor]) -> ServedModel:
    try:
        compiled = read_pt2(package, torch.device("cpu"))
    except RuntimeError as error:
        raise NotCompiled(str(error)) from error
    _check_same(model, compiled, tensors)
    return compiled


def _check_same(model: _TensorsOnly, compiled: ServedModel, tensors: Sequence[torch.Tensor]) -> None:
    with torch.inference_mode():
        expected = model(*tensors)
        try:
            found = compiled(*tensors)
        except Exception as error:
            why = first_sentence(error)
            raise NotCompiled(f"compiled it computes something else for the samples: {why}") from error
        check_same(model, expected, found)


def main() -> None:
    """Entry of the process that compiles: an exported program's file to a package."""
    source, package, threads = sys.argv[1:]
    torch.set_num_threads(1)
    try:
        compile_no_headers()
        torch._inductor.config.compile_threads = 1
        torch._inductor.config.cpp.threads = int(threads)  # those of the worker; its loops are cut for them
        torch._inductor.aoti_compile_and_package(torch.export.load(source), package_path=package)
    except Exception as error:  # noqa: BLE001 - the compiler raises anything
        print(first_sentence(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
