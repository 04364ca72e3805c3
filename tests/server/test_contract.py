"""schemathesis holds real listeners to their own OpenAPI documents: what they take, what they answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract import hold_to_document  # type: ignore[import-not-found]  # as above

from conftest import Start, mnist_server  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

ECHO = """
def handle(data, context):
    return data and ["x"] * len(data)
"""


@pytest.mark.parametrize("listener", ["client", "manage", "metrics"])
def test_a_listener_does_what_its_document_says(serve: Start, listener: str, tmp_path: Path) -> None:
    server = serve({"echo": ECHO}, enable_model_api="true")
    hold_to_document(str(getattr(server, listener).base_url).rstrip("/"), tmp_path)
    assert "by a fault of the server" not in server.output
    assert server.client.get("/ping").status_code == 200


@pytest.mark.parametrize("listener", ["client", "manage"])
def test_a_model_is_asked_as_its_document_says(tmp_path: Path, listener: str) -> None:
    server = mnist_server(tmp_path, enable_model_api="true")
    try:
        hold_to_document(str(getattr(server, listener).base_url).rstrip("/"), tmp_path, "mnist")
        assert "by a fault of the server" not in server.output
        assert server.client.get("/v2/models/mnist/ready").json()["ready"]
    finally:
        server.stop()
