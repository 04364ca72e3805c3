"""gRPC's ports on real servers: tokens, TLS, ages of connections, ports that are taken, reflection."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from rpc_client import Client, refusal  # type: ignore[import-not-found]  # likewise

from conftest import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    BIN,
    Server,
    Start,
    make_archive,
)
from torchkeeper.rpc.schema import HEALTH, INFERENCE, MANAGEMENT, OPEN_INFERENCE

pytestmark = pytest.mark.slow

HANDLER = """
def handle(data, context):
    if data is not None:
        return [b"answer"] * len(data)
"""


def started(folder: Path, flags: tuple[str, ...] = ("--disable-token-auth",), **settings: object) -> Server:
    (folder / "model_store").mkdir()
    make_archive(folder / "model_store", "echo", HANDLER)
    return Server(folder, ("echo=echo-1.0.mar",), settings, flags=flags)


@pytest.mark.parametrize("strict", ["false", "true"])
def test_tokens(tmp_path: Path, strict: str) -> None:
    server = started(tmp_path, flags=(), strict_http_auth=strict, token_protect_ping="false")
    kept = json.loads((server.folder / "key_file.json").read_text())
    inference, management = Client(server.grpc), Client(server.grpc_manage)

    def bearing(name: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {kept[name]['key']}"),)

    for client, place, right in (
        (inference, (INFERENCE, "Predictions"), "inference"),
        (management, (MANAGEMENT, "DescribeModel"), "management"),
    ):
        for name in kept:
            if name == right:
                client[place](model_name="echo", metadata=bearing(name))
            else:
                code, details = refusal(
                    lambda client=client, place=place, name=name: client[place](
                        model_name="echo", metadata=bearing(name)
                    )
                )
                assert code == "PERMISSION_DENIED"
                assert details == (
                    "Token Authorization failed. Token either incorrect, expired, or not provided correctly\n"
                    "org.pytorch.serve.http.InvalidKeyException"
                )
        code, _ = refusal(lambda client=client, place=place: client[place](model_name="echo"))
        assert code == ("UNAUTHENTICATED" if strict == "true" else "PERMISSION_DENIED")
    assert refusal(lambda: list(inference[INFERENCE, "StreamPredictions2"](request=iter(()))))[0] == code
    for place in ((INFERENCE, "Ping"), (OPEN_INFERENCE, "ServerLive"), (OPEN_INFERENCE, "ServerReady")):
        inference[place]()
    management[HEALTH, "Check"]()
    inference.channel.close()
    management.channel.close()
    server.stop()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def pem(folder: Path, issued: trustme.LeafCert) -> dict[str, object]:
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(folder / "cert.pem", append=True)
    return {"private_key_file": folder / "key.pem", "certificate_file": folder / "cert.pem"}


def keystore(folder: Path, issued: trustme.LeafCert) -> dict[str, object]:
    key: Any = load_pem_private_key(issued.private_key_pem.bytes(), None)
    certificate = load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
    store = pkcs12.serialize_key_and_certificates(
        b"server", key, certificate, None, BestAvailableEncryption(b"secret")
    )
    (folder / "keystore.p12").write_bytes(store)
    return {"keystore": folder / "keystore.p12", "keystore_pass": "secret"}


@pytest.mark.parametrize("form", [pem, keystore])
def test_tls(tmp_path: Path, authority: trustme.CA, form: Any) -> None:
    settings = form(tmp_path, authority.issue_cert("127.0.0.1"))
    server = started(tmp_path, enable_grpc_ssl="true", **settings)
    trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    for target in (server.grpc, server.grpc_manage):
        client = Client(target, trusted)
        assert client[HEALTH, "Check"]().status in (1, 2)
        client.channel.close()
    plain = Client(server.grpc)
    assert refusal(lambda: plain[INFERENCE, "Ping"]())[0] == "UNAVAILABLE"
    plain.channel.close()
    server.stop()


def test_a_connection_of_age_is_told_to_go(tmp_path: Path) -> None:
    server = started(
        tmp_path,
        grpc_inference_max_connection_age_ms=200,
        grpc_inference_max_connection_age_grace_ms=100,
    )
    client = Client(server.grpc)
    watched = client[HEALTH, "Watch"]()
    assert refusal(lambda: list(watched))[0] == "UNAVAILABLE"
    assert "Healthy" in client[INFERENCE, "Ping"]().health
    client.channel.close()
    server.stop()


def test_reflection_knows_every_service(serve: Start) -> None:
    server: Server = serve({"echo": HANDLER})
    channel = grpc.insecure_channel(server.grpc)
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert services >= {INFERENCE, OPEN_INFERENCE, HEALTH}
    assert MANAGEMENT not in services
    pool = DescriptorPool(database)
    for name in services - {"grpc.reflection.v1alpha.ServerReflection"}:
        assert pool.FindServiceByName(name).methods
    assert pool.FindMessageTypeByName("inference.ModelMetadataResponse").fields_by_name["properties"]
    channel.close()


def test_one_port_for_both(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
    server = started(tmp_path, grpc_inference_port=port, grpc_management_port=port)
    assert server.grpc == server.grpc_manage == f"127.0.0.1:{port}"
    client = Client(server.grpc)
    assert client[INFERENCE, "Predictions"](model_name="echo").prediction == b"answer"
    assert json.loads(client[MANAGEMENT, "ListModels"]().msg)["models"][0]["modelName"] == "echo"
    client.channel.close()
    server.stop()


def run(folder: Path, config: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail."""
    (folder / "model_store").mkdir(exist_ok=True)
    apis = ("inference", "management", "metrics")
    addresses = "".join(f"{api}_address=http://127.0.0.1:0\n" for api in apis)
    (folder / "config.properties").write_text(addresses + config)
    command = ["--foreground", "--ncs", "--disable-token-auth", "--model-store", "model_store"]
    return subprocess.run(
        [BIN / "torchserve", *command],
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, "TEMP": str(folder), "TMPDIR": str(folder), **environ},
    )


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


