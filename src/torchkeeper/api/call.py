"""One request as an endpoint sees it, and what endpoints share of reading it. ASGI in, plain values out."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4

import msgspec

from torchkeeper.api.streaming import Streamed
from torchkeeper.errors import RequestTooLarge
from torchkeeper.http.router import Match
from torchkeeper.messages import Reply

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
#: Bytes of a body from which working on it would hold up the event loop: it is done in a thread.
LONG = 1 << 16
#: The first 24 characters of this server's request ids: a UUID's, random for each server.
_SERVER = str(uuid4())[:24]
_numbers = itertools.count(1)


def new_request_id() -> str:
    """A unique id in a UUID's form (RFC 9562), no secret: the server's part and the request's number."""
    return f"{_SERVER}{next(_numbers):012x}"


class ClientGone(Exception):
    """The client left before its request was complete or answered."""


class Call(msgspec.Struct, frozen=True):
    """A request with its route."""

    match: Match
    scope: Scope
    receive: Receive
    request_id: str
    #: Largest body, in bytes.
    max_body: int

    def header(self, name: bytes) -> str | None:
        """The first header field of this (lower-case) name."""
        for key, value in self.scope["headers"]:
            if key == name:
                return str(value.decode("latin-1"))
        return None

    def fields(self) -> dict[str, str]:
        """All header fields, names as the client wrote them; of a repeated one the last."""
        given = self.scope["extensions"]["torchkeeper"]["headers"]
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in given}

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            ClientGone: it will not come.
            RequestTooLarge: it passes `max_body`.
        """
        message = await self.receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            return bytes(message.get("body", b""))
        chunks: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self.max_body:
                raise RequestTooLarge(self.max_body)
            if not message.get("more_body", False):
                return b"".join(chunks)
            message = await self.receive()


Handler = Callable[[Call], Awaitable[Reply | Streamed]]
