"""Asking a model: find the version, queue the request, wait, leave; whole or in parts, for every protocol.

A protocol makes an Input and gets an Asked. Which version answers, `serving.traffic` decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from torchkeeper.engine.dispatch import Dispatcher
from torchkeeper.engine.stream import Stream
from torchkeeper.errors import DeadlinePassed, TorchkeeperError
from torchkeeper.serving.traffic import Traffic
from torchkeeper.wire.messages import Input, Reply

A = TypeVar("A", Reply, Reply | Stream)
#: What a client says beside its request, by a name.
Metadata = Callable[[str], str | None]


class ClientGone(Exception):
    """The client left before its request was complete or answered."""


class Asked(Generic[A]):
    """One request from its place in the queue to its answer."""

    __slots__ = ("_dispatcher", "_late", "_left", "_tell", "_ticket")

    def __init__(self, dispatcher: Dispatcher, ticket: asyncio.Future[Any]) -> None:
        self._dispatcher = dispatcher
        self._ticket = ticket
        self._tell: Callable[[A | BaseException], None]
        self._left = False
        #: Seconds in which no answer came, though the request was given no more.
        self._late: float | None = None

    def within(self, seconds: float) -> None:
        """Gives the answer, or its first part, so much time; after that it is as if the client had left."""
        timer = asyncio.get_running_loop().call_later(seconds, self._expire, seconds)
        self._ticket.add_done_callback(lambda _: timer.cancel())

    def _expire(self, seconds: float) -> None:
        self._late = seconds
        self._dispatcher.cancel(self._ticket)

    async def answer(self) -> A:
        """The answer: a Reply, or the Stream of its parts where they were asked for. To be awaited once.

        Raises:
            ClientGone: `leave` was called.
            DeadlinePassed: it took longer than it was given.
            TorchkeeperError: there is no answer, and why.
        """
        try:
            return await self._ticket  # type: ignore[no-any-return]  # what the dispatcher was asked for
        except asyncio.CancelledError:
            raise self._why() from None

    def then(self, tell: Callable[[A | BaseException], None]) -> asyncio.Future[Any]:
        """The same for those who do not await: `tell` is called with the answer, or what `answer` raises.

        Returns:
            what is done right before that.
        """

        self._tell = tell
        self._ticket.add_done_callback(self._done)
        return self._ticket

    def _done(self, ticket: asyncio.Future[Any]) -> None:
        tell = self._tell
        del self._tell  # who is told has this, too: a circle that only the collector would break
        tell(self._why() if ticket.cancelled() else ticket.exception() or ticket.result())

    def _why(self) -> BaseException:
        """Why the ticket was cancelled."""
        if self._left:
            return ClientGone()
        if self._late is not None:
            return DeadlinePassed(self._late)
        self.leave()
        return asyncio.CancelledError()

    def leave(self) -> None:
        """Nobody waits any more: what has not begun is not computed, and a running handler can see it."""
        self._left = True
        self._dispatcher.cancel(self._ticket)


@dataclass(frozen=True)
class Busyness:
    """What a model version has to do: workers that serve and that are busy, requests that wait."""

    serving: int
    busy: int
    waiting: int
    batch_size: int

    @property
    def utilization(self) -> float:
        """1 when all workers are busy; a full batch that waits counts as one worker more."""
        return (self.busy + self.waiting / self.batch_size) / max(self.serving, 1)


class Ask:
    """The way of every protocol to a model."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def whole(
        self,
        name: str,
        version: str | None,
        request: Input,
        patience: float | None = None,
        metadata: Metadata | None = None,
    ) -> Asked[Reply]:
        """Queues a request at a version of a model (None: its default); a streamed answer is joined.

        Args:
            patience: seconds that the client waits, if it says so.
            metadata: what it says beside the request, where requests have no headers of their own.

        Raises:
            ModelNotFound, ModelVersionNotFound: it is not here.
            QueueFull, ServiceUnavailable: nobody can take it now.
            BadRequest: the model must know what it costs, and does not.
        """
        dispatcher = self._traffic.version_for(name, version).dispatcher
        if metadata is not None:
            request = _weighable(dispatcher, request, metadata)
        ticket = dispatcher.submit(request, explicit_version=version is not None, patience=patience)
        return Asked(dispatcher, ticket)

    def in_parts(
        self,
        name: str,
        version: str | None,
        request: Input,
        patience: float | None = None,
        metadata: Metadata | None = None,
    ) -> Asked[Reply | Stream]:
        """The same, but a streamed answer comes as the Stream of its parts. Raises what `whole` does."""
        dispatcher = self._traffic.version_for(name, version).dispatcher
        if metadata is not None:
            request = _weighable(dispatcher, request, metadata)
        named = version is not None
        ticket = dispatcher.submit(request, explicit_version=named, in_parts=True, patience=patience)
        return Asked(dispatcher, ticket)

    def load(self, name: str, version: str | None) -> Busyness | None:
        """How busy that version is; None: it is not here any more."""
        try:
            found = self._traffic.version_for(name, version)
        except TorchkeeperError:
            return None
        serving = found.loaded_workers()
        busy = max(serving - found.dispatcher.idle(), 0)
        return Busyness(serving, busy, found.dispatcher.waiting, found.together.most)


def _weighable(dispatcher: Dispatcher, request: Input, metadata: Metadata) -> Input:
    """The request, with what metadata say of its cost as if that were a header."""
    header = None if dispatcher.weigher is None else dispatcher.weigher.header
    if header is None or (said := metadata(header)) is None:
        return request
    return msgspec.structs.replace(request, headers={**request.headers, header: said})
