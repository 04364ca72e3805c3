"""Which services stand on which gRPC port, which ports may be missing, and how all of them stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import trustme
from grpc_reflection.v1alpha import reflection_pb2

from models.stand_in import House, archive, said, turns
from rpc import spoken
from torchkeeper.config.settings import CommandLine, Settings, load_settings
from torchkeeper.errors import SettingsError
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.models.registry import Wish
from torchkeeper.rpc import front
from torchkeeper.rpc.front import RpcFront, open_front
from torchkeeper.rpc.schema import (
    HEALTH,
    INFERENCE,
    MANAGEMENT,
    OPEN_INFERENCE,
    TORCHSERVE_OPEN_INFERENCE,
)
from torchkeeper.serving.ask import Ask
from torchkeeper.serving.books import Books
from torchkeeper.serving.operations import Operations
from torchkeeper.serving.traffic import Traffic

REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
FREE = "grpc_inference_port=0\ngrpc_management_port=0\n"
OF_INFERENCE = {INFERENCE, OPEN_INFERENCE, TORCHSERVE_OPEN_INFERENCE}
AUTHORITY = trustme.CA()


def settings_of(folder: Path, text: str, **environ: str) -> Settings:
    (folder / "config.properties").write_text(text)
    return load_settings(CommandLine(), {"TEMP": str(folder), **environ}, folder)[0]


@contextmanager
def holding(count: int = 1) -> Iterator[list[int]]:
    """Ports that are taken."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        yield [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()


def a_free_port() -> int:
    with holding() as (port,):
        return port


class Started:
    """A front that serves a registry without processes."""

    def __init__(self, folder: Path, text: str, **environ: str) -> None:
        self.house = House(folder)
        self.ledger = Ledger()
        self.front, self.warnings = open_front(settings_of(folder, text, **environ))
        self.clients: list[spoken.Client] = []

    async def start(self) -> None:
        models = self.house.models
        ask = Ask(Traffic(models))

        async def unchanged() -> None: ...

        operations = Operations(ask, models, self.house.settings, unchanged)
        await self.front.start(ask, models, operations, Books(self.ledger))

    def client(self, place: int, credentials: grpc.ChannelCredentials | None = None) -> spoken.Client:
        """A client of one of the ports."""
        client = spoken.Client(ports(self.front)[place], credentials)
        self.clients.append(client)
        return client

    async def stop(self) -> None:
        await self.front.stop(1.0)
        for client in self.clients:
            await client.channel.close()
        await self.house.models.stop(1.0)
        assert self.ledger.in_flight == 0


def ports(front: RpcFront) -> list[int]:
    return [door.listener.port for door in front._doors]


def run(
    folder: Path, scene: Callable[[Started], Awaitable[None]], text: str = FREE, **environ: str
) -> Started:
    kept: list[Started] = []

    async def main() -> None:
        started = Started(folder, text, **environ)
        kept.append(started)
        await started.start()
        try:
            await scene(started)
        finally:
            await started.stop()

    spoken.run(main)
    return kept[0]


