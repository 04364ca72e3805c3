"""What goes wrong on the server's side, on purpose: workers killed or stopped, models that come and go.

Each fault makes sure that it happened, and raises if it did not: a run without its faults shows nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import psutil
from tally import Tally  # type: ignore[import-not-found]


def called(process: psutil.Process) -> str:
    """A process's name: a worker has its model's; empty for one that has ended."""
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.name())
    except psutil.NoSuchProcess:
        return ""


@dataclass
class Target:
    """A server, and what it serves."""

    pid: int
    port: int
    grpc: str
    manage: str
    model: str
    #: An archive that comes and goes.
    other: str
    chance: random.Random
    #: What the faults' own clients count.
    tally: Tally = field(default_factory=Tally)

    def workers(self) -> list[psutil.Process]:
        """The model's workers, whoever their parent is now: their processes are called like it."""
        family = psutil.Process(self.pid).children(recursive=True)
        return [process for process in family if called(process) == self.model]

    async def worker(self) -> psutil.Process:
        """One of them, once there is one."""
        while not (found := self.workers()):
            await asyncio.sleep(0.01)
        return self.chance.choice(found)

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
        """Clients of management and of inference, whose answers are counted."""

        async def count(answer: httpx.Response) -> None:
            self.tally.take(answer.status_code)

        hooks = {"response": [count]}
        async with (
            httpx.AsyncClient(base_url=self.manage, timeout=60, event_hooks=hooks) as manage,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{self.port}", timeout=60, event_hooks=hooks
            ) as client,
        ):
            yield manage, client

    @asynccontextmanager
    async def another(self, workers: int = 1) -> AsyncIterator[str]:
        """The name of another model, which is there for a while."""
        name = f"other-{self.chance.randrange(10**9)}"
        async with self.clients() as (manage, _):
            query = {"url": self.other, "model_name": name, "initial_workers": workers, "synchronous": "true"}
            answer = await manage.post("/models", params=query)
            assert answer.status_code == 200, answer.text
            yield name
            answer = await manage.delete(f"/models/{name}")
            assert answer.status_code == 200, answer.text


Fault = Callable[[Target], Awaitable[None]]


async def _signal(target: Target, *numbers: signal.Signals) -> psutil.Process:
    """Sends a worker signals, the first of which reaches it; its process."""
    while True:
        worker = await target.worker()
        sent = 0
        with contextlib.suppress(ProcessLookupError):  # it ended before the first, or by one of them
            for number in numbers:
                os.kill(worker.pid, number)
                sent += 1
        if sent:
            return worker


async def kill(target: Target) -> None:
    """kill -9 of a worker, whatever it does."""
    await _signal(target, signal.SIGKILL)


async def crash(target: Target) -> None:
    """A worker ends as by a fault of its memory."""
    await _signal(target, signal.SIGSEGV)


async def terminate(target: Target) -> None:
    """SIGTERM to a worker, which nobody but the server should send."""
    await _signal(target, signal.SIGTERM)


async def storm(target: Target) -> None:
    """A worker gets signals that nobody expects, many and all at once."""
    await _signal(target, *target.chance.choices((signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2), k=30))


async def stop(target: Target) -> None:
    """A worker stands still for a moment."""
    worker = await _signal(target, signal.SIGSTOP)
    await asyncio.sleep(target.chance.uniform(0.1, 0.5))
    os.kill(worker.pid, signal.SIGCONT)


async def kill_template(target: Target) -> None:
    """kill -9 of the process that workers are forked from; they live on."""
    found = [child for child in psutil.Process(target.pid).children() if called(child).startswith("python")]
    assert found, "there is no template to be killed"
    assert found, "there is no template"
    for template in found:
        template.kill()
    async with target.another():  # whose worker needs a new one
        pass


async def kill_importer(target: Target) -> None:
    """kill -9 of the process that has imported the handler for the workers, if there is one; they live on."""
    for process in psutil.Process(target.pid).children(recursive=True):
        if called(process).startswith("imports:"):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


async def scale(target: Target) -> None:
    """More workers, fewer, and as many as before."""
    async with target.clients() as (manage, _):
        for count in (3, 1, 2):
            answer = await manage.put(
                f"/models/{target.model}", params={"min_worker": count, "max_worker": count}
            )
            assert answer.status_code == 202, answer.text
            await asyncio.sleep(0.1)


async def scale_to_nothing(target: Target) -> None:
    """Another model gets no workers, then three, and the same again; what it has it serves with."""
    async with target.another() as name, target.clients() as (manage, client):
        for count in (0, 3, 0, 3):
            query = {"min_worker": count, "max_worker": count, "synchronous": "true"}
            answer = await manage.put(f"/models/{name}", params=query)
            assert answer.status_code == 200, answer.text
            answer = await client.post(f"/predictions/{name}", content="anybody?")
            assert answer.status_code == (200 if count else 503), answer.text


async def come_and_go(target: Target) -> None:
    """Another model is registered and unregistered; it answers in between."""
    async with target.another() as name, target.clients() as (_, client):
        assert (await client.post(f"/predictions/{name}", content="it is there")).text == "it is there"


async def twice(target: Target) -> None:
    """Two register the same name at the same moment: one of them has it."""
    name = f"other-{target.chance.randrange(10**9)}"
    async with target.clients() as (manage, client):
        query = {"url": target.other, "model_name": name, "initial_workers": "1", "synchronous": "true"}
        answers = await asyncio.gather(*(manage.post("/models", params=query) for _ in range(2)))
        assert sorted(answer.status_code for answer in answers) == [200, 409], answers
        assert (await client.post(f"/predictions/{name}", content="one")).text == "one"
        assert (await manage.delete(f"/models/{name}")).status_code == 200


async def delete_under_load(target: Target) -> None:
    """A model goes while it is asked: what it has taken it answers, what comes later finds none."""
    async with target.clients() as (_, client):
        async with target.another() as name:
            url = f"/predictions/{name}"
            asked = [asyncio.create_task(client.post(url, content=str(number))) for number in range(12)]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result().status_code for task in done} == {200}
            asked += [asyncio.create_task(client.post(url, content=str(number))) for number in range(12, 20)]
        answers = await asyncio.gather(*asked)
    for number, answer in enumerate(answers):
        assert answer.status_code in (200, 404), answer.text
        assert answer.status_code == 404 or answer.text == str(number)


#: Each with its weight.
FAULTS: dict[Fault, int] = {
    kill: 3,
    crash: 1,
    terminate: 1,
    storm: 1,
    stop: 1,
    kill_template: 1,
    kill_importer: 1,
    scale: 1,
    scale_to_nothing: 1,
    come_and_go: 1,
    twice: 1,
    delete_under_load: 1,
}
#: Those that end a worker: between two of them the others have time to be replaced, for a request that meets
#: both is not tried a third time.
ENDS_A_WORKER = (kill, crash, terminate, storm)
