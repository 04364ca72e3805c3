"""The edge on real sockets: what goes over the wire, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from torchkeeper.api.application import Application
from torchkeeper.http.connection import Connection
from torchkeeper.http.guests import Guest, Guests
from torchkeeper.http.limits import EdgeLimits
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.serving.apis import Api
from torchkeeper.serving.books import Books

App = Callable[..., Awaitable[None]]
HOST = b"Host: x\r\n"
#: What the server hands in for answers that no application gives.
UNASKED = Application(Api.INFERENCE, {}, Books(Ledger()), max_body=1).unasked


async def read_body(receive: Callable[[], Awaitable[dict[str, Any]]]) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        body += message["body"]
        if not message["more_body"]:
            return body


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    body = scope["method"].encode() + b" " + scope["raw_path"] + b" " + await read_body(receive)
    headers = [(b"X-Kept-Case", b"yes"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "reason": b"Fine indeed", "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def listening(app: App, **limits: Any) -> AsyncIterator[tuple[socket.socket, set[Guest]]]:
    """A server on a free port: its listening socket, and its connections."""
    bounds = EdgeLimits(**({"max_body": 1000, "idle_timeout": 0.2} | limits))
    guests = Guests(bounds)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(app, bounds, guests, UNASKED), sock=listener
        )
        try:
            async with asyncio.timeout(30):
                yield listener, guests.connections
        finally:
            server.close()
            await server.wait_closed()


def split(data: bytes) -> list[bytes]:
    """The bytes one by one."""
    return [data[place : place + 1] for place in range(len(data))]


def talk(data: bytes | list[bytes], app: App = echo, **limits: Any) -> bytes:
    """Sends bytes, or pieces, over a real connection; all that comes until the server closes or is silent."""

    async def run() -> bytes:
        async with listening(app, **limits) as (listener, _):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            for piece in data if isinstance(data, list) else [data]:
                writer.write(piece)
                await asyncio.sleep(0)
            try:
                async with asyncio.timeout(10):
                    return await reader.read()
            finally:
                writer.close()

    return asyncio.run(run())


def get(path: bytes, extra: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"GET " + path + b" HTTP/" + version + b"\r\n" + HOST + extra + b"\r\n"


def test_reason_phrases_and_names_go_out_as_given() -> None:
    answer = talk(get(b"/a"))
    assert answer.startswith(b"HTTP/1.1 200 Fine indeed\r\nX-Kept-Case: yes\r\n")
    assert b"connection: keep-alive\r\n\r\nGET /a " in answer


def test_pipelined_requests_are_answered_in_order_even_before_a_malformed_one() -> None:
    answer = talk(get(b"/1") + get(b"/2") + b"nonsense\r\n\r\n")
    first, second, bad = answer.index(b"GET /1"), answer.index(b"GET /2"), answer.index(b"400 Bad Request")
    assert first < second < bad
    assert b'"message": "Invalid HTTP message."' in answer


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: banana\r\n\r\n",
    ],
    ids=["no HTTP", "no Host", "two Hosts", "no length"],
)
def test_what_is_no_request_is_a_400_in_json(data: bytes) -> None:
    answer = talk(data)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'"type": "BadRequestException"' in answer
    assert b"connection: close" in answer


def test_connection_close_and_http_1_0_close() -> None:
    for data in (get(b"/a", b"Connection: close\r\n"), get(b"/a", version=b"1.0")):
        answer = talk(data, idle_timeout=60)
        assert b"connection: close" in answer
        assert b"GET /a" in answer


#: All methods that llhttp knows for HTTP, one that it does not, and one in lower case.
METHODS = (
    *("DELETE", "GET", "HEAD", "POST", "PUT", "CONNECT", "OPTIONS", "TRACE", "COPY", "LOCK", "MKCOL", "MOVE"),
    *("PROPFIND", "PROPPATCH", "SEARCH", "UNLOCK", "BIND", "REBIND", "UNBIND", "ACL", "REPORT", "MKACTIVITY"),
    *("CHECKOUT", "MERGE", "M-SEARCH", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE", "PATCH", "PURGE", "MKCALENDAR"),
    *("LINK", "UNLINK", "SOURCE", "QUERY", "PRI", "DESCRIBE", "GET_PARAMETER", "EXTENSION", "get"),
)
#: Of those the ones that are no HTTP/1.1.
FOREIGN = {"PRI", "DESCRIBE", "GET_PARAMETER", "EXTENSION", "get"}
UPGRADES = {
    "none": b"",
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n",
    "websocket": b"connection: upgrade\r\nupgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n",
    "not in Connection": b"Upgrade: h2c\r\n",
}
BODIES = {
    "no body": b"\r\n",
    "empty": b"Content-Length: 0\r\n\r\n",
    "a length": b"Content-Length: 4\r\n\r\nbody",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nbo\r\n2\r\ndy\r\n0\r\nTrailer: x\r\n\r\n",
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_exactly_one_answer(method: str) -> None:
    targets = {"CONNECT": b"host:443", "OPTIONS": b"*", "PRI": b"*"}
    target = targets.get(method, b"/m")
    request = method.encode() + b" " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    answer = talk(request + get(b"/next", b"Connection: close\r\n"), drain_seconds=0.1)
    if method in FOREIGN or method == "CONNECT":
        assert answer.startswith(b"HTTP/1.1 400 " if method in FOREIGN else b"HTTP/1.1 405 ")
        assert answer.count(b"HTTP/1.1 ") == 1
        return
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert (method.encode() + b" " + target + b" " in answer) == (method != "HEAD")
    assert answer.count(b"HTTP/1.1 ") == 2
    assert answer.endswith(b"GET /next ")


@pytest.mark.parametrize("at_once", [True, False], ids=["in one piece", "byte by byte"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("offer", UPGRADES.values(), ids=UPGRADES)
def test_an_offered_upgrade_is_answered_as_plain_http(offer: bytes, body: bytes, at_once: bool) -> None:
    request = b"POST /up HTTP/1.1\r\n" + HOST + offer + body
    data = request * 2 + get(b"/next", b"Connection: close\r\n")
    answer = talk(data if at_once else split(data))
    up = b"POST /up " + (b"body" if b"bo" in body else b"")
    answers = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 Fine indeed\r\n")]
    assert answers == [b"", up, up, b"GET /next "]


REQUESTS = (
    get(b"/plain"),
    b"POST /sized HTTP/1.1\r\n" + HOST + BODIES["a length"],
    b"PUT /chunks HTTP/1.1\r\n" + HOST + BODIES["chunks"],
    b"POST /offer HTTP/1.1\r\n" + HOST + UPGRADES["h2c"] + BODIES["a length"],
    b"POST /socket HTTP/1.1\r\n" + HOST + UPGRADES["websocket"] + BODIES["chunks"],
    b"\r\n" + get(b"/after-a-line"),
    b"nonsense\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5000\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000,
    b"CONNECT host:443 HTTP/1.1\r\n" + HOST + b"\r\n",
)


@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(st.sampled_from(REQUESTS), max_size=6),
    cuts=st.lists(st.integers(0, 3000), max_size=8).map(sorted),
)
def test_it_does_not_matter_in_which_pieces_bytes_come(requests: list[bytes], cuts: list[int]) -> None:
    data = b"".join(requests) + get(b"/end", b"Connection: close\r\n")
    pieces = [data[start:end] for start, end in itertools.pairwise([0, *cuts, len(data)])]
    answers = [
        re.sub(rb"x-request-id: [0-9a-f-]{36}", b"", talk(sent, drain_seconds=0.02))
        for sent in (data, [piece for piece in pieces if piece])
    ]
    assert answers[0] == answers[1]
    refused = [place for place, request in enumerate(requests) if request in REQUESTS[6:]]
    assert answers[0].count(b"HTTP/1.1 ") == (refused[0] if refused else len(requests)) + 1


@pytest.mark.parametrize("target", [b"host:443", b"/predictions/m", b"host/predictions/m", b"host:443?x"])
@pytest.mark.parametrize("offer", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_there_are_no_tunnels(target: bytes, offer: bytes, body: bytes) -> None:
    request = b"CONNECT " + target + b" HTTP/1.1\r\n" + HOST + offer + body
    answer = talk(get(b"/1") + request + get(b"/2"), drain_seconds=0.05)
    assert b"connection: keep-alive\r\n\r\nGET /1 HTTP/1.1 405 Method Not Allowed\r\n" in answer
    assert b"\r\nAllow: \r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 2


@pytest.mark.parametrize("offer", UPGRADES.values(), ids=UPGRADES)
def test_an_upgrade_is_no_way_around_the_limits_and_the_rules(offer: bytes) -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + offer
    cases = {
        head + b"Content-Length: 5000\r\n\r\n": 413,
        head + b"Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n": 413,
        head + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n": 400,
        head + b"Transfer-Encoding: gzip\r\n\r\n": 501,
        head + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nbody": 400,
        head + HOST + b"\r\n": 400,
        head + b"A: b\r\n" * 200 + b"\r\n": 431,
        head + b"Content-Length: 10\r\n\r\nab": 408,
    }
    for data, status in cases.items():
        answer = talk(data, body_timeout=0.1, drain_seconds=0.1)
        assert answer.startswith(b"HTTP/1.1 %d " % status), (data, answer)
        assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5000\r\n\r\n" + b"x" * 5000,
        b"POST / HTTP/1.1\r\n"
        + HOST
        + b"Transfer-Encoding: chunked\r\n\r\n7d0\r\n"
        + b"x" * 2000
        + b"\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n",
    ],
    ids=["announced", "chunked", "expecting 100"],
)
def test_a_body_that_is_too_large_gets_an_answer_that_can_be_read(data: bytes) -> None:
    answer = talk(data, drain_seconds=0.2)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code": 413' in answer
    assert b"x-request-id: " in answer


def test_too_many_header_fields_or_bytes() -> None:
    assert talk(get(b"/", b"A: b\r\n" * 200), drain_seconds=0.1).startswith(b"HTTP/1.1 431 ")
    long = get(b"/", b"A: " + b"b" * 70000)
    assert talk(long, drain_seconds=0.1).startswith(b"HTTP/1.1 431 ")


def test_a_request_that_never_comes_and_one_that_stops_half_way() -> None:
    assert talk(b"", first_timeout=0.1) == b""
    half_head = talk(b"GET / HTTP/1.1\r\nHo", header_timeout=0.1, drain_seconds=0.1)
    assert half_head.startswith(b"HTTP/1.1 408 ")
    half_body = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\nab"
    assert talk(half_body, body_timeout=0.1, drain_seconds=0.1).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_trickles_in_is_not_waited_for() -> None:
    """300 at once, each with a byte now and then: none pauses for long, all are too slow."""

    async def trickle(address: Any) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 900\r\n\r\n")
        answer = asyncio.ensure_future(reader.read())
        while not (await asyncio.wait([answer], timeout=0.1))[0]:
            writer.write(b"a")
        writer.close()
        return await answer

    async def run() -> list[bytes]:
        async with listening(echo, rate_grace=0.4, body_timeout=60, drain_seconds=0.1) as (listener, _):
            return await asyncio.gather(*(trickle(listener.getsockname()) for _ in range(300)))

    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in asyncio.run(run()))


def test_a_continue_is_sent_only_when_the_body_is_wanted() -> None:
    head = b"POST /c HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    assert talk(head, body_timeout=0.1, drain_seconds=0.1).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")


def test_head_has_no_body_and_errors_close() -> None:
    answer = talk(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert answer.endswith(b"\r\n\r\n")

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("a bug")

    assert talk(get(b"/"), failing).startswith(b"HTTP/1.1 500 ")


def test_an_answer_to_a_body_that_is_still_on_its_way_says_that_it_closes() -> None:
    async def hasty(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    head = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n"
    assert b"connection: close" in talk(head, hasty)
    assert b"connection: keep-alive" in talk(head + b"ab", hasty)


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (
            b"/v2/models/m/infer",
            b'{"error":"Invalid HTTP message: a request needs exactly one Host field, not 2"}',
        ),
        (
            b"/v1/models?a",
            b'{"error":"Invalid HTTP message: a request needs exactly one Host field, not 2"}',
        ),
        (b"/v3/models", b'"type": "BadRequestException"'),
    ],
)
def test_the_path_decides_what_an_error_looks_like(target: bytes, body: bytes) -> None:
    assert body in talk(b"GET " + target + b" HTTP/1.1\r\n" + HOST + HOST + b"\r\n")


Message = dict[str, Any]


def saying(
    status: Any = 200, headers: Iterable[tuple[bytes, bytes]] = (), parts: int = 0, **more: Any
) -> App:
    """An application that says that to `/said`, with a body (in parts, if so), and is an echo elsewhere."""

    async def app(scope: Message, receive: Any, send: Any) -> None:
        if scope["raw_path"] != b"/said":
            await echo(scope, receive, send)
            return
        await read_body(receive)
        sized = [] if parts else [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": status, "headers": [*sized, *headers], **more})
        for _ in range(parts):
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
        await send({"type": "http.response.body", "body": b"" if parts else b"body"})

    return app


def said(app: App, method: bytes = b"GET") -> tuple[bytes, list[bytes], bytes]:
    """Status line, header lines and body of such an answer, when another one follows on the connection."""
    request = method + b" /said HTTP/1.1\r\n" + HOST + b"\r\n"
    answer = talk(request + get(b"/next", b"Connection: close\r\n"), app)
    first, separator, _ = answer.partition(b"HTTP/1.1 200 Fine indeed\r\n")
    assert separator, answer
    head, _, body = first.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    return line, fields, body


LENGTH, CHUNKED, KEPT = b"content-length: 4", b"transfer-encoding: chunked", b"connection: keep-alive"


@pytest.mark.parametrize(
    ("method", "status", "parts", "fields", "body"),
    [
        (b"GET", 200, 0, [LENGTH, KEPT], b"body"),
        (b"GET", 200, 2, [CHUNKED, KEPT], b"4\r\npart\r\n4\r\npart\r\n0\r\n\r\n"),
        (b"HEAD", 200, 0, [LENGTH, KEPT], b""),
        (b"HEAD", 200, 2, [CHUNKED, KEPT], b""),
        (b"GET", 204, 0, [KEPT], b""),
        (b"GET", 204, 2, [KEPT], b""),
        (b"HEAD", 204, 0, [KEPT], b""),
        (b"GET", 205, 0, [b"content-length: 0", KEPT], b""),
        (b"GET", 205, 2, [b"content-length: 0", KEPT], b""),
        (b"HEAD", 205, 0, [b"content-length: 0", KEPT], b""),
        (b"GET", 304, 0, [LENGTH, KEPT], b""),
        (b"GET", 304, 2, [KEPT], b""),
        (b"HEAD", 304, 2, [KEPT], b""),
    ],
)
def test_answers_that_have_no_body_have_none(
    method: bytes, status: int, parts: int, fields: list[bytes], body: bytes
) -> None:
    line, had, content = said(saying(status, parts=parts), method)
    assert line.startswith(b"HTTP/1.1 %d " % status)
    assert (had, content) == (fields, body)


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 101, 103, 199, 600, 999, 1000, 99999])
@pytest.mark.parametrize("parts", [0, 2])
def test_a_status_that_ends_no_exchange_is_a_500(
    status: int, parts: int, caplog: pytest.LogCaptureFixture
) -> None:
    request = get(b"/said")
    answer = talk(request, saying(status, parts=parts))
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert answer.endswith(b"part\r\n0\r\n\r\n" if parts else b"\r\n\r\nbody")
    assert f"GET /said: its status {status} is none that an answer can have" in caplog.text


@pytest.mark.parametrize("status", [299, 377, 599])
def test_a_status_without_a_phrase_goes_out_as_it_is(status: int) -> None:
    assert talk(get(b"/said"), saying(status)).startswith(b"HTTP/1.1 %d \r\n" % status)


@pytest.mark.parametrize(
    "field",
    [
        (b"X-Bad", b"a\r\nInjected: yes"),
        (b"X-Bad", b"a\rInjected: yes"),
        (b"X-Bad", b"a\nInjected: yes"),
        (b"X-Bad", b"Injected\0"),
        (b"X-Bad", b"Injected\x07"),
        (b"X-Bad", b"Injected\x7f"),
        (b"X-Bad\r\nInjected", b"yes"),
        (b"Injected too", b"yes"),
        (b"Injected ", b"yes"),
        (b"Injected:", b"yes"),
        ("Injectedä".encode("latin-1"), b"yes"),
        (b"content-length ", b"Injected"),
        (b"", b"Injected"),
    ],
)
def test_a_header_field_that_is_none_is_left_out(
    field: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    fine = (b"X-Fine!#$%&'*+-.^_`|~09", b'tab\t, blank , \xe4 \xff "<>')
    line, had, body = said(saying(headers=[field, fine]))
    assert had == [LENGTH, b": ".join(fine), KEPT]
    assert (line, body) == (b"HTTP/1.1 200 OK", b"body")
    assert f"GET /said: the header field {field[0]!r} is none and is left out" in caplog.text


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (b"\r\nInjected: yes", b"  Injected: yes"),
        (b"a\0b\x07c\x7f", b"a b c "),
        ("ä\t!".encode(), "ä\t!".encode()),
        (b"", b""),
    ],
)
def test_a_phrase_stays_in_its_line(given: bytes, sent: bytes) -> None:
    line, fields, _ = said(saying(reason=given))
    assert (line, fields) == (b"HTTP/1.1 200 " + sent, [LENGTH, KEPT])


# --- back-pressure ---------------------------------------------------------------------------------------

CHUNK = 64 * 1024
LARGE = 256 * CHUNK
#: What buffers on the way may hold: far less than LARGE, more than all sockets and transports take here.
BUFFERED = LARGE // 8
#: Seconds without any progress after which the other side is taken to have stopped. Too short a time would
#: only make these tests see less, not fail.
STILL = 0.3
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % LARGE)]}
LOOPS = pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def run_on(loop_factory: LoopFactory, work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(work)


@contextlib.contextmanager
def client_of(listener: socket.socket) -> Iterator[socket.socket]:
    """A client's socket; its buffers and those of the server's side of the connection are small."""
    with socket.socket() as client:
        for end in (listener, client):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK)
        client.connect(listener.getsockname())
        client.setblocking(False)
        yield client


async def send_until_still(client: socket.socket, data: bytes) -> int:
    """How many bytes the connection takes before it takes no more."""
    loop = asyncio.get_running_loop()
    sent = 0
    while sent < len(data):
        try:
            sent += client.send(data[sent : sent + CHUNK])
        except BlockingIOError:
            writable = asyncio.Event()
            loop.add_writer(client, writable.set)
            try:
                async with asyncio.timeout(STILL):
                    await writable.wait()
            except TimeoutError:
                break
            finally:
                loop.remove_writer(client)
    return sent


async def receive_all(client: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    answer = bytearray()
    while data := await loop.sock_recv(client, CHUNK):
        answer += data
    return bytes(answer)


class Streaming:
    """An application that answers with LARGE bytes, piece by piece, and knows how many it got rid of."""

    def __init__(self) -> None:
        self.sent = 0
        self.progress = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        while self.sent < LARGE:
            piece = bytes([self.sent // CHUNK]) * CHUNK
            await send({"type": "http.response.body", "body": piece, "more_body": self.sent + CHUNK < LARGE})
            self.sent += CHUNK
            self.progress.set()

    async def still(self) -> None:
        """Returns when the application makes no progress any more."""
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(STILL):
                    await self.progress.wait()
                self.progress.clear()


@LOOPS
def test_a_body_that_the_application_does_not_read_is_not_read_from_the_socket(
    loop_factory: LoopFactory,
) -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % LARGE
    data = head + bytes(range(256)) * (LARGE // 256)

    async def work() -> None:
        may_read = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await may_read.wait()
            body = await read_body(receive)
            headers = [(b"content-length", b"4")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"same" if data.endswith(body) else b"lost"})
            assert len(body) == LARGE

        async with listening(app, max_body=LARGE, read_ahead=CHUNK) as (listener, _):
            with client_of(listener) as client:
                taken = await send_until_still(client, data)
                assert len(head) < taken < BUFFERED
                may_read.set()
                await asyncio.get_running_loop().sock_sendall(client, data[taken:])
                answer = await receive_all(client)
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert answer.endswith(b"\r\n\r\nsame")

    run_on(loop_factory, work())


@LOOPS
def test_an_answer_waits_for_a_client_that_does_not_read_and_is_whole_in_the_end(
    loop_factory: LoopFactory,
) -> None:
    async def work() -> None:
        app = Streaming()
        async with listening(app) as (listener, _):
            with client_of(listener) as client:
                client.send(get(b"/", b"Connection: close\r\n"))
                await app.still()
                assert 0 < app.sent < BUFFERED
                answer = await receive_all(client)
        assert app.sent == LARGE
        assert answer.partition(b"\r\n\r\n")[2] == b"".join(
            bytes([number]) * CHUNK for number in range(LARGE // CHUNK)
        )

    run_on(loop_factory, work())


@LOOPS
def test_an_answer_does_not_wait_for_a_client_that_left(loop_factory: LoopFactory) -> None:
    async def work() -> None:
        app = Streaming()
        async with listening(app) as (listener, connections):
            with client_of(listener) as client:
                client.send(get(b"/"))
                await app.still()
                assert app.sent < BUFFERED
            (connection,) = connections
            assert connection.task is not None
            await connection.task
            assert not connections

    run_on(loop_factory, work())


@LOOPS
@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
def test_a_client_that_takes_nothing_is_let_go(loop_factory: LoopFactory, close: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": bytes(LARGE)})

    async def work() -> None:
        async with listening(app, write_timeout=0.1) as (listener, connections):
            with client_of(listener) as client:
                client.send(get(b"/", close))
                while not connections:
                    await asyncio.sleep(0)
                while connections:
                    await asyncio.sleep(0.01)

    run_on(loop_factory, work())


@pytest.mark.slow
@LOOPS
def test_a_client_that_takes_its_answer_slowly_has_it_whole(loop_factory: LoopFactory) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": bytes(LARGE)})

    async def work() -> None:
        loop = asyncio.get_running_loop()
        async with listening(app, write_timeout=2.0) as (listener, _):
            with client_of(listener) as client:
                client.send(get(b"/", b"Connection: close\r\n"))
                begin, taken = loop.time(), 0
                while loop.time() < begin + 4.0:  # far longer than it may take nothing
                    taken += len(await loop.sock_recv(client, CHUNK))
                    await asyncio.sleep(0.1)
                assert taken < LARGE
                taken += len(await receive_all(client))
                assert taken > LARGE

    run_on(loop_factory, work())


def stopped(data: bytes, **limits: Any) -> bytes:
    """What comes on a connection whose server is told to stop just before the client sends."""

    async def run() -> bytes:
        async with listening(echo, **limits) as (listener, connections):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(get(b"/first"))
            await reader.readuntil(b"GET /first ")
            (connection,) = connections
            assert connection.shutdown() == limits.get("last_call", 0.5)
            writer.write(data)
            try:
                return await reader.read()
            finally:
                writer.close()

    return asyncio.run(run())


def test_a_request_that_was_on_its_way_when_the_server_stopped_is_answered_and_is_the_last() -> None:
    answer = stopped(get(b"/late"), last_call=10.0)
    assert b"HTTP/1.1 200" in answer
    assert b"connection: close\r\n\r\nGET /late " in answer


def test_a_connection_without_a_request_on_its_way_closes_when_the_server_stops() -> None:
    assert b"HTTP/1.1" not in stopped(b"", idle_timeout=20.0, last_call=0.05)


def test_requests_that_wait_in_line_are_answered_before_the_server_stops() -> None:
    async def run() -> bytes:
        begun, release = asyncio.Event(), asyncio.Event()

        async def slow(scope: dict[str, Any], receive: Any, send: Any) -> None:
            begun.set()
            await release.wait()
            await echo(scope, receive, send)

        async with listening(slow) as (listener, connections):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(get(b"/1") + get(b"/2"))
            await begun.wait()
            (connection,) = connections
            connection.shutdown()
            release.set()
            answer = await reader.read()
            writer.close()
            return answer

    answer = asyncio.run(run())
    assert answer.index(b"GET /1 ") < answer.index(b"connection: close") < answer.index(b"GET /2 ")


def test_answers_have_the_order_of_the_requests_whatever_each_takes() -> None:
    """A thousand requests over ten connections, in writes of several, whose answers take their time."""
    draw = random.Random(13)

    async def dawdling(scope: dict[str, Any], receive: Any, send: Any) -> None:
        for _ in range(draw.choice((0, 0, 1, 30))):
            await asyncio.sleep(draw.choice((0, 0, 0.0005)))
        await echo(scope, receive, send)

    async def ask(address: Any, number: int) -> None:
        paths = [b"/%d-%d" % (number, place) for place in range(100)]
        reader, writer = await asyncio.open_connection(*address)
        while paths:
            some, paths = paths[: (size := draw.randrange(1, 20))], paths[size:]
            writer.write(b"".join(map(get, some)))
            for path in some:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                assert length is not None
                assert await reader.readexactly(int(length[1])) == b"GET " + path + b" "
        writer.close()

    async def run() -> None:
        async with listening(dawdling, idle_timeout=30) as (listener, _):
            await asyncio.gather(*(ask(listener.getsockname(), number) for number in range(10)))

    asyncio.run(run())


def test_connections_share_the_names_of_what_they_hold() -> None:
    """CPython's instances do up to 29 attributes; beyond that each has a table of its own, a kilobyte."""

    async def run() -> None:
        limits = EdgeLimits(max_body=1)
        assert len(vars(Connection(echo, limits, Guests(limits), UNASKED))) < 30

    asyncio.run(run())
