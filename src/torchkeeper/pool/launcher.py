"""The ways to get a worker process: forked from the template or from its version's, or spawned.

Owns the templates: strict workers have one of their own, which has never seen what they are not to know. A
version's was one of its workers before, and was forked or spawned as any. A launch that fails or is cancelled
leaves neither descriptors nor a process nor a folder behind.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace

import msgspec

from torchkeeper.deadlines import KILLED
from torchkeeper.machine.held_process import HeldProcess
from torchkeeper.machine.process_group import kill_members
from torchkeeper.machine.threads import at_any_rate
from torchkeeper.pool.kept_template import KeptTemplate, Unwanted, seen
from torchkeeper.pool.model_link import ModelLink
from torchkeeper.pool.orphans import adopt_orphans, bury, reap_orphans
from torchkeeper.pool.process import Ends, Owner, WorkerProcess, make_ends
from torchkeeper.pool.sharing import Sharing
from torchkeeper.pool.template_link import TemplateDied
from torchkeeper.sandbox.policy import environment
from torchkeeper.wire.frames import Confine, encode
from torchkeeper.wire.messages import FREE, Confinement, ModelSpec, Sandbox

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
    sandbox: Sandbox = FREE
    #: What the version's workers share; None: each imports for itself.
    sharing: Sharing | None = None

    @property
    def strict(self) -> bool:
        """Whether it knows nothing of the server's environment and has a folder of its own."""
        return self.sandbox.level == "strict"

    def for_worker(self, spec: ModelSpec, sharing: Sharing | None = None) -> Launch:
        """The same for one of a model's workers."""
        sandbox = msgspec.structs.replace(self.sandbox, gpu=spec.gpu_id is not None)
        return replace(self, threads=spec.threads, sandbox=sandbox, sharing=sharing)


