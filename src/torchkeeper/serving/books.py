"""The books of requests, once for every protocol: the key that a request needs, the ledger, the statuses.

A protocol opens a Record for each request, enters it when the request is accepted, and closes it with what
became of it; whatever it does, a request is entered and closed once.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import Protocol

from torchkeeper.engine.stream import Closed
from torchkeeper.errors import InvalidKey, TorchkeeperError
from torchkeeper.keys.key import Key
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.serving.ask import ClientGone


class Guard(Protocol):
    """Who decides whether a request carries the key that it needs."""

    def check(self, need: Key, authorization: str | None, client: str) -> float:
        """Seconds to wait before the request goes on; raises the error that is the answer."""

    def at_once(self, need: Key, authorization: str | None, client: str) -> bool:
        """Whether `check` would let it on without a wait; nothing is held against anybody."""


class Access(Protocol):
    """Who writes access lines."""

    def __call__(
        self, client: str, method: bytes, path: bytes, version: str, status: int, ms: float, request_id: bytes
    ) -> None:
        """One line; `status` is HTTP's, or gRPC's code as a number."""


class _State(enum.Enum):
    NEW = "new"
    ENTERED = "entered"
    CLOSED = "closed"


# Looked up for every request, and members of an enum are slow to find.
_NEW, _ENTERED, _CLOSED = _State.NEW, _State.ENTERED, _State.CLOSED


class Record:
    """One request in the books."""

    __slots__ = ("_books", "_state")

    def __init__(self, books: Books, state: _State = _NEW) -> None:
        self._books = books
        self._state = state

    def enter(self) -> None:
        """The request is accepted, if it has not been."""
        if self._state is _NEW:
            self._state = _ENTERED
            self._books.ledger.accepted += 1

    def close(self, error: BaseException | None = None, *, status: int | None = None) -> None:
        """Its terminal event: None is an answer, whatever its status. One that never was entered has none.

        Args:
            status: the response's, as HTTP's, where it has not been told by `Books.responded`.
        """
        if self._state is not _ENTERED:
            return
        self._state = _CLOSED
        if status is not None:
            self._books.responded(status)
        ledger = self._books.ledger
        if error is None:
            ledger.answered += 1
        elif isinstance(error, ClientGone | Closed | asyncio.CancelledError):
            ledger.gone += 1
        elif isinstance(error, TorchkeeperError) and error.refusal:
            ledger.refused += 1
        else:
            ledger.failed += 1


class Books:
    """What all requests have in common.

    Args:
        ledger: the counts; written here and nowhere else.
        guard: None where token authorization is off.
        responded: told the status of every response, as HTTP's.
        access: None where no access lines are written.
    """

    def __init__(
        self,
        ledger: Ledger,
        guard: Guard | None = None,
        responded: Callable[[int], None] = lambda status: None,
        access: Access | None = None,
    ) -> None:
        self.ledger = ledger
        self.responded = responded
        self.access = access
        self._guard = guard

    def record(self) -> Record:
        """A page for one request, which is not entered yet."""
        return Record(self)

    def enter(self) -> Record:
        """A page for one request, which is entered."""
        self.accept()
        return self.entered()

    def accept(self) -> None:
        """A request is entered whose page is opened by `entered` if need be, else its answer is `answer`."""
        self.ledger.accepted += 1

    def entered(self) -> Record:
        """The page of a request that was accepted by `accept`."""
        return Record(self, _ENTERED)

    def answer(self, status: int) -> None:
        """The terminal event of a request without a page: it is answered, with this status as HTTP's."""
        self.ledger.answered += 1
        self.responded(status)

    @property
    def guarded(self) -> bool:
        """Whether keys are asked for at all."""
        return self._guard is not None

    def at_once(self, need: Key, authorization: str | None, client: str) -> bool:
        """Whether the request may go on now; if not, `admit` has the say. Arguments are as there."""
        return self._guard is None or self._guard.at_once(need, authorization, client)

    async def admit(self, need: Key, authorization: str | None, client: str) -> None:
        """Returns when the request may go on; a wrong key is answered later and later.

        Args:
            authorization: the header of that name.
            client: the peer's host.

        Raises:
            InvalidKey: it may not.
        """
        if self._guard is None:
            return
        try:
            delay = self._guard.check(need, authorization, client)
        except InvalidKey as error:
            await asyncio.sleep(error.delay)
            raise
        if delay > 0:
            await asyncio.sleep(delay)