async def reflected(client: spoken.Client) -> set[str]:
    """The services that a port says it has."""
    call = client.channel.stream_stream(
        f"/{REFLECTION}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    answer: Any = await call.read()
    return {service.name for service in answer.list_services_response.service}


def test_inference_and_management_stand_on_ports_of_their_own(tmp_path: Path) -> None:
    async def scene(started: Started) -> None:
        inference, management = started.client(0), started.client(1)
        assert await reflected(inference) == {*OF_INFERENCE, HEALTH, REFLECTION}
        assert await reflected(management) == {MANAGEMENT, HEALTH, REFLECTION}
        assert "Healthy" in (await inference.begin(INFERENCE, "Ping")).health
        assert '"models": []' in (await management.begin(MANAGEMENT, "ListModels")).msg
        assert (await management.refusal(INFERENCE, "Ping"))[0] == "UNIMPLEMENTED"
        assert (await inference.refusal(MANAGEMENT, "ListModels"))[0] == "UNIMPLEMENTED"

    assert not run(tmp_path, scene).warnings


def test_one_port_has_all_services_and_its_health_knows_them(tmp_path: Path) -> None:
    port = a_free_port()

    async def scene(started: Started) -> None:
        assert ports(started.front) == [port]
        client = started.client(0)
        assert await reflected(client) == {*OF_INFERENCE, MANAGEMENT, HEALTH, REFLECTION}
        statuses = (await client.begin(HEALTH, "List")).statuses
        assert set(statuses) == {"", *OF_INFERENCE, MANAGEMENT}

    run(tmp_path, scene, f"grpc_inference_port={port}\ngrpc_management_port={port}\n")


def test_under_kserve_there_is_one_more_port_for_inference_and_it_is_plain(tmp_path: Path) -> None:
    leaf = AUTHORITY.issue_cert("127.0.0.1")
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    tls = f"""
enable_grpc_ssl=true
private_key_file={tmp_path / "key.pem"}
certificate_file={tmp_path / "certificate.pem"}
kserve_grpc_port={a_free_port()}
"""

    async def scene(started: Started) -> None:
        trusting = grpc.ssl_channel_credentials(AUTHORITY.cert_pem.bytes())
        assert (await started.client(0, trusting).begin(OPEN_INFERENCE, "ServerLive")).live
        assert "models" in (await started.client(1, trusting).begin(MANAGEMENT, "ListModels")).msg
        plain = started.client(2)
        assert (await plain.begin(OPEN_INFERENCE, "ServerLive")).live
        assert await reflected(plain) == {*OF_INFERENCE, HEALTH, REFLECTION}

    run(tmp_path, scene, FREE + tls, PROTOCOL_VERSION="grpc-v2")


def test_the_log_names_every_port(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found: list[int] = []

    async def scene(started: Started) -> None:
        found.extend(ports(started.front))

    with caplog.at_level("INFO", "torchkeeper.rpc.front"):
        run(tmp_path, scene)
    names = ("inference", "management")
    said = [record.message for record in caplog.records if record.name == "torchkeeper.rpc.front"]
    assert said == [
        f"gRPC {name} API bind to: 127.0.0.1 (port {port})" for name, port in zip(names, found, strict=True)
    ]


def test_a_port_that_was_asked_for_and_is_taken_ends_the_start_and_lets_the_others_go(tmp_path: Path) -> None:
    free = a_free_port()
    with holding() as (taken,):
        text = f"grpc_inference_port={free}\ngrpc_management_port={taken}\n"
        with pytest.raises(SettingsError, match=rf"grpc_management_port={taken} .*Address already in use"):
            open_front(settings_of(tmp_path, text))
        with socket.create_server(("127.0.0.1", free)):
            pass


@pytest.mark.usefixtures("known_ports")
def test_a_default_port_that_is_taken_is_a_warning(tmp_path: Path) -> None:
    holders = []
    for port in (7070, 7071):
        try:
            holders.append(socket.create_server(("127.0.0.1", port)))
        except OSError:  # somebody else's: taken all the same
            continue
    started = Started(tmp_path, "")
    for holder in holders:
        holder.close()
    assert ports(started.front) == []

    async def scene() -> None:
        await started.start()
        await started.stop()

    asyncio.run(scene())
    for warning, port, name in zip(started.warnings, (7070, 7071), ("INFERENCE", "MANAGEMENT"), strict=True):
        assert warning.startswith(
            f"THE gRPC {name} API IS NOT SERVED: grpc_{name.lower()}_port={port} (host 127.0.0.1): cannot"
        )


def test_tls_without_a_certificate_ends_the_start_before_a_port_is_taken(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="enable_grpc_ssl=true: TLS needs a certificate"):
        open_front(settings_of(tmp_path, FREE + "enable_grpc_ssl=true\n"))


def test_a_stop_answers_what_runs_and_does_not_wait_for_what_tools_keep_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "LAST_WORDS", 0.05)

    async def scene(started: Started) -> None:
        archive(started.house.store, "m")
        await started.house.models.register(Wish("m-1.0.mar", given=said(initial_workers=1)))
        more = asyncio.Event()

        async def kept() -> AsyncIterator[bytes]:
            yield b""
            await more.wait()

        client = started.client(0)
        watch = started.client(1).begin(HEALTH, "Watch")
        await watch.read()
        reflection: Any = client.channel.stream_stream(f"/{REFLECTION}/ServerReflectionInfo")(kept())
        await reflection.read()
        running = client.begin(INFERENCE, "Predictions", model_name="m")
        await turns(lambda: any(process.held for process in started.house.launcher.living))
        stop = asyncio.ensure_future(started.front.stop(30.0))
        assert (await watch.read()).status == 2  # not serving
        assert not stop.done()
        started.house.launcher.living[0].answer()
        assert (await running).prediction == b"done"
        await stop
        more.set()

    assert run(tmp_path, scene).ledger.answered == 2


def test_a_stop_before_the_start_does_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        opened, _ = open_front(settings_of(tmp_path, FREE))
        await opened.stop(1.0)
        for door in opened._doors:
            door.listener.release()

    spoken.run(main)
