"""What the inference URLs mean: a request becomes an Input, a reply becomes a response.

Bare ASGI, because these are the hot routes. Every accepted request ends in exactly one entry of the ledger.
Source of headers and errors: TorchServe's inference API.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4

from torchkeeper.engine.models import Models, ModelVersion
from torchkeeper.errors import BadRequest, RequestTooLarge, ServiceUnavailable, TorchkeeperError
from torchkeeper.http.body import parse_parts, parse_query
from torchkeeper.http.router import Endpoint, Match, resolve
from torchkeeper.messages import Input, Part, Reply
from torchkeeper.metrics.ledger import Ledger

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
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


#: The first 24 characters of this server's request ids: a UUID's, random for each server.
_SERVER = str(uuid4())[:24]
_numbers = itertools.count(1)


def new_request_id() -> str:
    """A unique id in a UUID's form (RFC 9562), no secret: the server's part and the request's number."""
    return f"{_SERVER}{next(_numbers):012x}"


class ClientGone(Exception):
    """The client left before its request was complete or answered."""


class InferenceApi:
    """The ASGI application of the inference listener."""

    def __init__(self, models: Models, ledger: Ledger, cors: tuple[Header, ...], max_body: int) -> None:
        self._models = models
        self._ledger = ledger
        self._cors = cors
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        request_id = new_request_id()
        ledger = self._ledger
        ledger.accepted += 1
        try:
            match = resolve(scope["raw_path"], scope["method"])
            if match.route.endpoint is Endpoint.PING:
                reply = self._ping()
            else:
                reply = await self._predict(match, scope, receive, request_id)
        except ClientGone:
            ledger.gone += 1
            return
        except asyncio.CancelledError:
            ledger.gone += 1
            raise
        except TorchkeeperError as error:
            if error.status < 500 or isinstance(error, ServiceUnavailable):
                ledger.refused += 1
            else:
                ledger.failed += 1
            await self._send_error(send, error, request_id)
        except Exception as error:  # request cycle: a bug of ours must still be an answer
            logger.exception("request %s failed by a fault of the server", request_id)
            ledger.failed += 1
            await self._send_error(
                send, TorchkeeperError("Internal server error", cause=repr(error)), request_id
            )
        else:
            ledger.answered += 1
            await self._send_reply(send, reply, request_id)

    def _ping(self) -> Reply:
        healthy = self._models.healthy()
        body = b'{\n  "status": "%s"\n}\n' % (b"Healthy" if healthy else b"Unhealthy")
        return Reply(body, 200 if healthy else 500, "", {}, "application/json")

    async def _predict(self, match: Match, scope: Scope, receive: Receive, request_id: str) -> Reply:
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["extensions"]["torchkeeper"]["headers"]
        }
        body = await self._read(receive)
        query = parse_query(scope["query_string"]) if scope["query_string"] else ()
        content_type = _header(scope, b"content-type")
        parts = (*query, *parse_parts(content_type, body))
        if not body:
            headers.setdefault("content-length", "0")
        if match.url_path is not None:
            headers["url_path"] = match.url_path
        version = self._version(match, parts)
        request = Input(request_id, match.route.kind, parts, headers)
        ticket = version.dispatcher.submit(request, explicit_version=match.version is not None)
        watch = scope["extensions"]["torchkeeper"].get("on_gone")
        if watch is not None:
            watch(lambda: version.dispatcher.cancel(ticket))
        try:
            return await ticket
        except asyncio.CancelledError:
            if ticket.cancelled():
                raise ClientGone from None
            version.dispatcher.cancel(ticket)
            raise

    def _version(self, match: Match, parts: tuple[Part, ...]) -> ModelVersion:
        if match.route.endpoint is not Endpoint.INVOKE:
            return self._models.find(str(match.model), match.version)
        for part in parts:
            if part.name == "model_name":
                return self._models.find(part.value.decode(errors="replace"))
        names = self._models.names()
        if len(names) != 1:
            raise BadRequest("Parameter model_name is required.")
        return self._models.find(names[0])

    async def _read(self, receive: Receive) -> bytes:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            return bytes(message.get("body", b""))
        chunks: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._max_body:
                raise RequestTooLarge(self._max_body)
            if not message.get("more_body", False):
                return b"".join(chunks)
            message = await receive()

    async def _send_reply(self, send: Send, reply: Reply, request_id: str) -> None:
        headers: list[Header] = [(b"x-request-id", request_id.encode()), *_NO_CACHE]
        if reply.headers:
            for name, value in reply.headers.items():
                if name.lower() not in _OURS:
                    headers.append((name.encode("latin-1", "replace"), value.encode("utf-8")))
        if reply.content_type is not None:
            headers.append((b"content-type", reply.content_type.encode("utf-8")))
        if self._cors:
            own = {name.lower() for name, _ in headers}
            headers += [(name, value) for name, value in self._cors if name not in own]
        await self._respond(send, reply.status, reply.phrase, headers, reply.body)

    async def _send_error(self, send: Send, error: TorchkeeperError, request_id: str) -> None:
        body = error.body()
        headers: list[Header] = [
            (b"content-type", b"application/json"),
            (b"x-request-id", request_id.encode()),
            *_NO_CACHE,
            *((name.encode(), value.encode()) for name, value in error.headers.items()),
            *self._cors,
        ]
        await self._respond(send, error.status, "", headers, body)

    @staticmethod
    async def _respond(send: Send, status: int, phrase: str, headers: list[Header], body: bytes) -> None:
        headers.append((b"content-length", b"%d" % len(body)))
        start: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": headers}
        if phrase:
            start["reason"] = phrase.encode("latin-1", "replace")
        await send(start)
        await send({"type": "http.response.body", "body": body})


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None
