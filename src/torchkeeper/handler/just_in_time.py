"""A model compiled by torch.compile while it warms up, for what does not export; no request compiles.

Weights become constants (inductor's freezing, which is the process's and not a call's: `options` of
torch.compile do not freeze in torch 2.13). After the warm-up calls that would need to be compiled anew run
uncompiled, and are counted. What the compiler has made lies in a folder that goes again; a cache may keep
its shared objects, which is what takes long.
"""

from __future__ import annotations

import logging
import shutil
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from torchkeeper.handler.compile_cache import CompileCache
from torchkeeper.handler.compiling import NotCompiled, check_same, compile_no_headers, workshop
from torchkeeper.handler.safe_text import first_sentence
from torchkeeper.machine.scratch import folder_for_a_while

logger = logging.getLogger(__name__)

#: What a cache keeps, and the files of the compiler's that are in it: all else is made in no time.
_KEPT, _OBJECTS = "objects.zip", "*.so"


class JustInTime:
    """The model, compiled by its calls until it is warm; then compiled for calls like those."""

    def __init__(self, uncompiled: torch.nn.Module, mode: str, dynamic: bool | None) -> None:
        """
        Args:
            uncompiled: the model, whose weights stay as they are.
            mode, dynamic: as torch.compile takes them.
        """
        self.uncompiled = uncompiled
        #: Calls that ran compiled since it is warm, and others.
        self.served = self.others = 0
        #: Why it cannot be compiled, once that has shown.
        self.why_not: str | None = None
        self._warm = False
        self._mode, self._dynamic = mode, dynamic
        #: Made when it is called first, for the same reason as in `_prepare`.
        self._compiled: Callable[..., Any] = uncompiled

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output.

        Raises:
            NotCompiled: it is not warm yet, and cannot be compiled.
        """
        if not self._warm:
            return self._first(args, kwargs)
        hits, misses = _frames.hits, _frames.misses
        found = self._compiled(*args, **kwargs)
        if _frames.misses == misses and _frames.hits > hits:
            self.served += 1
            return found
        if not self.others:
            logger.warning(
                "A call unlike those that the model was compiled by (another shape or option) runs "
                "uncompiled, as all such calls do"
            )
        self.others += 1
        return found

    def _first(self, args: Any, kwargs: Any) -> Any:
        others_args, others_kwargs = pytree.tree_map(_cloned, (args, kwargs))
        expected = self.uncompiled(*others_args, **others_kwargs)
        try:
            if self._compiled is self.uncompiled:
                self._compiled = torch.compile(self.uncompiled, mode=self._mode, dynamic=self._dynamic)
            found = self._compiled(*args, **kwargs)
            check_same(self.uncompiled, expected, found)
        except Exception as error:
            self.why_not = first_sentence(error)
            raise NotCompiled(self.why_not) from error
        return found

    def be_warm(self) -> None:
        """From now on nothing is compiled."""
        self._warm = True

    def forget(self) -> None:
        """It was not compiled yet."""
        self.why_not = None


def warmed(
    models: Sequence[JustInTime], warm: Callable[[], None], cache: CompileCache | None, key: str | None
) -> None:
    """Has models warm up: at first they are compiled, then they answer as they will serve.

    Args:
        warm: has them answer.
        cache: where the compiler's shared objects are kept; None: nowhere.
        key: what they are kept under; None: they are not.

    Raises:
        NotCompiled: that is not possible.
        Exception: whatever `warm` raises.
    """
    with folder_for_a_while("compile-") as folder:
        work, package = folder / "workshop", folder / _KEPT

        def build() -> tuple[bool, Path]:
            _compiled(models, warm)
            if cache is not None:
                _pack(work, package)
            return True, package

        with workshop(work):
            _prepare()
            if cache is None:
                build()
            else:
                cache.obtained(key, lambda kept: _from(kept, work, models, warm), build, _KEPT)
    for model in models:
        model.be_warm()
    torch.compiler.set_stance("eager_on_recompile")
    warm()


def _compiled(models: Sequence[JustInTime], warm: Callable[[], None]) -> None:
    """Has them compile; a handler may have made an answer of its own of what went wrong meanwhile."""
    try:
        warm()
    finally:
        for model in models:
            if model.why_not is not None:
                raise NotCompiled(model.why_not)


def _from(kept: Path, work: Path, models: Sequence[JustInTime], warm: Callable[[], None]) -> bool | None:
    """Whether models have been compiled of what was kept alone; None where it is of no use, or lacks some."""
    try:
        with zipfile.ZipFile(kept) as file:
            names = set(file.namelist())
            file.extractall(work)
        _compiled(models, warm)
    except (NotCompiled, zipfile.BadZipFile) as error:
        logger.warning("Compiled code that was kept is of no use, and is made anew: %s", error)
        torch.compiler.reset()
        shutil.rmtree(work, ignore_errors=True)
        for model in models:
            model.forget()
        return None
    return True if names >= {str(path.relative_to(work)) for path in work.rglob(_OBJECTS)} else None


def _pack(work: Path, package: Path) -> None:
    with zipfile.ZipFile(package, "w") as file:
        for path in sorted(work.rglob(_OBJECTS)):
            file.write(path, path.relative_to(work))


def _cloned(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


# --- what holds for the whole process --------------------------------------------------------------------


class _Frames(threading.local):
    """Functions whose compiled code was found, and was not, by the calls of a thread."""

    def __init__(self) -> None:
        self.hits = self.misses = 0


_frames = _Frames()


def _looked_up(found: bool) -> bool:
    if found:
        _frames.hits += 1
    else:
        _frames.misses += 1
    return found


def _prepare() -> None:
    """Switches on what it takes; to import torch's compiler makes the folder that it writes to."""
    hook = getattr(getattr(torch._C._dynamo, "eval_frame", None), "set_guard_complete_hook", None)
    config = torch._inductor.config
    if hook is None or not hasattr(torch.compiler, "set_stance"):
        raise NotCompiled(f"torch {torch.__version__} is too old for it")
    hook(_looked_up)
    config.freezing = True
    config.compile_threads = 1  # others would stay: processes, and their memory
    compile_no_headers()
