"""schemathesis holds real listeners to their own OpenAPI documents: what they take, what they answer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import BIN, Start  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

ECHO = """
def handle(data, context):
    return data and ["x"] * len(data)
"""
#: What schemathesis would have otherwise, and TorchServe has not: routes for any method; parameters that fit
#: one by one and not together; 503 as an honest answer.
OTHERWISE = "unsupported_method,positive_data_acceptance,not_a_server_error"
#: A number of workers that the schema allows may be more than this machine's memory does.
COSTLY = ("put /models/{model_name}", "put /models/{model_name}/{model_version}")


@pytest.mark.parametrize("listener", ["client", "manage", "metrics"])
def test_a_listener_does_what_its_document_says(serve: Start, listener: str, tmp_path: Path) -> None:
    server = serve({"echo": ECHO}, enable_model_api="true")
    base = str(getattr(server, listener).base_url).rstrip("/")
    done = subprocess.run(
        [
            BIN / "st",
            *("run", f"{base}/api-description", "--no-color"),
            *("--phases", "coverage,fuzzing", "--max-examples", "10", "--seed", "1"),
            *("--generation-database", "none", "--exclude-checks", OTHERWISE),
            *(f"--exclude-operation-id={operation}" for operation in COSTLY),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert "Tested: " in done.stdout
    assert "by a fault of the server" not in server.output
    assert server.client.get("/ping").status_code == 200
