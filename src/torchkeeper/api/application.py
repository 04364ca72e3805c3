"""The ASGI application of a listener: route, key, endpoint, answer.

Bare ASGI, because it carries the hot routes. Every accepted request ends in exactly one entry of the ledger,
and every error becomes a body here. Source of headers and bodies: TorchServe's REST APIs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torchkeeper.api.call import Call, Handler, Receive, Scope, Send
from torchkeeper.api.streaming import Streamed
from torchkeeper.engine.stream import Closed
from torchkeeper.errors import InvalidKey, ResourceNotFound, TorchkeeperError
from torchkeeper.http.router import Endpoint, Match, resolve
from torchkeeper.keys.key import Key
from torchkeeper.messages import Reply
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.serving.apis import Api
from torchkeeper.serving.ask import ClientGone
from torchkeeper.serving.request_id import new_request_id

logger = logging.getLogger(__name__)

Header = tuple[bytes, bytes]

_NO_CACHE: tuple[Header, ...] = (
    (b"Pragma", b"no-cache"),
    (b"Cache-Control", b"no-cache; no-store, must-revalidate, private"),
    (b"Expires", b"Thu, 01 Jan 1970 00:00:00 UTC"),
)
#: Names that the server sets itself; a handler cannot.
_OURS = frozenset(
    {
        "x-request-id",
        "pragma",
        "cache-control",
        "expires",
        "content-length",
        "transfer-encoding",
        "connection",
    }
)
#: Routes that are remembered, and the bytes of a path from which it is not: half a megabyte of paths at most.
_ROUTES = 1024
_LONG_PATH = 512


class Guard(Protocol):
    """Who decides whether a request carries the key that its route needs."""

    def check(self, need: Key, authorization: str | None, client: str) -> float:
        """Seconds to wait before the request goes on; raises the error that is the answer."""


@dataclass(frozen=True)
class Rules:
    """What all listeners of a server have in common."""

    max_body: int
    cors: tuple[Header, ...] = ()
    #: None: token authorization is off.
    guard: Guard | None = None
    #: Told the status of every response.
    responded: Callable[[int], None] = lambda status: None


class Application:
    """What one listener serves."""

    def __init__(
        self, apis: Api, endpoints: Mapping[Endpoint, Handler], ledger: Ledger, rules: Rules
    ) -> None:
        self._apis = apis
        self._endpoints = endpoints
        #: Routes of short paths that were allowed: clients ask for the same few again and again.
        self.known: dict[tuple[bytes, str], tuple[Match, Handler]] = {}
        self._ledger = ledger
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        request_id = new_request_id()
        ledger = self._ledger
        ledger.accepted += 1
        try:
            asked = scope["raw_path"], scope["method"]
            match, handler = known = self.known.get(asked) or self._route(*asked)
            call = Call(match, scope, receive, request_id, self._rules.max_body)
            if self._rules.guard is not None:
                await self._check_key(self._rules.guard, call)
            if asked not in self.known:
                self._remember(asked, known)
            reply = await handler(call)
        except ClientGone:
            ledger.gone += 1
            return
        except asyncio.CancelledError:
            ledger.gone += 1
            raise
        except InvalidKey as error:
            await self._refuse_key(scope, send, error, request_id)
        except TorchkeeperError as error:
            if error.refusal:
                ledger.refused += 1
            else:
                ledger.failed += 1
            await self._send_error(scope, send, error, request_id)
        except Exception as error:  # request cycle: a bug of ours must still be an answer
            logger.exception(
                "request %s failed by a fault of the server", request_id, extra={"request_id": request_id}
            )
            ledger.failed += 1
            fault = TorchkeeperError("Internal server error", cause=repr(error))
            await self._send_error(scope, send, fault, request_id)
        else:
            if isinstance(reply, Streamed):
                await self._send_stream(send, reply, request_id)
                return
            ledger.answered += 1
            headers = self._headers(reply, request_id)
            headers.append((b"content-length", b"%d" % len(reply.body)))
            await self._respond(send, reply.status, reply.phrase, headers, reply.body)

    async def _send_stream(self, send: Send, reply: Streamed, request_id: str) -> None:
        """The parts as they come; an answer that fails has no end, so that clients can tell (RFC 9112, 8)."""
        head, ledger = reply.head, self._ledger
        more = True
        try:
            await self._begin(send, head.status, head.phrase, self._headers(head, request_id))
            async for body in reply.bodies():
                await send({"type": "http.response.body", "body": body, "more_body": True})
            more = False
        except Closed:
            ledger.gone += 1
        except asyncio.CancelledError:
            reply.stream.close()
            ledger.gone += 1
            raise
        except TorchkeeperError as error:
            ledger.failed += 1
            logger.error(
                "request %s failed after its first part: %s: %s",
                *(request_id, error.message, error.cause),
                extra={"request_id": request_id},
            )
            more = not reply.events
        else:
            ledger.answered += 1
        if not more:
            await send({"type": "http.response.body", "body": b""})

    async def _refuse_key(self, scope: Scope, send: Send, error: InvalidKey, request_id: str) -> None:
        """A wrong key is answered later and later; the request counts when it is answered or given up."""
        try:
            await asyncio.sleep(error.delay)
        except asyncio.CancelledError:
            self._ledger.gone += 1
            raise
        self._ledger.refused += 1
        await self._send_error(scope, send, error, request_id)

    def _route(self, raw_path: bytes, method: str) -> tuple[Match, Handler]:
        match = resolve(raw_path, method, self._apis)
        handler = self._endpoints.get(match.route.endpoint)
        if handler is None:  # a feature that is switched off
            raise ResourceNotFound()
        return match, handler

    def _remember(self, asked: tuple[bytes, str], found: tuple[Match, Handler]) -> None:
        """Keeps a route for those who ask for it again; the oldest one goes."""
        if len(asked[0]) > _LONG_PATH:
            return
        if len(self.known) >= _ROUTES:
            del self.known[next(iter(self.known))]
        self.known[asked] = found

    async def _check_key(self, guard: Guard, call: Call) -> None:
        client = call.scope["client"]
        delay = guard.check(
            call.match.route.key, call.header(b"authorization"), str(client[0]) if client else ""
        )
        if delay > 0:
            await asyncio.sleep(delay)

    def _headers(self, reply: Reply, request_id: str) -> list[Header]:
        headers: list[Header] = [(b"x-request-id", request_id.encode()), *_NO_CACHE]
        if reply.headers:
            for name, value in reply.headers.items():
                if name.lower() not in _OURS:
                    headers.append((name.encode("latin-1", "replace"), value.encode("utf-8")))
        if reply.content_type is not None:
            headers.append((b"content-type", reply.content_type.encode("utf-8")))
        if self._rules.cors:
            own = {name.lower() for name, _ in headers}
            headers += [(name, value) for name, value in self._rules.cors if name not in own]
        return headers

    async def _send_error(self, scope: Scope, send: Send, error: TorchkeeperError, request_id: str) -> None:
        headers: list[Header] = [
            (b"content-type", b"application/json"),
            (b"x-request-id", request_id.encode()),
            *_NO_CACHE,
            *((name.encode(), value.encode()) for name, value in error.headers.items()),
            *self._rules.cors,
        ]
        body = error.body(scope["raw_path"])
        headers.append((b"content-length", b"%d" % len(body)))
        await self._respond(send, error.status, "", headers, body)

    async def _respond(
        self, send: Send, status: int, phrase: str, headers: list[Header], body: bytes
    ) -> None:
        await self._begin(send, status, phrase, headers)
        await send({"type": "http.response.body", "body": body})

    async def _begin(self, send: Send, status: int, phrase: str, headers: list[Header]) -> None:
        self._rules.responded(status)
        start: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": headers}
        if phrase:
            start["reason"] = phrase.encode("latin-1", "replace")
        await send(start)
