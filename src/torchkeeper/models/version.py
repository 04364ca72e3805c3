"""One version of a model that is being served: its queue and workers, how many there are, how it ends.

The registry (`models.registry`) finds versions; the builder (`models.builder`) puts them together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchkeeper.archive.signatures import Provenance
from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.engine.dispatch import Dispatcher
from torchkeeper.errors import CleaningTimedOut, ModelVersionNotFound
from torchkeeper.machine.torch_release import broken_promise
from torchkeeper.models.autoscale import TICK, Autoscale, Demand
from torchkeeper.pool.life import State
from torchkeeper.pool.pool import Pool
from torchkeeper.wire.messages import ModelSpec, Signature, Together

logger = logging.getLogger(__name__)

#: Keys of `execution` that compile: what is unlike their samples runs uncompiled.
_COMPILED = {"aot", "compile"}


@dataclass(frozen=True)
class About:
    """What does not change while a version is served."""

    name: str
    version: str
    #: As it was registered.
    url: str
    #: The model store's name of it, which snapshots keep.
    mar_name: str
    runtime: str
    config: ModelSettings
    at_startup: bool
    #: Files and folders that belong to this version alone and go when it is unregistered.
    owned: tuple[Path, ...] = ()
    #: What its archive's signature says; None where signatures are not looked at.
    provenance: Provenance | None = None

    def owns(self, path: Path) -> bool:
        """Whether a file or folder belongs to this version alone."""
        return any(path.is_relative_to(one) for one in self.owned)


class ModelVersion:
    """A version's dispatcher and pool, and the numbers of workers that were asked for."""

    def __init__(
        self,
        about: About,
        dispatcher: Dispatcher,
        pool: Pool,
        specs: Callable[[Sequence[ModelSpec], int], list[ModelSpec]],
        *,
        on_gpu: bool,
    ) -> None:
        """Nothing is started or measured before `start`.

        Args:
            about: what does not change.
            dispatcher: gets the requests.
            pool: has the workers.
            specs: what new workers load beside those that load that already, of so many in all.
            on_gpu: whether its workers get GPUs.
        """
        self.about = about
        #: Whether its workers get GPUs.
        self.on_gpu = on_gpu
        self.dispatcher = dispatcher
        self.pool = pool
        self.min_workers = 0
        self.max_workers = 0
        #: Whether the numbers of workers are those of a request to scale.
        self.scaled = False
        self._specs = specs
        self._scaling = asyncio.Lock()
        self._closed = False
        self._autoscaler: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.about.name

    @property
    def version(self) -> str:
        """The version's name."""
        return self.about.version

    def values(self) -> dict[str, Any]:
        """Every key of the table of model settings as it holds now."""
        now = {
            "min_workers": self.min_workers,
            "max_workers": self.max_workers,
            "runtime": self.about.runtime,
        }
        return {**vars(self.about.config), **now}

    def loaded_workers(self) -> int:
        """Workers that serve."""
        return sum(1 for worker in self.pool.workers if worker.life.state in (State.READY, State.BUSY))

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; empty as long as no worker has said so."""
        told = (worker.signature for worker in self.pool.workers)
        return next((found for found in told if found is not None), Signature())

    @property
    def execution(self) -> dict[str, Any]:
        """How its workers run the model, as far as its model-config.yaml says it; empty before they do."""
        applied = next((worker.execution for worker in self.pool.workers if worker.execution), {})
        if applied.keys() & _COMPILED:
            calls = sum(worker.uncompiled for worker in self.pool.workers)
            applied = {**applied, "uncompiledCalls": calls}
        wanted = self.about.config.execution
        return {**applied, "hint": self._chosen(wanted.hint)} if wanted and wanted.hint else applied

    def _chosen(self, hint: str) -> dict[str, Any]:
        """What holds of what a hint chooses, where nothing more explicit is said."""
        threads = next((worker.spec.threads for worker in self.pool.workers), None)
        chosen = {"for": hint, "workers": self.min_workers, "batchPolicy": self.about.config.batch_policy}
        return chosen if threads is None else {**chosen, "threads": threads}

    @property
    def together(self) -> Together:
        """How many requests a batch may have; for `batchSize: auto` as the one says whose may have most."""
        config = self.about.config
        if not config.auto_batches:
            return Together(config.most_in_batch)
        serving = (State.READY, State.BUSY)
        told = [one.together for one in self.pool.workers if one.together and one.life.state in serving]
        return max(told, key=lambda one: one.most, default=Together(why="no worker has warmed up yet"))

    @property
    def torch_warning(self) -> str | None:
        """What is wrong with the torch of its workers, as far as that is known; None if nothing is."""
        told = (broken_promise(worker.torch) for worker in self.pool.workers)
        return next((warning for warning in told if warning is not None), None)

    def ready(self) -> bool:
        """Whether it serves with as many workers as asked for; with none it does not serve."""
        return self.loaded_workers() >= max(self.min_workers, 1)

    def readiness(self) -> str:
        """How many workers serve, of how many, and why not all do if one was lost, in words."""
        said = f"{self.loaded_workers()} of {max(self.min_workers, 1)} workers are ready"
        return said if self.pool.trouble is None else f"{said}: {self.pool.trouble}"

    def healthy(self) -> bool:
        """TorchServe's rule: as many workers as asked for that were not given up; one may be starting."""
        alive = sum(1 for worker in self.pool.workers if worker.life.state is not State.GIVEN_UP)
        return alive >= self.min_workers

    def start(self, low: int, high: int) -> None:
        """Begins the first workers; they report when they are ready."""
        self.min_workers, self.max_workers = low, high
        self.dispatcher.measure(self.pool.growth)
        self._resize(low)
        if self.about.config.autoscale:
            self._autoscaler = asyncio.get_running_loop().create_task(self._autoscale())

    def _resize(self, count: int) -> None:
        """Runs so many workers; only those that are new get a device."""
        there = [worker.spec for worker in self.pool.workers[:count]]
        self.pool.scale([*there, *self._specs(there, count)])

    async def _autoscale(self) -> None:
        """Lets the number of workers follow the load, between the bounds as they are at each moment."""
        bounds, policy = (0, 0), Autoscale(0, 0)
        while True:
            await asyncio.sleep(TICK)
            if bounds != (self.min_workers, self.max_workers):
                bounds = (self.min_workers, self.max_workers)
                policy = Autoscale(*bounds)
            async with self._scaling:
                if self.min_workers == 0:
                    continue
                workers = self.pool.workers
                starting = len(workers) - self.loaded_workers()
                demand = Demand(self.dispatcher.oldest_wait(), self.dispatcher.idle(), len(workers), starting)
                target = policy.decide(demand, asyncio.get_running_loop().time())
                if target != len(workers):
                    logger.info("%s %s: autoscaling to %d workers", self.name, self.version, target)
                    self._resize(target)

    async def scale(self, low: int, high: int) -> None:
        """Runs `low` workers from now on; with 0, what was taken is answered and nothing more is taken.

        Raises:
            ModelVersionNotFound: it was unregistered meanwhile.
        """
        async with self._scaling:
            if self._closed:
                raise ModelVersionNotFound(self.name, self.version)
            self.min_workers, self.max_workers = low, high
            self.scaled = True
            if low == 0:
                await self.dispatcher.close()
            else:
                self.dispatcher.open()
            if not self._closed:
                self._resize(low)

    def stop_autoscaling(self) -> None:
        """Leaves the number of workers as it is."""
        if self._autoscaler is not None:
            self._autoscaler.cancel()

    async def close(self, deadline: float) -> None:
        """Answers what was taken, then ends the workers; called once.

        It does not wait for a change of the workers' number: a scale to 0 may be answering for long.

        Raises:
            CleaningTimedOut: that took longer than `deadline` seconds; all the same the workers are gone.
        """
        end = asyncio.get_running_loop().time() + deadline
        self._closed = True
        self.stop_autoscaling()
        self.min_workers = self.max_workers = 0
        in_time = False
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(end):
                    await self.dispatcher.close()
                    in_time = True
            left = max(end - asyncio.get_running_loop().time(), 0.0)
            in_time = await self.pool.stop(left) and in_time
        except asyncio.CancelledError:
            await self.pool.stop(0.0)
            raise
        finally:
            self.dispatcher.unmeasure()
        if not in_time:
            raise CleaningTimedOut(self.name)
