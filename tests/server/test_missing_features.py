"""A model that asks for what is not here: one sentence by REST, gRPC, at start-up and from the doctor."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from rpc_client import Client, refusal  # type: ignore[import-not-found]  # pytest puts this folder on the path

from conftest import BIN, Server, make_archive  # type: ignore[import-not-found]  # likewise
from torchkeeper.rpc.schema import MANAGEMENT
from torchkeeper.wire.features import missing_in_config

pytestmark = pytest.mark.slow

COUNTS = "def handle(data, context):\n    return data and [str(len(data))] * len(data)\n"
(MISSING,) = missing_in_config({"sequenceBatching": True})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    store = tmp_path / "model_store"
    store.mkdir()
    make_archive(store, "counts", COUNTS, config="sequenceBatching: true\n")
    running = Server(tmp_path, ("counts-1.0.mar",), {"enable_model_api": "true"})
    yield running
    running.stop()


def test_it_is_refused_by_one_sentence_everywhere(server: Server, tmp_path: Path) -> None:
    sentence = f"counts-1.0.mar: {MISSING.sentence}"
    assert f"Failed to load model: counts-1.0.mar: {sentence}" in server.output
    assert server.client.post("/predictions/counts", content=b"x").status_code == 404
    query = {"url": "counts-1.0.mar", "initial_workers": "1"}
    refused: httpx.Response = server.manage.post("/models", params=query)
    assert (refused.status_code, refused.json()) == (
        400,
        {"code": 400, "type": "InvalidModelException", "message": sentence},
    )
    client = Client(server.grpc_manage)
    code, text = refusal(lambda: client[MANAGEMENT, "RegisterModel"](url="counts-1.0.mar"))
    client.channel.close()
    assert (code, text.partition("\n")[0]) == ("INVALID_ARGUMENT", sentence)
    doctor = [BIN / "torchkeeper", "doctor", "--model-store", "model_store"]
    told = subprocess.run(doctor, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert MISSING.sentence in " ".join(told.stdout.split())
