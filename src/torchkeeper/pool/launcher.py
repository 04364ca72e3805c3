"""The two ways to get a worker process: forked from the template, or spawned.

Owns the template and restarts it when it dies. A launch that fails or is cancelled leaves neither descriptors
nor a process behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from torchkeeper.deadlines import KILLED
from torchkeeper.machine.process_group import kill_members
from torchkeeper.pool.orphans import adopt_orphans, bury, reap_orphans
from torchkeeper.pool.process import Ends, Owner, WorkerProcess, make_ends
from torchkeeper.pool.template_link import TemplateDied, TemplateLink

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Launch:
    """How a worker process is to be made."""

    title: str
    threads: int | None
    environ: Mapping[str, str]
    from_template: bool
    #: Another interpreter than the server's own; such a worker is never forked.
    python: str | None = None


class Unwanted(OSError):
    """No process is made, because nobody would use it."""


class Launcher:
    """Makes worker processes. One per server."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._ids = itertools.count(1)
        self._link: TemplateLink | None = None
        self._starting: asyncio.Task[TemplateLink] | None = None
        self._reaper: asyncio.Task[None] | None = None
        #: Ends that are waited for, adoptions, burials.
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self) -> None:
        """Makes the front the reaper of orphaned workers and starts the template, if this system has fork.

        A template that cannot be started is an error in the log; the next worker tries again.
        """
        if sys.platform == "linux":
            adopt_orphans()
            self._reaper = asyncio.get_running_loop().create_task(reap_orphans())
            try:
                await self._template()
            except OSError as error:
                if not self._stopped:
                    logger.error("workers cannot be forked yet: %s", error)

    async def stop(self) -> None:
        """Ends the template, within its deadlines; workers are stopped by their pools before."""
        self._stopped = True
        if self._reaper is not None:
            self._reaper.cancel()
        if self._link is not None:
            await self._link.stop()
        if self._starting is not None:
            await asyncio.wait({self._starting})
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=KILLED)
        for task in self._tasks:
            task.cancel()

    async def launch(self, owner: Owner, launch: Launch) -> WorkerProcess:
        """A new worker process whose channel is open; it waits for its Load frame.

        It may end, and be reported, before this returns; `alive` tells.

        Raises:
            OSError: no process could be made.
        """
        worker = WorkerProcess(next(self._ids), owner)
        # What was begun is finished, then undone: nobody clears up half-made processes and transports.
        making = self._keep(self._make(worker, launch))
        try:
            await asyncio.shield(making)
        except asyncio.CancelledError:
            worker.alive = False
            making.add_done_callback(_seen)
            making.add_done_callback(lambda _: worker.discard())
            raise
        return worker

    async def _make(self, worker: WorkerProcess, launch: Launch) -> None:
        try:
            try:
                ours = await self._begin(worker, launch)
            except TemplateDied:
                ours = await self._begin(worker, launch)
            await worker.adopt(ours)
        except BaseException:
            worker.discard()
            raise

    async def _begin(self, worker: WorkerProcess, launch: Launch) -> Ends:
        """Makes the process; the front's ends of what it holds."""
        ours, theirs = make_ends()
        try:
            if launch.from_template and launch.python is None and sys.platform == "linux":
                template = await self._template()
                self._check_wanted(worker)
                await template.fork(worker, launch.title, launch.threads, theirs)
            else:
                self._check_wanted(worker)
                await self._spawn(worker, launch, theirs)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def _check_wanted(self, worker: WorkerProcess) -> None:
        if self._stopped or not worker.alive:
            raise Unwanted("the server stops" if self._stopped else "it is not wanted any more")

    async def _spawn(self, worker: WorkerProcess, launch: Launch, ends: Ends) -> None:
        channel, out, err, life, crash = ends.filenos()
        environ = dict(launch.environ)
        if launch.threads is not None:
            environ.setdefault("OMP_NUM_THREADS", str(launch.threads))
        child = await asyncio.create_subprocess_exec(
            launch.python or sys.executable,
            *("-m", "torchkeeper.worker.main", "--channel", str(channel)),
            *("--life", str(life), "--crash", str(crash)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=(channel, life, crash),
            env=environ,
            start_new_session=True,
        )
        worker.pid = child.pid

        async def wait() -> None:
            self._on_end(worker, await child.wait())

        self._keep(wait())

    async def _template(self) -> TemplateLink:
        """The living template; all who want one while it starts wait for the same one."""
        starting = self._starting
        if starting is None or (starting.done() and not (self._link is not None and self._link.alive)):
            starting = self._starting = asyncio.get_running_loop().create_task(self._start_template())
            starting.add_done_callback(_seen)
        return await asyncio.shield(starting)

    async def _start_template(self) -> TemplateLink:
        if self._stopped:
            raise Unwanted("the server stops")
        self._link = TemplateLink(self._environ, self._on_end)
        await self._link.start()
        return self._link

    def _on_end(self, worker: WorkerProcess, returncode: int | None, peak_rss: int = 0) -> None:
        if worker.pid is not None and kill_members(worker.pid):
            self._keep(bury(worker.pid))
        worker.ended(returncode, peak_rss)

    def _keep(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _seen(task: asyncio.Task[Any]) -> None:
    """What failed has been told of by those who waited for it, if there still are any."""
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()