def test_a_port_that_was_asked_for_and_is_taken(tmp_path: Path, taken: int) -> None:
    done = run(tmp_path, f"grpc_inference_port=0\ngrpc_management_port={taken}\n")
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"Invalid configuration: grpc_management_port={taken} (host 127.0.0.1): cannot listen there: "
        "Address already in use"
    )
    done = run(tmp_path, "grpc_inference_address=no.such.host.invalid\n")
    assert done.returncode == 1
    assert "grpc_inference_address=no.such.host.invalid: no such host" in done.stderr
    done = run(tmp_path, "grpc_inference_port=0\ngrpc_management_port=0\nenable_grpc_ssl=true\n")
    assert done.returncode == 1
    assert "enable_grpc_ssl=true: TLS needs a certificate" in done.stderr


@pytest.mark.usefixtures("known_ports")
def test_a_default_port_that_is_taken_is_no_reason_not_to_serve(tmp_path: Path) -> None:
    holders = []
    for port in (7070, 7071):
        try:
            holders.append(socket.create_server(("127.0.0.1", port)))
        except OSError:  # somebody else's: taken all the same
            continue
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "echo", HANDLER)
    server = Server(tmp_path, ("echo=echo-1.0.mar",), {}, rpc_ports=False)
    for port, name in ((7070, "INFERENCE"), (7071, "MANAGEMENT")):
        server.wait_for(rf"THE gRPC {name} API IS NOT SERVED: grpc_{name.lower()}_port={port} .*cannot")
    assert server.client.post("/predictions/echo").text == "answer"
    server.stop()
    for holder in holders:
        holder.close()


def test_without_the_packages_rest_is_served(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['grpc'] = None  # what an import of a missing package comes to\n"
    )
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "echo", HANDLER)
    path = os.pathsep.join((str(tmp_path), *filter(None, (os.environ.get("PYTHONPATH"),))))
    server = Server(tmp_path, ("echo=echo-1.0.mar",), {}, rpc_ports=False, environ={"PYTHONPATH": path})
    server.wait_for(r"gRPC is not served: grpc is missing; pip install 'torchkeeper\[grpc\]'")
    assert server.client.post("/predictions/echo").text == "answer"
    server.stop()


def test_a_start_without_grpc_imports_none_of_it() -> None:
    probe = "import sys, torchkeeper.server; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], timeout=30).returncode == 0
