"""A server with `strict=true`: what is fetched, and what is told of what is not."""

from __future__ import annotations

import hashlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Server, make_archive  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

HANDLER = "def handle(data, context):\n    return data and ['ok' for row in data]\n"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """Sends a good archive, and a bad one."""
    (tmp_path / "host").mkdir()
    make_archive(tmp_path / "host", "m", HANDLER)
    (tmp_path / "host" / "bad.mar").write_text("no archive")

    class Host(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "host"))

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a strict server; it is stopped and its ledger checked."""
    servers: list[Server] = []

    def with_settings(**settings: object) -> Server:
        (tmp_path / "model_store").mkdir()
        servers.append(Server(tmp_path, (), {"strict": True, "enable_model_api": True, **settings}))
        return servers[-1]

    yield with_settings
    for server in servers:
        server.stop()


def pinned(folder: Path, url: str, name: str) -> str:
    return f"{url}/{name}#sha256={hashlib.sha256((folder / 'host' / name).read_bytes()).hexdigest()}"


def register(server: Server, url: str) -> tuple[int, str, str | None]:
    answer = server.manage.post("/models", params={"url": url, "initial_workers": 1, "synchronous": True})
    said = answer.json()
    return answer.status_code, said.get("message", "").replace(url, "URL"), said.get("cause")


def test_what_is_listed_and_pinned_is_fetched_and_all_else_sounds_the_same(
    tmp_path: Path, host: str, start: Callable[..., Server]
) -> None:
    settings = {"allowed_urls": r"http://127\\.0\\.0\\.[12]:.*", "allowed_addresses": "127.0.0.1"}
    server = start(**settings)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        closed = f"http://127.0.0.1:{sock.getsockname()[1]}/m.mar#sha256={'0' * 64}"
    failed = 400, "Failed to download archive from: URL", "the server's log says why"
    assert register(server, pinned(tmp_path, host, "bad.mar")) == failed
    assert register(server, f"{host}/absent.mar#sha256={'0' * 64}") == failed
    assert register(server, f"{host}/m-1.0.mar#sha256={'0' * 64}") == failed
    assert register(server, closed) == failed
    assert register(server, pinned(tmp_path, host.replace("0.1:", "0.2:"), "m-1.0.mar")) == failed
    for said in ("neither a zip file", "File not found", "not the pinned", "Connection refused"):
        server.wait_for(said)
    server.wait_for("has the address 127.0.0.2, which is not public")
    status, message, cause = register(server, f"{host}/m-1.0.mar")
    assert (status, message, cause and "#sha256=" in cause) == (404, "Model not found at: URL", True)
    assert not list((tmp_path / "model_store").iterdir())
    assert register(server, pinned(tmp_path, host, "m-1.0.mar"))[0] == 200
    assert server.client.post("/predictions/m", content=b"x").text == "ok"


def test_nothing_is_fetched_unless_it_is_listed(
    tmp_path: Path, host: str, start: Callable[..., Server]
) -> None:
    server = start()
    for url in (pinned(tmp_path, host, "m-1.0.mar"), f"file:///etc/passwd#sha256={'0' * 64}"):
        status, message, _ = register(server, url)
        assert status == 404
        assert message.endswith("does not match any allowed URL(s)")
