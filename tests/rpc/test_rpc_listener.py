"""gRPC's listeners: a port is taken early, served later and let go; what is said when it cannot be."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
import pytest
import trustme

from engine.stand_ins import until
from rpc import spoken
from torchkeeper.errors import SettingsError
from torchkeeper.keys.key import Key
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.rpc.calls import Calls, RpcCall
from torchkeeper.rpc.listener import Options, RpcListener
from torchkeeper.rpc.schema import INFERENCE, message, methods
from torchkeeper.serving.books import Books

NAME = "grpc_inference_port"
PredictionResponse = message("org.pytorch.serve.grpc.inference.PredictionResponse")
AUTHORITY = trustme.CA()
LEAF = AUTHORITY.issue_cert("127.0.0.1")


class Echo:
    """A service whose answer is its request, at once or when it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.begun = asyncio.Event()
        self.calls = Calls(Books(Ledger()))

    async def serve(self, call: RpcCall, request: Any) -> Any:
        self.begun.set()
        await self.go.wait()
        return PredictionResponse(prediction=request.input["data"])

    def services(self) -> spoken.Services:
        (method,) = (method for method in methods(INFERENCE) if method.name == "Predictions")
        return {INFERENCE: {method.name: self.calls.handler(method, self.serve, key=Key.INFERENCE)}}


def bound(host: str = "127.0.0.1", port: int = 0) -> RpcListener:
    listener = RpcListener(NAME, host, port)
    listener.bind()
    return listener


