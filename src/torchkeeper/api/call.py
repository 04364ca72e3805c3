"""One request as an endpoint sees it, and what endpoints share of reading it. ASGI in, plain values out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from torchkeeper.api.routes import Match
from torchkeeper.api.streaming import Streamed
from torchkeeper.errors import RequestTooLarge
from torchkeeper.serving.ask import A, Asked, ClientGone
from torchkeeper.wire.messages import Reply

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


#: Headers in which a client, or a proxy before the server, says how long it waits; their units in seconds.
#: Source: Envoy's router filter; Google's client libraries.
PATIENCE = {b"x-envoy-expected-rq-timeout-ms": 0.001, b"x-server-timeout": 1.0}
#: Seconds beyond which nobody waits, and no timer goes.
_LONGEST = 1e6


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

    def patience(self) -> float | None:
        """Seconds that the client waits for the answer, if it says so; what is no number says nothing."""
        for key, value in self.scope["headers"]:
            if key in PATIENCE and value.isdigit():
                return min(int(value[:9]) * PATIENCE[key], _LONGEST) or None
        return None

    def fields(self) -> dict[str, str]:
        """All header fields, names as the client wrote them; of a repeated one the last."""
        given = self.scope["extensions"]["torchkeeper"]["headers"]
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in given}

    async def body(self) -> bytes:
        """The whole body. Raises what `pieces` does."""
        pieces = await self.pieces()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def pieces(self) -> list[bytes]:
        """The whole body as it came; at least one piece.

        Raises:
            ClientGone: it will not come.
            TorchkeeperError: what came of it is refused: too large, too slow, malformed.
        """
        message = await self.receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            return [bytes(message.get("body", b""))]
        chunks: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                chunks.clear()  # what is raised keeps this frame
                raise message.get("refusal") or ClientGone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self.max_body:
                raise RequestTooLarge(self.max_body)
            if not message.get("more_body", False):
                return chunks
            message = await self.receive()


def answered(call: Call, asked: Asked[A]) -> Awaitable[A]:
    """Awaits the answer; a client that leaves meanwhile takes its request back.

    Raises:
        ClientGone: it did.
        DeadlinePassed: it gave the request less time.
    """
    watch = call.scope["extensions"]["torchkeeper"].get("on_gone")
    if watch is not None:
        watch(asked.leave)
    if (seconds := call.patience()) is not None:
        asked.within(seconds)
    return asked.answer()


Handler = Callable[[Call], Awaitable[Reply | Streamed]]