class Launcher:
    """Makes worker processes. One per server."""

    def __init__(self, environ: Mapping[str, str], *, strict: bool = False) -> None:
        """`environ` is what templates get; with `strict` the one for strict workers is started at once."""
        self._strict = strict
        self._templates = {
            False: KeptTemplate(environ, self._on_end),
            True: KeptTemplate(environment(environ), self._on_end),
        }
        #: What sandboxes lack here, as it was told already.
        self._told: set[str] = set()
        self._ids = itertools.count(1)
        self._reaper: asyncio.Task[None] | None = None
        #: Processes that import for others, or may come to that, by their ids.
        self._links: dict[int, ModelLink] = {}
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
                await self._templates[self._strict].get()
            except OSError as error:
                if not self._stopped:
                    logger.error("workers cannot be forked yet: %s", error)

    async def stop(self) -> None:
        """Ends the templates, within their deadlines; workers are stopped by their pools before."""
        self._stopped = True
        if self._reaper is not None:
            self._reaper.cancel()
        templates = (template.stop() for template in self._templates.values())
        await asyncio.gather(*templates, *(link.stop() for link in self._links.values()))
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
            making.add_done_callback(seen)
            making.add_done_callback(lambda _: worker.discard())
            raise
        return worker

    async def _make(self, worker: WorkerProcess, launch: Launch) -> None:
        sandbox = launch.sandbox
        try:
            if launch.strict:
                worker.scratch = _new_folder(sandbox)
            try:
                ours, confined = await self._begin(worker, launch)
            except TemplateDied:
                ours, confined = await self._begin(worker, launch)
            await worker.adopt(ours)
        except BaseException:
            worker.discard()
            self._tidy(worker)
            raise
        if sandbox.level != "off" and not confined:
            worker.send(encode(Confine(msgspec.structs.replace(sandbox, scratch=worker.scratch))))

    def tell(self, found: Confinement | None, name: str, known: Mapping[str, str]) -> None:
        """Says in the log what is in force of a worker's sandbox, and once for all workers what is not."""
        if found is None:
            return
        said = ", ".join(f"{part} {value}" for part, value in found.parts.items())
        logger.info("%s: sandbox %s: %s", name, found.level, said, extra=known)
        for sentence in found.lacking:
            if sentence not in self._told:
                self._told.add(sentence)
                logger.warning("sandbox %s: %s", found.level, sentence)

    def _tidy(self, worker: WorkerProcess) -> None:
        """The folder of a worker goes with its process."""
        if scratch := worker.scratch:
            worker.scratch = ""
            self._keep(at_any_rate(lambda: shutil.rmtree(scratch, ignore_errors=True)))

    async def _begin(self, worker: WorkerProcess, launch: Launch) -> tuple[Ends, bool]:
        """Makes the process; the front's ends of what it holds, and whether it is confined already."""
        sharing = launch.sharing
        model = None if sharing is None else await sharing.ready()
        first = sharing if sharing is not None and sharing.claim() else None
        try:
            ours, theirs = make_ends(link=first is not None)
            try:
                await self._fork_or_spawn(worker, launch, theirs, model)
                if first is not None:
                    self._follow(worker, ours, first)
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
        except BaseException:
            if first is not None:
                first.release()
            raise
        return ours, model is not None

    async def _fork_or_spawn(
        self, worker: WorkerProcess, launch: Launch, ends: Ends, model: ModelLink | None
    ) -> None:
        if model is not None:
            self._check_wanted(worker)
            await model.fork(worker, launch.title, ends)
        elif launch.from_template and launch.python is None and sys.platform == "linux":
            template = await self._templates[launch.strict].get()
            self._check_wanted(worker)
            await template.fork(worker, launch.title, ends)
        else:
            self._check_wanted(worker)
            await self._spawn(worker, launch, ends)

    def _follow(self, worker: WorkerProcess, ends: Ends, sharing: Sharing) -> None:
        """Hears what becomes of the import of a version's first worker."""
        assert ends.link is not None
        link = ModelLink(ends.link, worker, self._on_end, sharing.settle, sharing.lose)
        self._links[link.pid] = link
        if worker.has_ended:
            self._links.pop(link.pid).ended()

    def _check_wanted(self, worker: WorkerProcess) -> None:
        if self._stopped or not worker.alive:
            raise Unwanted("the server stops" if self._stopped else "it is not wanted any more")

    async def _spawn(self, worker: WorkerProcess, launch: Launch, ends: Ends) -> None:
        channel, out, err, life, crash, *link = ends.filenos()
        environ = environment(launch.environ) if launch.strict else dict(launch.environ)
        if launch.threads is not None:
            environ.setdefault("OMP_NUM_THREADS", str(launch.threads))
        sharing: tuple[str, ...] = ()
        if link:  # a process with a second thread is not forked
            environ.setdefault("OPENBLAS_NUM_THREADS", "1")
            sharing = "--link", str(link[0]), f"--title={launch.title}"
        child = await asyncio.create_subprocess_exec(
            launch.python or sys.executable,
            *("-P", "-m", "torchkeeper.worker.main", "--channel", str(channel)),
            *("--life", str(life), "--crash", str(crash), *sharing),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=(channel, life, crash, *link),
            env=environ,
            start_new_session=True,
        )
        worker.becomes(HeldProcess(child.pid))

        async def wait() -> None:
            self._on_end(worker, child.pid, await child.wait())

        self._keep(wait())

    def _on_end(self, worker: WorkerProcess, pid: int, returncode: int | None, peak_rss: int = 0) -> None:
        if (link := self._links.pop(pid, None)) is not None:
            link.ended()  # the worker may live on in another process
        if kill_members(pid):
            self._keep(bury(pid))
        if worker.pid == pid:
            self._tidy(worker)
            worker.ended(returncode, peak_rss)

    def _keep(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _new_folder(sandbox: Sandbox) -> str:
    """A folder that a worker alone can write in.

    Raises:
        OSError: there is none.
    """
    folder = tempfile.mkdtemp(prefix="torchkeeper-worker-", dir=sandbox.temp_dir or None)
    if sandbox.user is not None:
        os.chown(folder, sandbox.user.uid, sandbox.user.gid)
    return folder
