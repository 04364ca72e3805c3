"""torchvision without torch's compiler: most of its import, for a question that hardly anybody asks.

`torchvision.ops.roi_align` imports `is_compile_supported` of `torch._dynamo.utils`, and with it the whole
compiler and sympy. While that one module is imported, the function is one that imports
the compiler when it is called; whatever else asks for the compiler gets it, as ever.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_IMPORTS, _IMPORTED = "torchvision.ops.roi_align", "torch._dynamo.utils"


def install() -> None:
    """Has torchvision imported so in this process and its forks."""
    if _IMPORTS not in sys.modules and not any(isinstance(one, _Finder) for one in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _is_compile_supported(*args: Any, **kwargs: Any) -> Any:
    return importlib.import_module(_IMPORTED).is_compile_supported(*args, **kwargs)


class _Finder(MetaPathFinder):
    """Finds the one module, once, and only as long as the compiler is not there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec; None: others find it."""
        if fullname != _IMPORTS:
            return None
        sys.meta_path.remove(self)
        found = PathFinder.find_spec(fullname, path, target)
        if found is not None and found.loader is not None and _IMPORTED not in sys.modules:
            found.loader = _Loader(found.loader)
        return found


class _Loader(Loader):
    """Executes the module beside a stand-in for the other one."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The module that the file's own loader makes, if it makes one."""
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Executes it; the file's own loader is the one that it names."""
        module.__loader__ = self._own
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        stand_in = _StandIn(_IMPORTED)
        sys.modules[_IMPORTED] = stand_in
        watch = _Watch(stand_in)
        sys.meta_path.insert(0, watch)
        try:
            self._own.exec_module(module)
        finally:
            sys.meta_path.remove(watch)
            stand_in.leave()


class _StandIn(ModuleType):
    """Has the one function; asked for anything else it leaves, and the real module answers."""

    is_compile_supported = staticmethod(_is_compile_supported)

    def leave(self) -> None:
        """Makes room for the real one."""
        if sys.modules.get(_IMPORTED) is self:
            del sys.modules[_IMPORTED]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.leave()
        return getattr(importlib.import_module(_IMPORTED), name)


class _Watch(MetaPathFinder):
    """Finds nothing; has the stand-in leave before the package of the real one is imported."""

    def __init__(self, stand_in: _StandIn) -> None:
        self._stand_in = stand_in

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None: others find it."""
        if fullname == _IMPORTED.rpartition(".")[0]:
            self._stand_in.leave()
        return None
