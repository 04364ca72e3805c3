"""What those who fork workers do not hear, and what a fork has at once: a name, random numbers, threads."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys

_PR_SET_NAME = 15
#: The front alone decides when workers end: who forks them does not hear these; its forks do, from the first.
UNHEARD = (signal.SIGINT, signal.SIGTERM)


def call_process(name: str) -> None:
    """Gives this process a name, of which the kernel keeps 15 bytes (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15])


def bound_threads(count: int | None) -> None:
    """Sets the number of threads of torch's operators, where torch is there; None: leaves it."""
    if count is not None and (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)


def reseed(*, torchs: bool = True) -> None:
    """Forks share the parent's generators; each worker needs its own stream.

    Args:
        torchs: whether torch's is among them.
    """
    random.seed()
    if (numpys := getattr(sys.modules.get("numpy"), "random", None)) is not None:
        numpys.seed(int.from_bytes(os.urandom(4), "big"))
    if torchs and (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.seed()
