"""What errors say to clients: nothing of the machine, whatever fails, by HTTP and gRPC."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from rpc_client import Client

from servers import Server, make_archive
from torchkeeper.rpc.schema import INFERENCE, MANAGEMENT

HANDLER = """
import os, io, signal
from torchkeeper.handler.errors import PredictionException

class Thing:
    pass

def handle(data, context):
    return [one(bytes(row.get("body") or b"").decode()) for row in data or ()]

def one(said):
    if said == "file":
        open(os.path.join(os.getcwd(), "some folder", "missing.json"))
    if said == "store":
        open("/srv/models/store/missing.json")
    if said == "address":
        raise ValueError(f"cannot identify image file {Thing()}")
    if said == "picture":
        from PIL import Image
        Image.open(io.BytesIO(b"no picture"))
    if said == "weights":
        import torch
        torch.load(io.BytesIO(b"no weights"), weights_only=True)
    if said == "import":
        import not_installed_anywhere
    if said == "pid":
        os.kill(os.getpid(), signal.SIGKILL)
    if said == "leave":
        os._exit(3)
    if said == "refuse":
        raise PredictionException("not this one", 422)
    if said == "object":
        return Thing()
    if said == "deep":
        value = []
        for _ in range(100_000):
            value = [value]
        return value
    return said
"""
BROKEN = "import not_installed_anywhere\n"
JSON = {"Content-Type": "application/json"}
SAID = (
    "file",
    "store",
    "address",
    "picture",
    "weights",
    "import",
    "pid",
    "leave",
    "refuse",
    "object",
    "deep",
)
#: Requests of both APIs that are refused for what they are.
REFUSED = (
    ("GET", "/nothing", b"", {}),
    ("GET", "/ping%zz", b"", {}),
    ("PATCH", "/models", b"", {}),
    ("POST", "/predictions/none", b"", {}),
    ("POST", "/predictions/m/9.9", b"", {}),
    ("POST", "/predictions/..%2f..%2fetc%2fpasswd", b"", {}),
    ("POST", "/v1/models/none:predict", b"{}", JSON),
    ("POST", "/v1/models/m:predict", b"[", JSON),
    ("POST", "/v1/models/m:predict", b'{"instances": 1}', JSON),
    ("POST", "/v2/models/m/infer", b"{", JSON),
    ("POST", "/v2/models/m/infer", b'{"inputs": [{"name": "a"}]}', JSON),
    ("POST", "/v2/models/m/infer", b"x", {**JSON, "Content-Encoding": "gzip"}),
    ("POST", "/predictions/m", b"--x\r\nno form", {"Content-Type": "multipart/form-data; boundary=x"}),
    ("POST", "/models?url=", b"", {}),
    ("POST", "/models?url=missing.mar", b"", {}),
    ("POST", "/models?url=broken-1.0.mar&initial_workers=1&synchronous=true", b"", {}),
    ("POST", "/models?url=garbage.mar", b"", {}),
    ("POST", "/models?url=file:///etc/passwd", b"", {}),
    ("POST", "/models?url=/etc", b"", {}),
    ("POST", "/models?url=..%2f..%2fx.mar", b"", {}),
    ("POST", "/models?url=http://127.0.0.1:1/x.mar", b"", {}),
    ("POST", "/models?url=m-1.0.mar", b"", {}),
    ("PUT", "/models/m?min_worker=banana", b"", {}),
    ("PUT", "/models/m?min_worker=5&max_worker=1", b"", {}),
    ("PUT", "/models/none?min_worker=1", b"", {}),
    ("PUT", "/models/m/9.9/set-default", b"", {}),
    ("DELETE", "/models/none", b"", {}),
    ("POST", "/models", b'{"url": [', JSON),
    ("POST", "/v2/repository/models/none/load", b"{}", JSON),
    ("GET", "/workflows", b"", {}),
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("inner")
    (folder / "model_store").mkdir()
    make_archive(folder / "model_store", "m", HANDLER)
    make_archive(folder / "model_store", "broken", BROKEN)
    (folder / "model_store" / "garbage.mar").write_bytes(b"PK\3\4 no archive")
    settings = {"default_workers_per_model": 1, "enable_model_api": "true", "default_startup_timeout": 30}
    server = Server(folder, ("m=m-1.0.mar",), settings)
    yield server
    server.stop()


def check(server: Server, text: str, asked: str = "") -> None:
    """Nothing of the machine is in a text, but for what the client itself said."""
    pids = {server.process.pid, *(worker.pid for worker in server.workers())}
    inner = [
        str(server.folder),
        sys.prefix,
        "site-packages",
        "/usr/",
        "/srv/",
        "/tmp/",
        "torchkeeper.",
        "Traceback",
    ]
    inner += [str(Path.cwd()), *(str(pid) for pid in pids if pid > 999)]
    found = [word for word in inner if word in text and word not in asked]
    assert not found, text
    assert not re.search(r"0x[0-9a-fA-F]{6,}", text), text


def well_formed(answer: httpx.Response) -> None:
    body = answer.json()
    if "error" in body:
        assert list(body) == ["error"]
        return
    assert list(body)[:3] == ["code", "type", "message"]
    assert set(body) <= {"code", "type", "message", "cause"}
    assert body["code"] == answer.status_code
    assert re.fullmatch(r"[A-Z]\w+Exception", body["type"])


@pytest.mark.parametrize("api", ["client", "manage"])
@pytest.mark.parametrize(("method", "path", "content", "headers"), REFUSED)
def test_what_is_refused(
    server: Server, api: str, method: str, path: str, content: bytes, headers: dict[str, str]
) -> None:
    answer = getattr(server, api).request(method, path, content=content, headers=headers)
    if answer.status_code >= 400:
        well_formed(answer)
        check(server, answer.text, path)


@pytest.mark.parametrize("said", SAID)
def test_what_fails(server: Server, said: str) -> None:
    answer = server.client.post("/predictions/m", content=said.encode())
    assert answer.status_code >= 400
    well_formed(answer)
    check(server, answer.text)
    v1 = server.client.post("/v1/models/m:predict", content=json.dumps({"instances": [said]}))
    if v1.status_code >= 400:
        check(server, v1.text)
    client = Client(server.grpc)
    with pytest.raises(grpc.RpcError) as failed:
        client[INFERENCE, "Predictions"](model_name="m", input={"body": said.encode()})
    client.channel.close()
    check(server, str(failed.value.details()))
    check(server, str(failed.value.trailing_metadata()))


@pytest.mark.parametrize(
    "url", ["missing.mar", "garbage.mar", "broken-1.0.mar", "file:///etc/passwd", "../x.mar"]
)
def test_what_fails_of_management_by_grpc(server: Server, url: str) -> None:
    client = Client(server.grpc_manage)
    with pytest.raises(grpc.RpcError) as failed:
        client[MANAGEMENT, "RegisterModel"](url=url, initial_workers=1, synchronous=True)
    client.channel.close()
    check(server, str(failed.value.details()), url)
    check(server, str(failed.value.trailing_metadata()), url)


@pytest.mark.parametrize(
    "sends", [b"GET  / HTTP/1.1\r\n\r\n", b"\0", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
)
def test_what_is_no_request(server: Server, sends: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(sends)
        check(server, client.recv(1 << 16).decode())
