"""What all RPCs have in common: the key, the ledger, the status, the access log.

Every accepted call ends in exactly one entry of the ledger, and every error becomes a status here. The rules
are the REST APIs' own (`api.application`), so that both count in the same books.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote

import grpc

from torchkeeper.api.application import Rules
from torchkeeper.engine.stream import Closed
from torchkeeper.errors import InvalidKey, TorchkeeperError
from torchkeeper.keys.key import Key
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.rpc.schema import Method
from torchkeeper.rpc.status import LONGEST, Dialect, HandlerStatus, code_of, details_of
from torchkeeper.serving.request_id import new_request_id

logger = logging.getLogger(__name__)

#: Trailing metadata with what torchkeeper knows of an error beyond its message.
CAUSE = "x-cause"

Context = Any  # grpc.aio.ServicerContext, whose type parameters are of no use to messages made at run time


class Access(Protocol):
    """Who writes access lines."""

    def __call__(
        self, client: str, method: bytes, path: bytes, version: str, status: int, ms: float, request_id: bytes
    ) -> None:
        """One line; `status` is gRPC's code as a number."""


@dataclass(frozen=True)
class Call:
    """One call as a service sees it."""

    request_id: str
    #: host:port
    client: str
    context: Context

    async def write(self, message: Any) -> None:
        """Sends one message of a streamed answer; waits while the client does not take it."""
        await self.context.write(message)


Serve = Callable[[Call, Any], Awaitable[Any]]
"""Request (or an asynchronous iterator of them) in; the reply out, or None where `Call.write` was used."""


class Tally:
    """Enters requests in the ledger and in the metrics."""

    def __init__(self, ledger: Ledger, responded: Callable[[int], None]) -> None:
        self._ledger = ledger
        self._responded = responded

    def begin(self) -> None:
        """A request was accepted."""
        self._ledger.accepted += 1

    def end(self, error: BaseException | None) -> None:
        """Its terminal event: None is an answer; metrics count it as REST's status for the same."""
        ledger = self._ledger
        if isinstance(error, asyncio.CancelledError | Closed):
            ledger.gone += 1
            return
        if error is None or isinstance(error, HandlerStatus):
            ledger.answered += 1
        elif isinstance(error, TorchkeeperError) and error.refusal:
            ledger.refused += 1
        else:
            ledger.failed += 1
        self._responded(200 if error is None else getattr(error, "status", 500))


class Calls:
    """Makes gRPC's handlers from what serves a method."""

    def __init__(self, tally: Tally, rules: Rules, access: Access | None) -> None:
        self._tally = tally
        self._guard = rules.guard
        self._access = access
        self._running = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def drained(self) -> None:
        """Returns when no call runs."""
        await self._quiet.wait()

    def handler(
        self,
        method: Method,
        serve: Serve,
        *,
        key: Key,
        dialect: Dialect = Dialect.OPEN,
        counted: bool = True,
    ) -> Any:
        """The handler of one method.

        Not `counted`: `serve` enters what it answers itself, and only what happens before it is entered here.
        """

        async def answer(request: Any, context: Context) -> Any:
            self._running += 1
            self._quiet.clear()
            try:
                return await answered(request, context)
            finally:
                self._running -= 1
                if not self._running:
                    self._quiet.set()

        async def answered(request: Any, context: Context) -> Any:
            call = Call(new_request_id(), client_of(context.peer()), context)
            begin = time.monotonic()
            error: TorchkeeperError | None = None
            reply = None
            entered = counted
            if counted:
                self._tally.begin()
            try:
                await self._check_key(key, call)
                reply = await serve(call, request)
            except asyncio.CancelledError as cancelled:
                if entered:
                    self._tally.end(cancelled)
                self._log(method, call, begin, grpc.StatusCode.CANCELLED)
                raise
            except Closed as closed:
                if entered:
                    self._tally.end(closed)
                self._log(method, call, begin, grpc.StatusCode.CANCELLED)
                await context.abort(grpc.StatusCode.CANCELLED, "The answer was read too slowly.")
            except TorchkeeperError as expected:
                error = expected
            except Exception as fault:  # request cycle: a bug of ours must still be an answer
                known = {"request_id": call.request_id}
                logger.exception("request %s failed by a fault of the server", call.request_id, extra=known)
                error = TorchkeeperError("Internal server error", cause=repr(fault))
            if error is not None and not counted:
                self._tally.begin()
                entered = True
            if entered:
                self._tally.end(error)
            code = grpc.StatusCode.OK if error is None else code_of(error, dialect)
            self._log(method, call, begin, code)
            trailing = [("x-request-id", call.request_id)]
            if error is not None and error.cause:
                # TorchServe's two lines of details leave no room for it.
                trailing.append((CAUSE, error.cause.encode("ascii", "backslashreplace").decode()[:LONGEST]))
            context.set_trailing_metadata(tuple(trailing))
            if error is not None:
                await context.abort(code, details_of(error, dialect))
            return reply

        make = _MAKERS[method.streams_in, method.streams_out]
        return make(answer, method.request.FromString, method.reply.SerializeToString)

    async def _check_key(self, need: Key, call: Call) -> None:
        if self._guard is None:
            return
        given = [value for name, value in call.context.invocation_metadata() or () if name == "authorization"]
        host = call.client.rpartition(":")[0].strip("[]")
        try:
            delay = self._guard.check(need, given[0] if given else None, host)
        except InvalidKey as error:
            await asyncio.sleep(error.delay)  # a wrong key is answered later and later
            raise
        if delay > 0:
            await asyncio.sleep(delay)

    def _log(self, method: Method, call: Call, begin: float, code: grpc.StatusCode) -> None:
        if self._access is not None:
            number: int = code.value[0]
            ms = (time.monotonic() - begin) * 1000
            request_id = call.request_id.encode()
            self._access(call.client, b"gRPC", method.path.encode(), "2.0", number, ms, request_id)


_MAKERS: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


@functools.lru_cache(maxsize=1024)
def client_of(peer: str) -> str:
    """host:port of a peer in gRPC's form: `ipv4:127.0.0.1:50000`, `ipv6:%5B::1%5D:50000`."""
    scheme, _, rest = peer.partition(":")
    return unquote(rest) if scheme in ("ipv4", "ipv6") else peer
