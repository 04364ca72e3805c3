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
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, ModuleType
from typing import Any

#: Devices that do not mind who else has them open.
_HARMLESS = frozenset(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom"))
#: Seconds that the system takes to end a thread that has been joined.
_ENDING = 0.1
#: Through what all that there is can be reached.
_OF_CODE = (type, ModuleType, FunctionType, BuiltinFunctionType, CodeType, FrameType)
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
            for name in sorted(_generators(folder)):
                yield f"it made a generator of random numbers ({name})"


def obstacles_of_a_load(loaded: object) -> Iterator[str]:
    """Sentences about what has been loaded, besides its traces, that each worker should have for itself."""
    kinds, own = _kinds_of_generators(), _own_generators()
    drawn = [one for one in _held_by(loaded) if _draws(one, kinds) and not any(one is known for known in own)]
    for name in sorted({f"{type(one).__module__}.{type(one).__qualname__}" for one in drawn}):
        yield f"it made a generator of random numbers ({name})"
    counters = getattr(sys.modules.get("torch._dynamo.utils"), "counters", {})
    if counters.get("stats", {}).get("unique_graphs"):
        yield "it ran a model through torch.compile, whose code is for one number of threads"


def _held_by(root: object) -> Iterator[object]:
    """All objects that are reached from one, but not through modules, classes and functions."""
    seen, waiting = {id(root)}, [root]
    while waiting:
        for one in gc.get_referents(waiting.pop()):
            if id(one) not in seen and not isinstance(one, _OF_CODE):
                seen.add(id(one))
                waiting.append(one)
                yield one


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


def _generators(folder: str) -> Iterator[str]:
    """The names of generators in the modules of a folder; forks would all draw the same from each."""
    kinds, own = _kinds_of_generators(), _own_generators()
    for module in tuple(sys.modules.values()):
        if os.path.dirname(getattr(module, "__file__", None) or "") != folder:
            continue
        for name, value in tuple(vars(module).items()):
            if _draws(value, kinds) and not any(value is one for one in own):
                yield f"{module.__name__}.{name}"


def _draws(value: object, kinds: tuple[type, ...]) -> bool:
    return issubclass(type(value), kinds) and not issubclass(type(value), random.SystemRandom)


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
