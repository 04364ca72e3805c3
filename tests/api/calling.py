"""Calls of endpoints without a server: requests made by hand, and somebody in the place of the models."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from torchkeeper.api.call import Call, Handler
from torchkeeper.api.routes import Endpoint, resolve
from torchkeeper.api.streaming import Streamed
from torchkeeper.serving.apis import Api
from torchkeeper.serving.ask import Asked, Busyness
from torchkeeper.wire.messages import Input, Reply

MAX_BODY = 1000
CLIENT = "192.0.2.1"
JSON = "application/json"


def call(
    method: str,
    target: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    apis: Api = Api.INFERENCE,
    watch: Callable[[Callable[[], None]], None] | None = None,
) -> Call:
    """A request as an endpoint gets it; `watch` is told what to call when the client leaves."""
    path, _, query = target.encode().partition(b"?")
    fields = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "method": method,
        "raw_path": path,
        "query_string": query,
        "headers": [(name.lower(), value) for name, value in fields],
        "client": (CLIENT, 1),
        "extensions": {"torchkeeper": {"headers": fields, **({"on_gone": watch} if watch else {})}},
    }
    return Call(resolve(path, method, apis), scope, receive, "id-1", MAX_BODY)


async def answer(endpoints: Mapping[Endpoint, Handler], asked: Call) -> Reply:
    """The whole answer of the endpoint that a request is for."""
    found = await endpoints[asked.match.route.endpoint](asked)
    assert not isinstance(found, Streamed)
    return found


class Answering:
    """In the place of Ask: answers every request with the same, and keeps it; None: never."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.whole_ones: list[tuple[str, str | None, Input]] = []
        self.ones_in_parts: list[tuple[str, str | None, Input]] = []
        self.left = 0
        #: Why it takes no request; None: it does.
        self.refuses: Exception | None = None
        self.patience: list[float | None] = []

    def whole(
        self, name: str, version: str | None, request: Input, patience: float | None = None
    ) -> Asked[Any]:
        self.whole_ones.append((name, version, request))
        self.patience.append(patience)
        return self._asked()

    def in_parts(
        self, name: str, version: str | None, request: Input, patience: float | None = None
    ) -> Asked[Any]:
        self.ones_in_parts.append((name, version, request))
        self.patience.append(patience)
        if self.refuses is not None:
            raise self.refuses
        return self._asked()

    def load(self, name: str, version: str | None) -> Busyness:
        return Busyness(serving=2, busy=1, waiting=0, batch_size=1)

    def _asked(self) -> Asked[Any]:
        ticket = asyncio.get_running_loop().create_future()
        if isinstance(self.answer, Exception):
            ticket.set_exception(self.answer)
        elif self.answer is not None:
            ticket.set_result(self.answer)
        dispatcher: Any = self
        return Asked(dispatcher, ticket)

    def cancel(self, ticket: asyncio.Future[Any]) -> None:
        self.left += 1
        ticket.cancel()
