"""The ASGI application of a listener: route, key, endpoint, answer.

Bare ASGI, because it carries the hot routes. Every accepted request ends in exactly one entry of the ledger,
and every error becomes a body here. Source of headers and bodies: TorchServe's REST APIs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from torchkeeper.api.call import Call, Handler, Receive, Scope, Send
from torchkeeper.api.error_form import ERROR_FORMS
from torchkeeper.api.routes import Endpoint, Match, dialect_of, resolve, unescape
from torchkeeper.api.site import UNSAFE, SiteGuard
from torchkeeper.api.streaming import Streamed
from torchkeeper.engine.stream import Closed
from torchkeeper.errors import ResourceNotFound, TorchkeeperError, system_error
from torchkeeper.keys.key import Key
from torchkeeper.serving.apis import Api
from torchkeeper.serving.ask import ClientGone
from torchkeeper.serving.books import Books, Record
from torchkeeper.serving.dialect import Dialect
from torchkeeper.serving.request_id import new_request_id
from torchkeeper.wire.messages import Reply

logger = logging.getLogger(__name__)

Header = tuple[bytes, bytes]

_FAULT = "request %s failed by a fault of the server"

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
#: A request that somebody else has begun: its id, its page in the books, and who has its outcome.
Begun = tuple[str, Record, Handler]
#: Routes that are remembered, and the bytes of a path from which it is not: half a megabyte of paths at most.
_ROUTES = 1024
_LONG_PATH = 512
#: Content types whose headers are remembered.
_TYPES = 64


class Application:
    """What one listener serves.

    Args:
        max_body: bytes that a request's body may have.
        cors: headers of every answer that does not have them.
        own_paths: routes of paths that a platform made up, without a slash at their end but for `/`.
        site: who may manage models where no keys are asked for.
    """

    def __init__(
        self,
        apis: Api,
        endpoints: Mapping[Endpoint, Handler],
        books: Books,
        *,
        max_body: int,
        cors: tuple[Header, ...] = (),
        own_paths: Mapping[str, Match] | None = None,
        site: SiteGuard | None = None,
    ) -> None:
        self._apis = apis
        self._endpoints = endpoints
        #: Routes of short paths that were allowed: clients ask for the same few again and again.
        self.known: dict[tuple[bytes, str], tuple[Match, Handler]] = {}
        #: The headers of answers that have none but the server's, by their content types.
        self._usual: dict[str | None, tuple[Header, ...]] = {}
        self._books = books
        self._max_body = max_body
        self._cors = cors
        self._own_paths = own_paths or {}
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send, begun: Begun | None = None) -> None:
        """One request; of one that has begun, only the answer."""
        request_id, record = begun[:2] if begun else (new_request_id(), self._books.enter())
        match: Match | None = None
        try:
            if "refusal" in scope:  # nothing is done for a request that will not be whole
                raise scope["refusal"]
            asked = scope["raw_path"], scope["method"]
            known = self.known.get(asked)
            match, handler = known or self._route(*asked)
            call = Call(match, scope, receive, request_id, self._max_body)
            if begun is None and self._books.guarded:
                await self._admit(call)
            if known is None:
                self._meet(call, handler)
            reply = await (begun[2] if begun else handler)(call)
        except ClientGone as left:
            record.close(left)
        except asyncio.CancelledError as left:
            record.close(left)
            raise
        except TorchkeeperError as error:
            record.close(error)
            await self._send_error(scope, send, error, match, request_id)
        except Exception as error:  # request cycle: a bug of ours must still be an answer
            logger.exception(_FAULT, request_id, extra={"request_id": request_id})
            record.close(error)
            said = "Internal server error"
            fault = system_error(error, said) or TorchkeeperError(said)
            await self._send_error(scope, send, fault, match, request_id)
        else:
            if isinstance(reply, Streamed):
                await self._send_stream(send, reply, record, request_id)
                return
            record.close()
            await send(self._start(reply.status, reply.phrase, self.whole(reply, request_id)))
            await send({"type": "http.response.body", "body": reply.body})

    async def _send_stream(self, send: Send, reply: Streamed, record: Record, request_id: str) -> None:
        """The parts as they come; an answer that fails has no end, so that clients can tell (RFC 9112, 8)."""
        head = reply.head
        more = True
        try:
            await send(self._start(head.status, head.phrase, self._headers(head, request_id)))
            async for body in reply.bodies():
                await send({"type": "http.response.body", "body": body, "more_body": True})
            more = False
        except Closed as closed:
            record.close(closed)
        except asyncio.CancelledError as left:
            reply.stream.close()
            record.close(left)
            raise
        except TorchkeeperError as error:
            record.close(error)
            logger.error(
                "request %s failed after its first part: %s: %s",
                *(request_id, error.message, error.cause),
                extra={"request_id": request_id},
            )
            more = not reply.events
        except Exception as error:  # request cycle: a bug of ours must still be in the books
            logger.exception(_FAULT, request_id, extra={"request_id": request_id})
            reply.stream.close()
            record.close(error)
            more = True
        else:
            record.close()
        if not more:
            await send({"type": "http.response.body", "body": b""})

    def _route(self, raw_path: bytes, method: str) -> tuple[Match, Handler]:
        match = self._own(raw_path, method) or resolve(raw_path, method, self._apis)
        handler = self._endpoints.get(match.route.endpoint)
        if handler is None:  # a feature that is switched off
            raise ResourceNotFound()
        return match, handler

    def _own(self, raw_path: bytes, method: str) -> Match | None:
        if not self._own_paths or not self._apis & Api.INFERENCE:
            return None
        match = self._own_paths.get(unescape(raw_path).rstrip("/") or "/")
        return match if match is not None and method in match.route.methods else None

    def _meet(self, call: Call, handler: Handler) -> None:
        """Keeps a route for those who ask for it again; the oldest one goes.

        Where it matters who asks, that is looked at each time, and the route is not kept.
        """
        match, asked = call.match, (call.scope["raw_path"], call.scope["method"])
        if self._site is not None and match.route.key is Key.MANAGEMENT and asked[1] in UNSAFE:
            self._site.check(call.scope["headers"])
            return
        if len(asked[0]) > _LONG_PATH:
            return
        if len(self.known) >= _ROUTES:
            del self.known[next(iter(self.known))]
        self.known[asked] = match, handler

    async def _admit(self, call: Call) -> None:
        client = call.scope["client"]
        await self._books.admit(
            call.match.route.key, call.header(b"authorization"), str(client[0]) if client else ""
        )

    def whole(self, reply: Reply, request_id: str) -> list[Header]:
        """The headers of an answer whose body is whole."""
        headers = self._headers(reply, request_id)
        headers.append((b"content-length", b"%d" % len(reply.body)))
        return headers

    def usual(self, content_type: str | None) -> tuple[Header, ...]:
        """The same for one whose handler sets none, but for the request's id and the body's length."""
        found = self._usual.get(content_type)
        if found is None:
            found = tuple(self._headers(Reply(b"", content_type=content_type), "")[1:])
            if len(self._usual) < _TYPES:
                self._usual[content_type] = found
        return found

    def _headers(self, reply: Reply, request_id: str) -> list[Header]:
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
        return headers

    def unasked(self, error: TorchkeeperError, target: bytes) -> tuple[int, list[Header], bytes]:
        """Status, headers and body for a request that did not come so far as to be accepted."""
        self._books.responded(error.status)
        headers, body = self._error(error, dialect_of(target), new_request_id())
        return error.status, headers, body

    async def _send_error(
        self, scope: Scope, send: Send, error: TorchkeeperError, match: Match | None, request_id: str
    ) -> None:
        dialect = dialect_of(scope["raw_path"]) if match is None else match.route.dialect
        headers, body = self._error(error, dialect, request_id)
        await send(self._start(error.status, "", headers))
        await send({"type": "http.response.body", "body": body})

    def _error(
        self, error: TorchkeeperError, dialect: Dialect, request_id: str
    ) -> tuple[list[Header], bytes]:
        form = ERROR_FORMS[dialect]
        body = form.body(error)
        headers: list[Header] = [
            (b"content-type", form.content_type),
            (b"x-request-id", request_id.encode()),
            *_NO_CACHE,
            *((name.encode(), value.encode()) for name, value in error.headers.items()),
            *self._cors,
            (b"content-length", b"%d" % len(body)),
        ]
        return headers, body

    def _start(self, status: int, phrase: str, headers: list[Header]) -> dict[str, Any]:
        self._books.responded(status)
        start: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": headers}
        if phrase:
            start["reason"] = phrase.encode("latin-1", "replace")
        return start
