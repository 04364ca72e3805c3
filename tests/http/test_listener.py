"""Listeners with TLS on real sockets, with real clients: versions, plain HTTP, and those who only knock."""

from __future__ import annotations

import asyncio
import http.client
import resource
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificate

from torchkeeper.config.settings import CommandLine, Settings, load_settings
from torchkeeper.config.types import Address
from torchkeeper.errors import SettingsError, TorchkeeperError
from torchkeeper.http.limits import EdgeLimits
from torchkeeper.http.listener import Listener
from torchkeeper.http.tls import tls_context

CA = trustme.CA()
LEAF = CA.issue_cert("127.0.0.1")
HTTPS = Address("https", "127.0.0.1", 0)
TORCHSERVES = b'{"status":"This TorchServe instance only accepts HTTPS requests"}'
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [uvloop.new_event_loop, asyncio.new_event_loop]


def unasked(error: TorchkeeperError, target: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    return error.status, [(b"content-length", b"0")], b""


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    answer = f"{scope['scheme']} {scope['client'][0]} ".encode() + body
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture(params=["pem", "keystore"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    key, certificate = LEAF.private_key_pem.bytes(), LEAF.cert_chain_pems[0].bytes()
    lines = ["inference_address=https://127.0.0.1:0"]
    if request.param == "pem":
        (tmp_path / "key").write_bytes(key)
        (tmp_path / "certificate").write_bytes(certificate)
        lines += [f"private_key_file={tmp_path / 'key'}", f"certificate_file={tmp_path / 'certificate'}"]
    else:
        store = pkcs12.serialize_key_and_certificates(
            b"ts",
            load_pem_private_key(key, None),  # type: ignore[arg-type]  # cryptography's union of key types
            load_pem_x509_certificate(certificate),
            None,
            BestAvailableEncryption(b"s3cret"),
        )
        (tmp_path / "store").write_bytes(store)
        lines += [f"keystore={tmp_path / 'store'}", "keystore_pass=s3cret"]
    (tmp_path / "config.properties").write_text("\n".join(lines))
    return load_settings(CommandLine(), {}, tmp_path)[0]


@pytest.fixture
def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    LEAF.configure_cert(context)
    return context


@contextmanager
def listening(
    context: ssl.SSLContext | None,
    address: Address = HTTPS,
    loop_of: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
) -> Iterator[int]:
    """A listener on an event loop of its own thread; the port. At the end it is stopped with its loop."""
    listener = Listener("inference_address", address, context)
    listener.bind()
    limits = EdgeLimits(max_body=1000, drain_seconds=0.5)
    loop = loop_of()
    started = threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        await listener.start(echo, limits, unasked)
        started.set()
        await stop.wait()
        await listener.stop(1.0)
        assert len(asyncio.all_tasks()) == 1, "something was left running"

    failed: list[BaseException] = []

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(serve())
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            failed.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(10)
    try:
        assert not failed, failed
        yield listener.port
    finally:
        if not failed:
            loop.call_soon_threadsafe(stop.set)
        thread.join(20)
    assert not thread.is_alive()
    assert not failed, failed


def client_context(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def everything(sock: socket.socket) -> bytes:
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    return data


@pytest.mark.parametrize("loop_of", LOOPS, ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_https_in_both_versions(
    settings: Settings, version: ssl.TLSVersion, loop_of: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with listening(tls_context(settings), loop_of=loop_of) as port:
        client = http.client.HTTPSConnection("127.0.0.1", port, context=client_context(version), timeout=10)
        for body in (b"one", b"x" * 900):
            client.request("POST", "/", body)
            answer = client.getresponse()
            assert (answer.status, answer.read()) == (200, b"https 127.0.0.1 " + body)
        assert client.sock.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
        client.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_older_versions_are_refused_and_http_1_1_is_negotiated(settings: Settings) -> None:
    with listening(tls_context(settings)) as port:
        old = client_context()
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with connect(port) as sock, pytest.raises(ssl.SSLError):
            old.wrap_socket(sock, server_hostname="127.0.0.1")
        new = client_context()
        new.set_alpn_protocols(["h2", "http/1.1"])
        with new.wrap_socket(connect(port), server_hostname="127.0.0.1") as sock:
            assert sock.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("loop_of", LOOPS, ids=["uvloop", "asyncio"])
def test_plain_http_on_a_tls_port_is_told_so(
    server_context: ssl.SSLContext, loop_of: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with listening(server_context, loop_of=loop_of) as port:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        client.request("GET", "/ping")
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (403, TORCHSERVES)
        assert answer.headers["x-request-id"] is None
        assert answer.headers["connection"] == "close"
        client.close()


def test_a_plain_upload_on_a_tls_port_can_read_its_answer(server_context: ssl.SSLContext) -> None:
    with listening(server_context) as port, connect(port) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n" + b"x" * 900)
        assert TORCHSERVES in everything(sock)


def test_what_is_neither_is_a_400(server_context: ssl.SSLContext) -> None:
    with listening(server_context) as port, connect(port) as sock:
        sock.sendall(b"\x00\x01\x02nonsense\r\n\r\n")
        assert everything(sock).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_a_byte_at_a_time_is_enough_for_a_handshake(server_context: ssl.SSLContext) -> None:
    with listening(server_context) as port, connect(port) as sock:
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context().wrap_bio(received, sent, server_hostname="127.0.0.1")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in sent.read():
                    sock.sendall(bytes([byte]))
                received.write(sock.recv(65536))
        assert tls.version() == "TLSv1.3"


def test_the_quiet_the_broken_and_the_gone_harm_nobody(server_context: ssl.SSLContext) -> None:
    with listening(server_context) as port:
        quiet = connect(port)
        connect(port).close()
        with connect(port) as broken:
            broken.sendall(b"\x16\x03\x01\x00\x05hello")
            everything(broken)
        client = http.client.HTTPSConnection("127.0.0.1", port, context=client_context(), timeout=10)
        client.request("POST", "/", b"still here")
        assert client.getresponse().read() == b"https 127.0.0.1 still here"
        client.close()
    assert quiet.recv(1) == b""  # let go of when the listener stopped
    quiet.close()


def test_a_port_that_the_configuration_names_twice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        second = Listener("management_address", Address("http", "127.0.0.1", held.getsockname()[1]))
        with pytest.raises(SettingsError, match="held by another address of this configuration; choose"):
            second.bind()


@pytest.mark.parametrize("loop_of", LOOPS)
def test_who_takes_a_path_over_keeps_it(
    loop_of: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    """A server that was started while an earlier one still answers what it holds."""

    async def run() -> bytes:
        path = tmp_path / "socket"
        first, second = (Listener("inference_address", Address("unix", path=str(path))) for _ in range(2))
        first.bind()
        await first.start(echo, EdgeLimits(max_body=1000, last_call=0.1), unasked)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nrun")
        with pytest.raises(SettingsError, match="cannot listen there"):
            second.bind()
        stopping = asyncio.ensure_future(first.stop(10.0))
        while not await bound(second):
            assert not stopping.done()
        writer.write(b"s")
        answer = await reader.read()
        writer.close()
        await stopping
        assert path.exists()
        second_stopped = Listener("inference_address", Address("unix", path=str(path)))
        with pytest.raises(SettingsError, match="cannot listen there"):
            second_stopped.bind()
        await second.stop(1.0)
        assert not path.exists()
        return answer

    async def bound(listener: Listener) -> bool:
        await asyncio.sleep(0)
        try:
            listener.bind()
        except SettingsError:
            return False
        return True

    with asyncio.Runner(loop_factory=loop_of) as runner:
        assert runner.run(run()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("loop_of", LOOPS)
def test_connections_that_wait_to_be_accepted_when_the_server_stops_are_answered(
    loop_of: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def run() -> list[bytes]:
        listener = Listener("inference_address", Address("http", "127.0.0.1", 0))
        listener.bind()
        await listener.start(echo, EdgeLimits(max_body=1000, last_call=0.1), unasked)
        port = listener.port
        clients = [connect(port) for _ in range(3)]
        for client in clients:  # in one turn of the loop, so that it cannot have accepted any of them
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nlate")
        loop = asyncio.get_running_loop()
        reads = [loop.run_in_executor(None, everything, client) for client in clients]
        await listener.stop(10.0)
        answers = await asyncio.gather(*reads)
        for client in clients:
            client.close()
        with pytest.raises(ConnectionRefusedError):
            connect(port)
        return answers

    with asyncio.Runner(loop_factory=loop_of) as runner:
        for answer in runner.run(run()):
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert answer.endswith(b"http 127.0.0.1 late")


def test_a_stop_without_a_descriptor_left_still_answers_what_runs() -> None:
    async def run() -> bytes:
        listener = Listener("inference_address", Address("http", "127.0.0.1", 0))
        listener.bind()
        await listener.start(echo, EdgeLimits(max_body=1000, last_call=0.1), unasked)
        loop = asyncio.get_running_loop()
        client = await loop.run_in_executor(None, connect, listener.port)
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nrun")
        reading = loop.run_in_executor(None, everything, client)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            stopping = asyncio.ensure_future(listener.stop(10.0))
            await asyncio.sleep(0)
            client.sendall(b"s")
            await stopping
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        answer = await reading
        client.close()
        return answer

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()).endswith(b"http 127.0.0.1 runs")


def test_an_upload_that_is_too_large_can_read_its_answer_over_tls(server_context: ssl.SSLContext) -> None:
    with listening(server_context) as port:
        with client_context().wrap_socket(connect(port), server_hostname="127.0.0.1") as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500000)
            assert everything(sock).startswith(b"HTTP/1.1 413 ")


def test_pipelined_requests_are_answered_in_order_over_tls(server_context: ssl.SSLContext) -> None:
    with listening(server_context) as port:
        with client_context().wrap_socket(connect(port), server_hostname="127.0.0.1") as sock:
            head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
            sock.sendall(head + b"\r\n1" + head + b"\r\n2" + head + b"Connection: close\r\n\r\n3")
            answer = everything(sock)
    places = [answer.index(b"https 127.0.0.1 %d" % number) for number in (1, 2, 3)]
    assert places == sorted(places)


def test_plain_addresses_stay_plain_with_a_context_at_hand(server_context: ssl.SSLContext) -> None:
    with listening(server_context, Address("http", "127.0.0.1", 0)) as port:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        client.request("POST", "/", b"plain")
        assert client.getresponse().read() == b"http 127.0.0.1 plain"
        client.close()


def test_an_https_address_is_never_served_in_the_clear() -> None:
    async def run() -> None:
        listener = Listener("inference_address", HTTPS)
        listener.bind()
        try:
            with pytest.raises(RuntimeError, match="needs a context"):
                await listener.start(echo, EdgeLimits(max_body=1), unasked)
        finally:
            await listener.stop(0.0)

    asyncio.run(run())
