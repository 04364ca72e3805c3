"""The registry, whatever is asked of it in whatever order.

Versions are registered, also twice and two at once, given up half-way, unregistered, scaled, made the default
one; workers load, fail to, say nothing, die; clients ask. At all times a model has a default version exactly
as long as it is there. Once all is quiet nothing is left of what is gone: no meter, no worker, no file.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from models.stand_in import Clock, House, StandInProcess, archive, request, said
from torchkeeper.errors import (
    CleaningTimedOut,
    Conflict,
    FileExists,
    InvalidModelVersion,
    ModelNotFound,
    ModelVersionNotFound,
    ServiceUnavailable,
    StartFailed,
    TorchkeeperError,
)
from torchkeeper.models.registry import Wish
from torchkeeper.models.version import ModelVersion
from torchkeeper.pool.life import State

pytestmark = pytest.mark.slow

NAMES = st.sampled_from(["m", "m", "fetched"])
VERSIONS = st.sampled_from(["1.0", "2.0"])
#: Archives of the store, and one that is fetched into it.
URLS = st.sampled_from(["m-1.0.mar", "m-1.0.mar", "m-2.0.mar", "fetched"])
WORKERS = st.sampled_from([1, 2, 0])
T = TypeVar("T")
#: What workers say when they load: that they have, why they cannot, or nothing.
LOADS = st.sampled_from([None, "", "no such module"])


def one(there: list[T], place: int) -> list[T]:
    """The one at that place, if there is any."""
    return [there[place % len(there)]] if there else []


class Machine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Clock()
        self.folder = tempfile.TemporaryDirectory()
        self.house = House(Path(self.folder.name))
        self.models = self.house.models
        for version in ("1.0", "2.0"):
            archive(self.house.store, "m", version)
        self.kept = [path.name for path in self.house.store.iterdir()]
        self.fetched = archive(Path(self.folder.name), "fetched").as_uri()
        #: All versions that ever were registered, with the waits for their workers.
        self.settling: dict[ModelVersion, asyncio.Task[None]] = {}
        #: Those that somebody has asked to take away.
        self.asked_away: set[ModelVersion] = set()
        self.under_way: list[asyncio.Task[Any]] = []
        self.tickets: list[asyncio.Future[Any]] = []

    def do(self, what: Callable[[], Awaitable[Any]]) -> Any:
        """Runs something on the event loop, and what follows from it soon."""

        async def run() -> Any:
            result = await what()
            for _ in range(10):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(run())

    # --- registering --------------------------------------------------------------------------------------

    def wish(self, url: str, name: str | None, workers: int) -> Wish:
        url = self.fetched if url == "fetched" else url
        return Wish(url, name, given=said(initial_workers=workers))

    async def registered(self, wish: Wish) -> ModelVersion | TorchkeeperError:
        try:
            found = await self.models.register(wish)
        except (Conflict, FileExists) as error:
            return error
        assert found.min_workers == wish.given.values()["min_workers"]
        self.settling[found] = asyncio.create_task(self.models.settle(found))
        return found

    @rule(url=URLS, name=st.sampled_from([None, None, "m", "fetched"]), workers=WORKERS, says=LOADS)
    def register(self, url: str, name: str | None, workers: int, says: str | None) -> None:
        self.house.launcher.load_error = says
        wanted = (name or url.partition("-")[0], "2.0" if "2.0" in url else "1.0")
        there = {(found.name, found.version): found for found in self.models}
        fetched_before = (self.house.store / "fetched-1.0.mar").exists()
        found = self.do(lambda: self.registered(self.wish(url, name, workers)))
        if isinstance(found, FileExists):  # of a version that is here, or whose file is just being removed
            assert url == "fetched"
            assert fetched_before
        elif wanted in there:
            assert isinstance(found, Conflict)
            assert self.models.find(*wanted) is there[wanted]
        else:
            assert isinstance(found, ModelVersion)
            assert (found.name, found.version) == wanted

    @rule(url=URLS, workers=WORKERS)
    def register_twice_at_once(self, url: str, workers: int) -> None:
        wish = self.wish(url, None, workers)
        found = self.do(lambda: asyncio.gather(self.registered(wish), self.registered(wish)))
        assert sum(one in self.models for one in found) <= 1

    @rule(url=URLS, workers=WORKERS, turns=st.integers(0, 30))
    def give_up_a_registration(self, url: str, workers: int, turns: int) -> None:
        async def run() -> None:
            task = asyncio.create_task(self.registered(self.wish(url, None, workers)))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})

        self.do(run)

    # --- changes ------------------------------------------------------------------------------------------

    def begin(self, what: Callable[[], Any]) -> asyncio.Task[Any]:
        async def start() -> asyncio.Task[Any]:
            return asyncio.create_task(what())

        task: asyncio.Task[Any] = self.do(start)
        self.under_way.append(task)
        return task

    @rule(name=NAMES, version=st.none() | VERSIONS, deadline=st.sampled_from([0.0, 60.0]))
    def unregister(self, name: str, version: str | None, deadline: float) -> None:
        try:
            found = self.models.find(name, version)
            siblings = len(self.models.versions(name)) - 1
            is_default = self.models.default_version(name) == found.version
        except (ModelNotFound, ModelVersionNotFound):
            task = self.begin(lambda: self.models.unregister(name, version, deadline))
            assert isinstance(task.exception(), ModelNotFound | ModelVersionNotFound)
            return
        task = self.begin(lambda: self.models.unregister(name, version, deadline))
        if is_default and siblings:
            assert isinstance(task.exception(), InvalidModelVersion)
        else:
            self.asked_away.add(found)
            assert found not in self.models

    @rule(name=NAMES, version=VERSIONS)
    def set_default(self, name: str, version: str) -> None:
        there = [(found.name, found.version) for found in self.models]
        try:
            self.models.set_default(name, version)
        except (ModelNotFound, ModelVersionNotFound):
            assert (name, version) not in there
        else:
            assert self.models.find(name).version == version

    @rule(place=st.integers(0, 9), workers=WORKERS)
    def scale(self, place: int, workers: int) -> None:
        for found in one(list(self.models), place):
            self.begin(lambda found=found: found.scale(workers, workers))

    @rule(place=st.integers(0, 9))
    def ask(self, place: int) -> None:
        async def run() -> None:
            for found in one(list(self.models), place):
                with contextlib.suppress(ServiceUnavailable):
                    self.tickets.append(found.dispatcher.submit(request()))

        self.do(run)

    # --- workers ------------------------------------------------------------------------------------------

    async def each(self, what: Callable[[StandInProcess], None]) -> None:
        for process in self.house.launcher.living:
            what(process)

    @rule(says=LOADS)
    def load(self, says: str | None) -> None:
        self.house.launcher.load_error = says
        self.do(lambda: self.each(StandInProcess.load))

    @rule()
    def answer(self) -> None:
        self.do(lambda: self.each(StandInProcess.answer))

    @rule(place=st.integers(0, 9))
    def die(self, place: int) -> None:
        async def run() -> None:
            for process in one(self.house.launcher.living, place):
                process.end(1)

        self.do(run)

    @rule(seconds=st.sampled_from([1.0, 6.0, 130.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.ahead += seconds
        self.do(lambda: asyncio.sleep(0))

    # --- what holds ---------------------------------------------------------------------------------------

    @invariant()
    def a_model_is_there_exactly_as_long_as_its_default_version(self) -> None:
        for name in ("m", "fetched"):
            if name in self.models.names():
                found = self.models.find(name)
                assert found.version == self.models.default_version(name)
                assert found in self.models.versions(name)
            else:
                with pytest.raises(ModelNotFound):
                    self.models.find(name)
                with pytest.raises(KeyError):
                    self.models.default_version(name)

    @invariant()
    def what_is_there_is_measured_and_has_its_files(self) -> None:
        there = Counter((found.name, found.version) for found in self.models)
        assert not there - Counter(self.house.meters.open)
        assert all(path.exists() for found in self.models for path in found.about.owned)
        assert not Counter(self.house.meters.open) - Counter(
            (found.name, found.version) for found in self.settling
        )

    @invariant()
    def only_what_failed_or_was_asked_away_is_gone(self) -> None:
        for found, settling in self.settling.items():
            if found not in self.models and found not in self.asked_away:
                assert not settling.done() or isinstance(settling.exception(), StartFailed)

    # --- rest ---------------------------------------------------------------------------------------------

    def is_quiet(self) -> bool:
        states = {worker.life.state for found in self.models for worker in found.pool.workers}
        waits = [*self.settling.values(), *self.under_way, *self.tickets]
        return states <= {State.READY, State.GIVEN_UP} and all(wait.done() for wait in waits)

    @rule()
    def rest(self) -> None:
        """All that is under way comes to its end."""
        self.house.launcher.load_error = None
        end = time.monotonic() + 60
        while not self.is_quiet():
            assert time.monotonic() < end
            self.do(lambda: self.each(StandInProcess.load))
            self.do(lambda: self.each(StandInProcess.answer))
            self.loop.ahead += 10.0
            self.do(lambda: asyncio.sleep(0.001))
        assert all(isinstance(ticket.exception(), TorchkeeperError | None) for ticket in self.tickets)
        for task in self.under_way:
            assert isinstance(
                task.exception(),
                CleaningTimedOut | InvalidModelVersion | ModelNotFound | ModelVersionNotFound | None,
            )
        self.nothing_is_left_of_what_is_gone()
        self.under_way.clear()

    def nothing_is_left_of_what_is_gone(self) -> None:
        there = list(self.models)
        for found, settling in self.settling.items():
            failed = settling.exception() is not None
            assert (found in there) is not (failed or found in self.asked_away)
        assert Counter(self.house.meters.open) == Counter((found.name, found.version) for found in there)
        owned = [worker.process for found in there for worker in found.pool.workers if worker.process]
        assert {*map(id, self.house.launcher.living)} == {*map(id, owned)}
        assert all(len(found.pool.workers) == found.min_workers for found in there)
        files = [*self.kept, *(path.name for found in there for path in found.about.owned)]
        assert self.house.left() == sorted(files)

    def teardown(self) -> None:
        try:
            self.rest()
            self.do(lambda: self.models.stop(60.0))
            assert self.house.launcher.living == []
            assert list(self.house.temp.iterdir()) == []
        finally:
            self.loop.close()
            self.folder.cleanup()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