def listens(port: int) -> bool:
    """Whether a connection is accepted there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run(
    scene: Callable[[Echo, RpcListener, spoken.Client], Awaitable[None]],
    options: Options = spoken.OPTIONS,
    server: grpc.ServerCredentials | None = None,
    client: grpc.ChannelCredentials | None = None,
) -> None:
    async def main() -> None:
        echo, listener = Echo(), bound()
        await listener.start(echo.services(), options, server, lambda server: None)
        asking = spoken.Client(listener.port, client)
        try:
            await scene(echo, listener, asking)
        finally:
            await asking.channel.close()
            await listener.stop(0.0)

    spoken.run(main)


def ask(client: spoken.Client, data: bytes = b"1") -> Any:
    return client.begin(INFERENCE, "Predictions", input={"data": data})


def test_port_0_is_a_free_one_that_is_known_before_it_is_served() -> None:
    async def scene(echo: Echo, listener: RpcListener, client: spoken.Client) -> None:
        assert listener.port > 0
        assert (await ask(client)).prediction == b"1"

    run(scene)


def test_a_port_that_is_bound_is_nobody_elses_until_it_is_released() -> None:
    listener = bound()
    with pytest.raises(OSError, match="in use"), socket.socket() as other:
        other.bind(("127.0.0.1", listener.port))
    listener.release()
    with socket.socket() as other:
        other.bind(("127.0.0.1", listener.port))
    listener.release()


def test_a_port_that_is_taken_is_said_with_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(SettingsError) as raised:
            bound(port=port)
    assert raised.value.message == (
        f"{NAME}={port} (host 127.0.0.1): cannot listen there: Address already in use, "
        "held by another address of this configuration; choose another port"
    )


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("no.such.host.invalid", r"grpc_inference_address=no\.such\.host\.invalid: no such host: "),
        ("192.0.2.1", rf"{NAME}=0 \(host 192\.0\.2\.1\): cannot listen there: Cannot assign requested"),
    ],
)
def test_a_host_that_is_not_this_machines_is_said(host: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        bound(host)
    assert re.match(said, raised.value.message)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_hosts_of_every_form_are_served(host: str) -> None:
    async def main() -> None:
        try:
            listener = bound(host)
        except SettingsError:
            pytest.skip("this machine has no IPv6")
        await listener.start(Echo().services(), spoken.OPTIONS, None, lambda server: None)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as client:
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, (host, listener.port))
        await listener.stop(0.0)

    spoken.run(main)


def test_somebody_who_was_faster_is_said() -> None:
    async def main() -> None:
        listener = bound()
        with socket.socket() as faster:
            faster.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            faster.bind(("127.0.0.1", listener.port))
            faster.listen()
            with pytest.raises(SettingsError, match=rf"{NAME}={listener.port} .*Address already in use"):
                await listener.start({}, spoken.OPTIONS, None, lambda server: None)
        await listener.stop(0.0)

    spoken.run(main)


def test_what_comes_as_a_servicer_of_its_own_is_added() -> None:
    added: list[grpc.aio.Server] = []

    async def main() -> None:
        listener = bound()
        await listener.start({}, spoken.OPTIONS, None, added.append)
        await listener.stop(0.0)

    spoken.run(main)
    assert len(added) == 1


def test_a_request_that_is_too_large_is_refused_and_an_answer_never_is() -> None:
    async def scene(echo: Echo, listener: RpcListener, client: spoken.Client) -> None:
        assert (await ask(client, bytes(900))).prediction == bytes(900)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(client, bytes(1100))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    run(scene, Options(max_request=1000))


def test_bounds_are_said_in_grpcs_words_and_only_if_there_are_some() -> None:
    always = {"grpc.so_reuseport": 0, "grpc.max_receive_message_length": 7}
    always |= {"grpc.max_send_message_length": -1}
    unseen = ("grpc.server.max_pending_requests", "grpc.server.max_pending_requests_hard_limit")
    always |= dict.fromkeys(unseen, 32768)
    assert dict(Options(7).channel()) == always
    ages = {"grpc.max_connection_age_ms": 8, "grpc.max_connection_age_grace_ms": 9}
    assert dict(Options(7, 8, 9).channel()) == always | ages


def test_tls_is_for_those_who_trust_and_not_for_plain_clients() -> None:
    server = grpc.ssl_server_credentials([(LEAF.private_key_pem.bytes(), LEAF.cert_chain_pems[0].bytes())])

    async def scene(echo: Echo, listener: RpcListener, client: spoken.Client) -> None:
        assert (await ask(client)).prediction == b"1"
        plain = spoken.Client(listener.port)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(plain)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        await plain.channel.close()

    run(scene, server=server, client=grpc.ssl_channel_credentials(AUTHORITY.cert_pem.bytes()))


def test_a_stop_lets_running_calls_finish_and_takes_no_more() -> None:
    async def scene(echo: Echo, listener: RpcListener, client: spoken.Client) -> None:
        echo.go.clear()
        running = ask(client)
        await echo.begun.wait()
        stop = asyncio.ensure_future(listener.stop(30.0))
        await until(lambda: not listens(listener.port))
        echo.go.set()
        assert (await running).prediction == b"1"
        await stop

    run(scene)


def test_a_stop_ends_what_is_not_done_in_time() -> None:
    async def scene(echo: Echo, listener: RpcListener, client: spoken.Client) -> None:
        echo.go.clear()
        running = ask(client)
        await echo.begun.wait()
        await listener.stop(0.01)
        with pytest.raises(grpc.aio.AioRpcError):
            await running

    run(scene)


def test_a_stop_before_the_start_does_nothing() -> None:
    async def main() -> None:
        listener = RpcListener(NAME, "127.0.0.1", 0)
        await listener.stop(1.0)

    spoken.run(main)


def test_a_flood_of_calls_that_are_taken_back_ends_nobody_elses() -> None:
    """They come while the event loop has no time for them; others' calls come behind them."""

    async def scene(echo: Echo, listener: RpcListener, client: spoken.Client) -> None:
        apart = [("grpc.use_local_subchannel_pool", 1)]
        fickle, other = (grpc.insecure_channel(f"127.0.0.1:{listener.port}", apart) for _ in range(2))
        begin, ask = (
            channel.unary_unary(f"/{INFERENCE}/Predictions", None, PredictionResponse.FromString)
            for channel in (fickle, other)
        )
        for call in (begin, ask):  # both are connected
            await asyncio.to_thread(call, b"")
        for _ in range(5000):  # nothing is awaited meanwhile
            begin.future(b"").cancel()
        asked = [ask.future(b"") for _ in range(20)]
        answers = await asyncio.to_thread(lambda: [call.exception(timeout=60) for call in asked])
        assert answers == [None] * len(asked)
        for channel in (fickle, other):
            channel.close()

    run(scene)
