"""What an import, or a load, leaves behind in its process, and whether forks could do without or share it.

A fork has its parent's memory, but not its threads, children and timers; and descriptors, shared memory and
temporary files would be the same ones in all forks, where each worker has its own otherwise. So would
generators of random numbers that the handler keeps.
"""

from __future__ import annotations

import gc
import importlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

#: Devices that do not mind who else has them open.
_HARMLESS = frozenset(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom"))
#: Seconds that the system takes to end a thread that has been joined.
_ENDING = 0.1
#: Through what all that there is can be reached.
_OF_CODE = (ModuleType, CodeType, FrameType)
#: Kinds of which a vocabulary has a million, and that hold nothing.
_FLAT = frozenset((str, bytes, int, float, complex, bool, type(None)))
#: Kinds that may be long; those of the user's own may do anything when they are asked.
_LONG = (dict, list, tuple, set, frozenset)
#: References that are looked at in search of generators; and for how many it counts to follow one, which is
#: then remembered.
_MOST_REFERENCES, _FOLLOWED = 3_000_000, 10
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


@dataclass(frozen=True)
class Traces:
    """A process as it is before an import."""

    descriptors: frozenset[tuple[str, str]]
    mappings: frozenset[str]
    random: Any
    numpy: Any

    @classmethod
    def now(cls) -> Traces:
        """This process (Linux); numpy is imported, if it can be, for its generator is looked at."""
        with suppress(Exception):  # a broken library raises anything, and will again where it is wanted
            importlib.import_module("numpy")
        # A name from it is taken by whoever makes a temporary file or folder, however that goes away again.
        tempfile._name_sequence = None  # type: ignore[attr-defined]  # nothing public tells
        return cls(_descriptors(), _mappings(), random.getstate(), _numpy_state())

    def obstacles(self, folder: str | None = None) -> Iterator[str]:
        """Sentences about what has come since, for which forks would not be as good as imports.

        Args:
            folder: where the handler's modules lie, if they are user's: what these hold is looked at.
        """
        yield from _absent_in_forks()
        for _, what in sorted(_descriptors() - self.descriptors):
            if what not in _HARMLESS:
                yield f"it opened {what}"
        for what in sorted(_mappings() - self.mappings):
            yield f"it made memory that processes share ({what})"
        if tempfile._name_sequence is not None:  # type: ignore[attr-defined]
            yield "it made temporary files or folders"
        if random.getstate() != self.random:
            yield "it seeded or used `random`"
        if _numpy_state() != self.numpy:
            yield "it seeded or used `numpy.random`"
        if folder is not None:
            yield from _generators_of_modules(folder)


def obstacles_of_a_load(loaded: object, folder: str | None = None) -> Iterator[str]:
    """Sentences about what has been loaded, besides its traces, that each worker should have for itself.

    Args:
        folder: where the handler's modules lie, if they are user's: their classes are looked into.
    """
    search = _Search(folder)
    names = {f"{type(one).__module__}.{type(one).__qualname__}" for one in search.generators(loaded)}
    yield from search.sentences(names)
    counters = getattr(sys.modules.get("torch._dynamo.utils"), "counters", {})
    if counters.get("stats", {}).get("unique_graphs"):
        yield "it ran a model through torch.compile, whose code is for one number of threads"


def _generators_of_modules(folder: str) -> Iterator[str]:
    """Sentences about what the modules of a folder hold, by the names there through which it is reached."""
    search, names = _Search(folder), set()
    for module in tuple(sys.modules.values()):
        if _lies_in(module, folder):
            for name, value in tuple(vars(module).items()):
                if search.is_generator(value) or list(search.generators(value)):
                    names.add(f"{module.__name__}.{name}")
    yield from search.sentences(names)


class _Search:
    """Looks for generators of random numbers in what objects hold; forks would all draw the same from each.

    It goes through closures, default arguments and the classes of a folder, but not through modules, what
    functions find in these, and other classes.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._kinds, self._own = _kinds_of_generators(), _own_generators()
        self._seen: set[int] = set()
        #: References that may be looked at yet; negative: there was more than that.
        self._left = _MOST_REFERENCES

    def is_generator(self, one: object) -> bool:
        """Whether it is one that forks would share, which have the libraries' own for themselves."""
        kind = type(one)
        draws = issubclass(kind, self._kinds) and not issubclass(kind, random.SystemRandom)
        return draws and not any(one is known for known in self._own)

    def generators(self, root: object) -> Iterator[object]:
        """Those reached from an object, and not reached before; not all of them where there is too much."""
        waiting = [root]
        while waiting and self._left >= 0:
            for one in self._held_by(waiting.pop()):
                if type(one) not in _FLAT and id(one) not in self._seen:
                    self._seen.add(id(one))
                    self._left -= _FOLLOWED
                    waiting.append(one)
                    if self.is_generator(one):
                        yield one

    def sentences(self, names: set[str]) -> Iterator[str]:
        """What is to be said of the generators with these names, and of a search that was given up."""
        for name in sorted(names):
            yield f"it made a generator of random numbers ({name})"
        if self._left < 0:
            yield "it holds too much to be looked through for generators of random numbers"

    def _held_by(self, one: object) -> Sequence[object]:
        kind = type(one)
        if kind is FunctionType:
            function: Any = one  # with all that its module has
            held: Sequence[object] = [
                *(function.__closure__, function.__defaults__, function.__kwdefaults__, vars(function))
            ]
        elif issubclass(kind, _OF_CODE) or (issubclass(kind, type) and not self._is_theirs(one)):
            return ()
        elif kind in _LONG and len(one) > self._left:  # type: ignore[arg-type]
            self._left = -1
            return ()
        else:
            held = gc.get_referents(one)
        self._left -= len(held)
        return held

    def _is_theirs(self, kind: object) -> bool:
        """Whether a class is one of the folder's modules."""
        module = sys.modules.get(str(getattr(kind, "__module__", "")))
        return self._folder is not None and module is not None and _lies_in(module, self._folder)


def _lies_in(module: ModuleType, folder: str) -> bool:
    return os.path.dirname(getattr(module, "__file__", None) or "") == folder


def _absent_in_forks() -> Iterator[str]:
    if said := threads():
        yield said
    with suppress(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        yield "it started a process"
    if any(signal.getitimer(timer)[0] for timer in _TIMERS):
        yield "it set a timer"
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        yield "it used CUDA"


def threads() -> str:
    """A sentence if there are other threads than this one, also once those that end have ended."""
    deadline = time.monotonic() + _ENDING
    while (count := len(os.listdir("/proc/self/task")) - 1) and time.monotonic() < deadline:
        time.sleep(_ENDING / 20)
    if count == 0:
        return ""
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    named = f" ({', '.join(names)})" if names else ""
    return f"it started {count} thread{'s' if count > 1 else ''}{named}"


def _descriptors() -> frozenset[tuple[str, str]]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that lists them
            found.add((fd, os.readlink(f"/proc/self/fd/{fd}")))
    return frozenset(found)


def _mappings() -> frozenset[str]:
    """The memory that is written to and shared, by its file."""
    with open("/proc/self/maps") as file:
        fields = [line.split(maxsplit=5) for line in file]
    return frozenset(field[5].strip() for field in fields if field[1].startswith("rw") and field[1][3] == "s")


def _kinds_of_generators() -> tuple[type, ...]:
    numpys, torch = getattr(sys.modules.get("numpy"), "random", None), sys.modules.get("torch")
    known = [
        *(getattr(numpys, name, None) for name in ("Generator", "RandomState")),
        *(random.Random, getattr(torch, "Generator", None)),
    ]
    return tuple(kind for kind in known if isinstance(kind, type))


def _own_generators() -> tuple[object, ...]:
    """Those of the libraries themselves, of which each fork has its own."""
    numpys, torch = getattr(sys.modules.get("numpy"), "random", None), sys.modules.get("torch")
    numpys_own = getattr(getattr(numpys, "mtrand", None), "_rand", None)
    return getattr(random.seed, "__self__", None), numpys_own, getattr(torch, "default_generator", None)


def _numpy_state() -> Any:
    generator = getattr(sys.modules.get("numpy"), "random", None)
    if generator is None:
        return None
    name, keys, *rest = generator.get_state()
    return name, keys.tobytes(), *rest
