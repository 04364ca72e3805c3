"""What holds for all tests: timings decide none, none leaves imports to others, one alone has known ports."""

from __future__ import annotations

import fcntl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A slow machine is no failure of a property test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def nothing_is_left_for_imports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Handlers that are run in this process have their folders searched first, and stay imported."""
    ours = str(tmp_path_factory.getbasetemp())
    path, modules = set(sys.path), set(sys.modules)
    yield
    sys.path[:] = [entry for entry in sys.path if entry in path or not entry.startswith(ours)]
    for name in sys.modules.keys() - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(ours):
            del sys.modules[name]


@pytest.fixture
def known_ports() -> Iterator[None]:
    """A time in which no test of another process has the ports that TorchServe has by default."""
    with Path(tempfile.gettempdir(), "torchkeeper-known-ports.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
