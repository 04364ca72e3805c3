"""Predictions on their shortest way: a whole request is queued, and its answer written, without a coroutine.

Takes what most requests are: a POST to a route that is known, without a query, whose body has come with its
head. All else, refusals and answers that are no whole reply included, is the application's.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Protocol

from torchkeeper.api.application import Application
from torchkeeper.api.body import FormLimits, parse_parts, takes_long
from torchkeeper.api.call import PATIENCE, Call, Handler
from torchkeeper.api.orca import ASKS
from torchkeeper.api.streaming import Streamed, streamed
from torchkeeper.engine.stream import Stream
from torchkeeper.errors import TorchkeeperError
from torchkeeper.serving.ask import Ask
from torchkeeper.serving.books import Books, Record
from torchkeeper.serving.request_id import new_request_id
from torchkeeper.wire.messages import Input, Reply

_TYPE, _KEY = b"content-type", b"authorization"
#: Header fields that say how a request is answered.
_MEANT = frozenset({_TYPE, _KEY, ASKS, *PATIENCE})


class WholeHead(Protocol):
    """What came before a request's body."""

    method: bytes
    target: bytes
    #: The header fields, as given and with lower-case names.
    fields: list[tuple[bytes, bytes]]
    lowered: list[tuple[bytes, bytes]]


class WholeRequest(Protocol):
    """A request on its connection (`http.exchange`)."""

    @property
    def head(self) -> WholeHead:
        """What came before the body."""

    @property
    def client(self) -> str:
        """The client's host."""

    @property
    def body(self) -> bytes | None:
        """The body, if all of it has come in one piece."""

    def begin(self, ticket: asyncio.Future[Any], on_gone: Callable[[], None]) -> None:
        """The request is taken; called back if its client leaves before the ticket is done."""

    def take(self) -> None:
        """The body is not needed any more."""

    def reply(
        self, status: int, reason: bytes | None, fields: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """The whole answer."""

    def go_on(self, app: Any) -> None:
        """An application is to answer after all."""


class Shortcut:
    """One listener's.

    Args:
        predict: the application's endpoint of predictions, whose routes are taken.
    """

    def __init__(
        self, application: Application, predict: Handler, ask: Ask, books: Books, forms: FormLimits
    ) -> None:
        self._application = application
        self._known = application.known
        self._predict = predict
        self._ask = ask
        self._books = books
        self._forms = forms

    def __call__(self, exchange: WholeRequest) -> bool:
        """Whether a request is taken."""
        head, body = exchange.head, exchange.body
        if not body or head.method != b"POST":
            return False
        match, handler = self._known.get((head.target, "POST"), (None, None))
        if match is None or handler is not self._predict or match.model is None or match.url_path is not None:
            return False
        kind = key = None
        for name, value in head.lowered:
            if name in _MEANT:
                if name == _TYPE and kind is None:
                    kind = value.decode("latin-1")
                elif name == _KEY and key is None:
                    key = value.decode("latin-1")
                else:
                    return False
        if not self._books.at_once(match.route.key, key, exchange.client):
            return False
        try:
            if takes_long(kind, len(body)):
                return False
            parts = parse_parts(kind, body, self._forms)
        except TorchkeeperError:  # the application is told the same, and answers it
            return False
        fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.fields}
        request_id = new_request_id()
        request = Input(request_id, match.route.kind, parts, fields)
        try:
            asked = self._ask.in_parts(match.model, match.version, request)
        except Exception as error:  # noqa: BLE001 - also a bug of ours is answered, and nobody is asked twice
            exchange.take()
            self._go_on(exchange, request_id, self._books.enter(), error)
            return True
        told = functools.partial(self._told, exchange, request_id, self._books.enter())
        exchange.begin(asked.then(told), asked.leave)
        return True

    def _told(
        self,
        exchange: WholeRequest,
        request_id: str,
        record: Record,
        outcome: Reply | Stream | BaseException,
    ) -> None:
        if type(outcome) is not Reply:
            self._go_on(exchange, request_id, record, outcome)
            return
        phrase = outcome.phrase
        fields = self._application.whole(outcome, request_id)
        record.close()
        self._books.responded(outcome.status)
        reason = phrase.encode("latin-1", "replace") if phrase else None
        exchange.reply(outcome.status, reason, fields, outcome.body)

    def _go_on(
        self,
        exchange: WholeRequest,
        request_id: str,
        record: Record,
        outcome: Reply | Stream | BaseException,
    ) -> None:
        """Leaves the answer to the application."""

        async def handler(call: Call) -> Reply | Streamed:
            if isinstance(outcome, BaseException):
                raise outcome
            return streamed(outcome, call.header(b"accept")) if isinstance(outcome, Stream) else outcome

        exchange.go_on(functools.partial(self._application, begun=(request_id, record, handler)))
