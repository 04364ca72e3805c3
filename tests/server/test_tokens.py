"""Token authorization and TLS on a real server: which key opens what, and how keys are renewed."""

from __future__ import annotations

import json
import os
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from conftest import Server, make_archive  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

HANDLER = """
import os

def handle(data, context):
    if data is not None:
        return [sorted(name for name in os.environ if name.endswith("_KEY"))] * len(data)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "echo", HANDLER)
    running = Server(tmp_path, ("echo-1.0.mar",), {"enable_model_api": "true"}, flags=())
    yield running
    running.stop()
    assert not (tmp_path / "key_file.json").exists()


def keys(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((server.folder / "key_file.json").read_text())
    return {name: kept["key"] for name, kept in found.items()}


def bearing(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_each_key_opens_its_own_door(server: Server) -> None:
    assert stat.S_IMODE(os.stat(server.folder / "key_file.json").st_mode) == 0o600
    held = keys(server)
    for client, path, right, field in (
        (server.client, "/predictions/echo", "inference", "message"),
        (server.manage, "/models", "management", "message"),
        (server.manage, "/v1/models/echo", "management", "error"),
    ):
        for name, key in held.items():
            answer = client.get(path, headers=bearing(key))
            assert (answer.status_code == 200) == (name == right), (path, name)
        refused = client.get(path)
        assert refused.status_code == 400
        assert refused.json()[field] == (
            "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
        )
        assert field == "error" or refused.json()["type"] == "InvalidKeyException"
    assert server.client.get("/ping").status_code == 200
    assert server.client.get("/api-description").status_code == 200


def test_the_api_key_renews_the_others(server: Server) -> None:
    before = keys(server)
    renewed = server.manage.get("/token?type=inference", headers=bearing(before["API"]))
    assert (renewed.status_code, renewed.content) == (200, b"\n")
    after = keys(server)
    assert after["inference"] != before["inference"]
    assert after["management"] == before["management"]
    asked = [
        server.client.get("/predictions/echo", headers=bearing(held["inference"])) for held in (before, after)
    ]
    assert [answer.status_code for answer in asked] == [400, 200]
    wrong = server.manage.get("/token?type=inference", headers=bearing(after["management"]))
    assert (wrong.status_code, wrong.json()["message"]) == (
        400,
        "Token Authentication failed. Token either incorrect, expired, or not provided correctly",
    )


def test_one_address_with_tokens_and_given_keys_that_handlers_never_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "echo", HANDLER)
    monkeypatch.setenv("TS_INFERENCE_KEY", "inference-key-0123456789")
    for name in ("MANAGEMENT", "API"):
        (tmp_path / name).write_text(f"{name.lower()}-key-0123456789\n")
        monkeypatch.setenv(f"TS_{name}_KEY_FILE", str(tmp_path / name))
    path = tmp_path / "both.sock"
    addresses = {"inference_address": f"unix:{path}", "management_address": f"unix:{path}"}
    server = Server(tmp_path, ("echo-1.0.mar",), {**addresses, "strict_http_auth": "true"}, flags=())
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(path)), base_url="http://both", timeout=60
    ) as client:
        answer = client.post("/predictions/echo", headers=bearing("inference-key-0123456789"))
        assert (answer.status_code, answer.json()) == (200, [])
        assert client.get("/models", headers=bearing("management-key-0123456789")).status_code == 200
        assert client.get("/models", headers=bearing("inference-key-0123456789")).status_code == 403
        nothing = client.get("/models")
        assert (nothing.status_code, nothing.headers["www-authenticate"]) == (401, "Bearer")
    assert not (tmp_path / "key_file.json").exists()
    server.stop()


def test_https(tmp_path: Path) -> None:
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "echo", HANDLER)
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    settings = {
        "inference_address": "https://127.0.0.1:0",
        "private_key_file": tmp_path / "key.pem",
        "certificate_file": tmp_path / "cert.pem",
    }
    server = Server(tmp_path, ("echo-1.0.mar",), settings)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with httpx.Client(verify=context, base_url=f"https://127.0.0.1:{server.port}", timeout=60) as client:
        assert client.post("/predictions/echo", content=b"x").status_code == 200
    plain = server.client.get("/ping")
    assert plain.status_code == 403
    server.stop()
