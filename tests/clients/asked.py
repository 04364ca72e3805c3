"""A server with digits to ask for, and programs of others that ask it."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from servers import Server, eventually, mnist_server
from tools import tool

HERE = Path(__file__).parent
#: A model without workers.
IDLE = "idle"
#: What the model says of itself to clients of v2.
CONFIG = """\
batchSize: 16
v2Inputs: [{name: x, datatype: FP32, shape: [1, 28, 28]}]
v2Outputs: [{name: x, datatype: INT64, shape: [1]}]
"""
#: Seconds that a client may take, for all it asks.
PATIENCE = 60


@contextlib.contextmanager
def digits(folder: Path) -> Iterator[Server]:
    """The MNIST example as the ready models mnist and mnist_explain, and as `idle`, which has no workers."""
    server = mnist_server(folder, CONFIG, enable_model_api="true", default_workers_per_model=1)
    try:
        idle = {"url": "mnist.mar", "model_name": IDLE, "initial_workers": "0"}
        assert server.manage.post("/models", params=idle).status_code == 200
        eventually(lambda: server.client.get("/v2/health/ready").status_code == 200)
        yield server
    finally:
        server.stop()


def ask(client: str, script: str, server: Server) -> Any:
    """What a script of this folder tells of the server, run in the client's own environment."""
    python = tool(client) / "python"
    urls = [str(found.base_url).rstrip("/") for found in (server.client, server.manage)]
    command = [python, HERE / script, *urls, server.grpc, IDLE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
