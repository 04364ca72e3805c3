"""Predictions on their shortest way: a whole request is queued, and its answer written, without a coroutine.

Takes what most requests are: a POST to a route that is known, without a query, whose body has come with its
head. All else, refusals and answers that are no whole reply included, is the application's.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torchkeeper.api.application import Application
from torchkeeper.api.body import FormLimits, is_form, media_type, parse_parts, takes_long
from torchkeeper.api.call import PATIENCE, Call, Handler
from torchkeeper.api.orca import ASKS
from torchkeeper.api.streaming import Streamed, streamed
from torchkeeper.engine.stream import Stream
from torchkeeper.errors import TorchkeeperError
from torchkeeper.keys.key import Key
from torchkeeper.serving.ask import Ask
from torchkeeper.serving.books import Books
from torchkeeper.serving.request_id import new_request_id
from torchkeeper.wire.messages import Input, Kind, Part, Reply

_TYPE, _KEY = b"content-type", b"authorization"
#: Header fields that say how a request is answered.
_MEANT = frozenset({_TYPE, _KEY, ASKS, *PATIENCE})


class WholeHead(Protocol):
    """What came before a request's body."""

    method: bytes
    target: bytes
    #: The header fields with lower-case names.
    lowered: list[tuple[bytes, bytes]]
    #: What was found in it, or in one that differs in its length alone; None: nobody has looked.
    seen: Any

    @property
    def text(self) -> dict[str, str]:
        """The header fields as text, names as given."""


class Plain(NamedTuple):
    """What a head says of a request that is taken."""

    model: str
    version: str | None
    kind: Kind
    need: Key
    authorization: str | None
    content_type: str | None
    #: The body's media type, if the body is one parameter as it came; `form`: it may be several.
    media: str | None
    form: bool


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

    def reply_plainly(self, request_id: bytes, fields: tuple[tuple[bytes, bytes], ...], body: bytes) -> None:
        """The whole answer, status 200, its fields but the request's id and the body's length."""

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
        self._guarded = books.guarded
        self._forms = forms

    def take(self, exchange: WholeRequest) -> bool:
        """Whether a request is taken; if so it is answered in time."""
        head, body = exchange.head, exchange.body
        if not body:
            return False
        plain: Plain | None = head.seen or self._look(head)
        if plain is None:
            return False
        if self._guarded and not self._books.at_once(plain.need, plain.authorization, exchange.client):
            return False
        parts: tuple[Part, ...]
        if plain.form:
            try:
                if takes_long(plain.content_type, len(body)):
                    return False
                parts = parse_parts(plain.content_type, body, self._forms)
            except TorchkeeperError:  # the application is told the same, and answers it
                return False
        else:
            parts = (Part("body", body, plain.media),)
        request_id = new_request_id()
        request = Input(request_id, plain.kind, parts, head.text)
        try:
            asked = self._ask.in_parts(plain.model, plain.version, request)
        except Exception as error:  # noqa: BLE001 - also a bug of ours is answered, and nobody is asked twice
            exchange.take()
            self._books.accept()
            self._go_on(exchange, request_id, error)
            return True
        self._books.accept()
        exchange.begin(asked.then(functools.partial(self._told, exchange, request_id)), asked.leave)
        return True

    def _look(self, head: WholeHead) -> Plain | None:
        """What a head says; None: the request is the application's."""
        if head.method != b"POST":
            return None
        match, handler = self._known.get((head.target, "POST"), (None, None))
        if match is None or handler is not self._predict or match.model is None or match.url_path is not None:
            return None
        kind = key = None
        for name, value in head.lowered:
            if name in _MEANT:
                if name == _TYPE and kind is None:
                    kind = value.decode("latin-1")
                elif name == _KEY and key is None:
                    key = value.decode("latin-1")
                else:
                    return None
        try:
            media, form = media_type(kind), is_form(kind)
        except TorchkeeperError:  # the application is told the same, and answers it
            return None
        route = match.route
        plain = Plain(match.model, match.version, route.kind, route.key, key, kind, media, form)
        head.seen = plain
        return plain

    def _told(
        self,
        exchange: WholeRequest,
        request_id: str,
        outcome: Reply | Stream | BaseException,
    ) -> None:
        if type(outcome) is not Reply:
            self._go_on(exchange, request_id, outcome)
            return
        phrase = outcome.phrase
        self._books.answer(outcome.status)
        if outcome.status == 200 and not phrase and not outcome.headers:
            usual = self._application.usual(outcome.content_type)
            exchange.reply_plainly(request_id.encode(), usual, outcome.body)
            return
        fields = self._application.whole(outcome, request_id)
        reason = phrase.encode("latin-1", "replace") if phrase else None
        exchange.reply(outcome.status, reason, fields, outcome.body)

    def _go_on(
        self,
        exchange: WholeRequest,
        request_id: str,
        outcome: Reply | Stream | BaseException,
    ) -> None:
        """Leaves the answer to the application."""

        async def handler(call: Call) -> Reply | Streamed:
            if isinstance(outcome, BaseException):
                raise outcome
            return streamed(outcome, call.header(b"accept")) if isinstance(outcome, Stream) else outcome

        exchange.go_on(
            functools.partial(self._application, begun=(request_id, self._books.entered(), handler))
        )
