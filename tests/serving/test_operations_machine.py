"""Changes of the models in any order: what is served is what few rules say, and every change is told once."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.office import Office
from torchkeeper.errors import (
    Conflict,
    InvalidModelVersion,
    ModelNotFound,
    ModelVersionNotFound,
    TorchkeeperError,
)
from torchkeeper.serving.parameters import Register, Scale

NAMES = st.sampled_from(["a", "b"])
VERSIONS = st.sampled_from(["1.0", "2.0"])
STEPS = st.one_of(
    st.tuples(st.just("register"), NAMES, VERSIONS, st.integers(0, 2)),
    st.tuples(st.just("scale"), NAMES, st.none() | VERSIONS, st.integers(0, 2)),
    st.tuples(st.just("set default"), NAMES, VERSIONS),
    st.tuples(st.just("unregister"), NAMES, st.none() | VERSIONS),
    st.tuples(st.just("unload"), NAMES),
    st.tuples(st.just("load"), NAMES),
)
Step = tuple[Any, ...]


class Expected:
    """What an office serves, by the rules in few words: workers by version by name, and default versions."""

    def __init__(self) -> None:
        self.served: dict[str, dict[str, int]] = {}
        self.default: dict[str, str] = {}

    def find(self, name: str, version: str | None) -> type[TorchkeeperError] | str:
        if name not in self.served:
            return ModelNotFound
        version = version or self.default[name]
        return version if version in self.served[name] else ModelVersionNotFound

    def take(self, step: Step) -> type[TorchkeeperError] | None:
        """What a step changes, or its error."""
        what, name, *more = step
        if what == "load":
            what, more = "register", ["1.0", 1]
            if name in self.served:
                return None
        if what == "register":
            version, workers = more
            if version in self.served.get(name, {}):
                return Conflict
            self.served.setdefault(name, {})[version] = workers
            self.default.setdefault(name, version)
            return None
        found = self.find(name, more[0] if more else None)
        if not isinstance(found, str):
            return found
        if what == "scale":
            self.served[name][found] = more[1]
        elif what == "set default":
            self.default[name] = found
        elif what == "unregister" and found == self.default[name] and len(self.served[name]) > 1:
            return InvalidModelVersion
        else:
            del self.served[name][found]
            if what == "unload" or not self.served[name]:
                del self.served[name], self.default[name]
        return None


async def take(office: Office, step: Step) -> None:
    """A step, to its end."""
    operations = office.operations
    what, name, *more = step
    if what == "register":
        version, workers = more
        await operations.register(Register(url=f"{name}-{version}.mar", initial_workers=workers))
    elif what == "scale":
        await operations.scale(name, more[0], Scale(more[1], synchronous=True))
    elif what == "set default":
        await operations.set_default(name, more[0])
    elif what == "unregister":
        await operations.unregister(name, more[0])
    elif what == "unload":
        await operations.unload(name)
    else:
        await operations.load(name)


async def walk(folder: Path, steps: list[Step]) -> None:
    office, expected = Office(folder), Expected()
    for name in ("a", "b"):
        for version in ("1.0", "2.0"):
            office.archive(name, version)
        (office.house.store / f"{name}.mar").symlink_to(office.house.store / f"{name}-1.0.mar")
    for step in steps:
        before = len(office.changes)
        error = expected.take(step)
        here = step[0] == "load" and bool(office.models.names()) and step[1] in office.models.names()
        if error is None:
            await take(office, step)
            assert len(office.changes) == before + (not here)
        else:
            with pytest.raises(error):
                await take(office, step)
            assert len(office.changes) == before
        served = {
            name: {found.version: found.loaded_workers() for found in office.models.versions(name)}
            for name in office.models.names()
        }
        assert served == expected.served
        assert {name: office.models.default_version(name) for name in served} == expected.default
        assert len(office.house.launcher.living) == sum(sum(workers.values()) for workers in served.values())
    await office.close()
    assert office.house.launcher.living == []


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_changes_in_any_order(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(asyncio.wait_for(walk(Path(folder), steps), 60))
