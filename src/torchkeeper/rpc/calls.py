"""What all RPCs have in common: the key, the ledger, the status, the access log.

Every accepted call ends in exactly one entry of the ledger, and every error becomes a status here. The rules
are `serving.books`', so that all protocols count in the same books.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from torchkeeper.engine.stream import Closed
from torchkeeper.errors import BadRequest, TorchkeeperError, system_error
from torchkeeper.keys.key import Key
from torchkeeper.rpc.schema import Method
from torchkeeper.rpc.status import LONGEST, HandlerStatus, code_of, details_of
from torchkeeper.serving.books import Books, Record
from torchkeeper.serving.dialect import Dialect
from torchkeeper.serving.request_id import new_request_id

logger = logging.getLogger(__name__)

#: Trailing metadata with what torchkeeper knows of an error beyond its message.
CAUSE = "x-cause"


@dataclass(frozen=True)
class RpcCall:
    """One call as a service sees it."""

    request_id: str
    #: host:port
    client: str
    #: grpc.aio.ServicerContext, whose type parameters are of no use to messages made at run time.
    context: Any

    @property
    def authorization(self) -> str | None:
        """The metadata of that name; the first one counts."""
        for name, value in self.context.invocation_metadata() or ():
            if name == "authorization":
                return str(value)
        return None

    def metadata(self, name: str) -> str | None:
        """What the client says in metadata of that name, whose case does not matter; the last one counts."""
        lowered, found = name.lower(), None
        for given, value in self.context.invocation_metadata() or ():
            if given == lowered:
                found = str(value)
        return found

    @property
    def patience(self) -> float | None:
        """Seconds that are left until the client's deadline, if it has one."""
        return self.context.time_remaining()  # type: ignore[no-any-return]  # the context is Any

    async def write(self, message: Any) -> None:
        """Sends one message of a streamed answer; waits while the client does not take it."""
        await self.context.write(message)


#: Request (or an asynchronous iterator of them) in; the reply out, or None where `RpcCall.write` was used.
Serve = Callable[[RpcCall, Any], Awaitable[Any]]


@dataclass(frozen=True)
class Rpc:
    """What serves a method, for whose key; `many` as `Calls.handler` takes it."""

    serve: Serve
    key: Key
    many: bool = False


class Calls:
    """Makes gRPC's handlers from what serves a method."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self._running = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def drained(self) -> None:
        """Returns when no call runs."""
        await self._quiet.wait()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Counts a call as long as it runs."""
        self._running += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._quiet.set()

    def handlers(
        self, methods: Iterable[Method], served: Mapping[str, Rpc], dialect: Dialect = Dialect.OPEN_INFERENCE
    ) -> dict[str, Any]:
        """The handlers of a service by its methods' names; all of them must be served."""
        found = {}
        for method in methods:
            rpc = served[method.name]
            found[method.name] = self.handler(method, rpc.serve, key=rpc.key, dialect=dialect, many=rpc.many)
        return found

    def handler(
        self,
        method: Method,
        serve: Serve,
        *,
        key: Key,
        dialect: Dialect = Dialect.OPEN_INFERENCE,
        many: bool = False,
    ) -> Any:
        """The handler of one method.

        `many`: `serve` enters the requests of a call in the books itself; here only a call that fails is.
        """
        served = _Served(self, method, serve, key, dialect, many)
        make = _MAKERS[method.streams_in, method.streams_out]
        return make(served.call, None, method.reply.SerializeToString)


class _Served:
    """A method with what serves it, as gRPC calls it."""

    def __init__(
        self, calls: Calls, method: Method, serve: Serve, key: Key, dialect: Dialect, many: bool
    ) -> None:
        self._calls = calls
        self._books = calls.books
        self._method = method
        self._serve = serve
        self._key = key
        self._dialect = dialect
        self._many = many

    async def call(self, request: Any, context: Any) -> Any:
        """One call."""
        call = RpcCall(new_request_id(), client_of(context.peer()), context)
        begin = time.monotonic()
        record = self._books.record() if self._many else self._books.enter()
        with self._calls.running():
            try:
                reply, error = await self._answer(call, request)
            except (asyncio.CancelledError, Closed) as left:
                record.close(left)
                self._log(call, begin, grpc.StatusCode.CANCELLED)
                if isinstance(left, asyncio.CancelledError):
                    raise
                return await context.abort(grpc.StatusCode.CANCELLED, "The answer was read too slowly.")
            if error is not None:
                record.enter()
            settle(record, error)
            self._log(call, begin, grpc.StatusCode.OK if error is None else code_of(error, self._dialect))
            return await self._send(call, reply, error)

    async def _answer(self, call: RpcCall, request: Any) -> tuple[Any, TorchkeeperError | None]:
        """What the method gives, or the error that answers the call."""
        try:
            host = call.client.rpartition(":")[0].strip("[]")
            await self._books.admit(self._key, call.authorization, host)
            return await self._serve(call, self._read(request)), None
        except Closed:
            raise
        except TorchkeeperError as expected:
            return None, expected
        except Exception as error:  # request cycle: a bug of ours must still be an answer
            known = {"request_id": call.request_id}
            logger.exception("request %s failed by a fault of the server", call.request_id, extra=known)
            said = "Internal server error"
            return None, system_error(error, said) or TorchkeeperError(said)

    def _read(self, data: Any) -> Any:
        """The message in some bytes, or an iterator of those in an iterator of them.

        grpc would do so, but answers bytes that are none with an error of its own and a class of protobuf's.
        """
        if self._method.streams_in:
            return _messages(self._method, data)
        return _message(self._method, data)

    async def _send(self, call: RpcCall, reply: Any, error: TorchkeeperError | None) -> Any:
        trailing = [("x-request-id", call.request_id)]
        if error is not None and error.told:
            # TorchServe's two lines of details leave no room for it.
            trailing.append((CAUSE, _printable(error.told)[:LONGEST]))
        call.context.set_trailing_metadata(tuple(trailing))
        if error is not None:
            await call.context.abort(code_of(error, self._dialect), details_of(error, self._dialect))
        return reply

    def _log(self, call: RpcCall, begin: float, code: grpc.StatusCode) -> None:
        if self._books.access is not None:
            number: int = code.value[0]
            ms = (time.monotonic() - begin) * 1000
            path = self._method.path.encode()
            self._books.access(call.client, b"gRPC", path, "2.0", number, ms, call.request_id.encode())


def _message(method: Method, data: bytes) -> Any:
    """The request in some bytes; raises BadRequest where there is none."""
    try:
        return method.request.FromString(data)
    except DecodeError:
        raise BadRequest("The message cannot be read: it is no request of this method.") from None


async def _messages(method: Method, coming: AsyncIterator[bytes]) -> AsyncGenerator[Any, None]:
    async for data in coming:
        yield _message(method, data)


def settle(record: Record, error: TorchkeeperError | None) -> None:
    """Closes a request with its answer or error; a handler's own error status is an answer."""
    status = 200 if error is None else error.status
    record.close(None if isinstance(error, HandlerStatus) else error, status=status)


_MAKERS: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _printable(text: str) -> str:
    """The text in what metadata may hold (gRPC over HTTP/2): printable ASCII, everything else escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        one if one.isascii() and one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


@functools.lru_cache(maxsize=1024)
def client_of(peer: str) -> str:
    """host:port of a peer in gRPC's form: `ipv4:127.0.0.1:50000`, `ipv6:%5B::1%5D:50000`."""
    scheme, _, rest = peer.partition(":")
    return unquote(rest) if scheme in ("ipv4", "ipv6") else peer
