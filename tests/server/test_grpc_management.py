"""TorchServe's management service by gRPC on a real server: sentences and JSON of REST, and statuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rpc_client import Client, refusal  # type: ignore[import-not-found]  # likewise

from conftest import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    Server,
    Start,
    eventually,
    make_archive,
)
from torchkeeper.rpc.schema import INFERENCE, MANAGEMENT

pytestmark = pytest.mark.slow

HANDLER = """
def handle(data, context):
    if data is None:
        return None
    if context.get_request_header(0, "describe") == "True":
        return [{"made by": "us"}]
    return [b"answer"] * len(data)
"""
BROKEN = "raise RuntimeError('cannot be imported')"
EXCEPTION = "org.pytorch.serve"


@pytest.fixture
def server(serve: Start) -> Server:
    running: Server = serve({"first": HANDLER}, enable_model_api="true")
    return running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    made = Client(server.grpc_manage)
    yield made
    made.channel.close()


def test_a_models_life(server: Server, client: Client) -> None:
    make_archive(server.folder / "model_store", "second", HANDLER)
    make_archive(server.folder / "model_store", "second", HANDLER, "2.0")

    def said(name: str, **fields: object) -> str:
        text: str = client[MANAGEMENT, name](**fields).msg
        return text

    assert said("RegisterModel", url="second-1.0.mar", initial_workers=1, synchronous=True) == (
        'Model "second" Version: 1.0 registered with 1 initial workers'
    )
    assert said("RegisterModel", url="second-2.0.mar", initial_workers=1, batch_size=3) == (
        "Processing worker updates..."
    )
    assert said("SetDefault", model_name="second", model_version="2.0") == (
        'Default version successfully updated for model "second" to "2.0"'
    )
    described = json.loads(said("DescribeModel", model_name="second", customized=True))
    (rest,) = server.manage.get("/models/second?customized=true").json()
    for changing in ("workers", "jobQueueStatus"):
        described[0].pop(changing)
        rest.pop(changing)
    assert described == [rest]
    assert (rest["batchSize"], rest["customizedMetadata"]) == (3, {"made by": "us"})
    every = json.loads(said("DescribeModel", model_name="second", model_version="all"))
    assert [found["modelVersion"] for found in every] == ["1.0", "2.0"]
    assert said("ListModels") == server.manage.get("/models").text
    assert json.loads(said("ListModels", limit=1)) == {
        "nextPageToken": "1",
        "models": [{"modelName": "first", "modelUrl": "first.mar"}],
    }
    assert json.loads(said("ListModels", limit=1, next_page_token=1))["models"][0]["modelName"] == "second"
    assert said("ScaleWorker", model_name="second", model_version="1.0", min_worker=2, synchronous=True) == (
        "Workers scaled to 2 for model: second, version: 1.0"
    )
    # 0 is nothing in proto3, and nothing is 1.
    assert said("ScaleWorker", model_name="second", model_version="1.0", synchronous=True) == (
        "Workers scaled to 1 for model: second, version: 1.0"
    )
    assert said("UnregisterModel", model_name="second", model_version="1.0") == (
        'Model "second" unregistered'
    )
    assert said("UnregisterModel", model_name="second") == 'Model "second" unregistered'
    inference = Client(server.grpc)
    assert inference[INFERENCE, "Predictions"](model_name="first").prediction == b"answer"
    inference.channel.close()


def test_statuses(server: Server, client: Client) -> None:
    make_archive(server.folder / "model_store", "first", HANDLER, "2.0")
    make_archive(server.folder / "model_store", "broken", BROKEN)

    def asked(name: str, **fields: object) -> tuple[str, str]:
        found: tuple[str, str] = refusal(lambda: client[MANAGEMENT, name](**fields))
        return found

    nowhere = ("NOT_FOUND", f"Model not found: nope\n{EXCEPTION}.archive.model.ModelNotFoundException")
    for name in ("DescribeModel", "ScaleWorker", "UnregisterModel"):
        assert asked(name, model_name="nope") == nowhere
        code, details = asked(name)
        assert (code, details.splitlines()[0]) == ("INVALID_ARGUMENT", "Parameter model_name is required.")
    assert asked("SetDefault", model_name="nope", model_version="1") == nowhere
    assert asked("SetDefault", model_name="first", model_version="7") == (
        "NOT_FOUND",
        "Model version 7 does not exist for model first\n"
        f"{EXCEPTION}.archive.model.ModelVersionNotFoundException",
    )
    assert asked("SetDefault", model_name="first")[0] == "INVALID_ARGUMENT"
    assert asked("RegisterModel") == (
        "INVALID_ARGUMENT",
        f"Parameter url is required.\n{EXCEPTION}.http.BadRequestException",
    )
    assert asked("RegisterModel", url="nope.mar")[0] == "NOT_FOUND"
    assert asked("RegisterModel", url="first.mar") == (
        "ALREADY_EXISTS",
        f"Model version 1.0 is already registered for model first\n{EXCEPTION}.http.ConflictStatusException",
    )
    code, details = asked("RegisterModel", url="http://127.0.0.1:1/a.mar")
    assert (code, details.splitlines()[1]) == (
        "INVALID_ARGUMENT",
        f"{EXCEPTION}.archive.DownloadArchiveException",
    )
    code, details = asked("RegisterModel", url="broken-1.0.mar", initial_workers=1, synchronous=True)
    assert (code, details.splitlines()[0]) == (
        "INTERNAL",
        "Failed to start workers for model broken version: 1.0",
    )
    code, details = asked("ScaleWorker", model_name="first", min_worker=2, max_worker=1)
    assert (code, details.splitlines()[0]) == (
        "INVALID_ARGUMENT",
        "max_worker cannot be less than min_worker.",
    )
    client[MANAGEMENT, "RegisterModel"](url="first-2.0.mar")
    code, details = asked("UnregisterModel", model_name="first")
    assert (code, details.splitlines()[0]) == (
        "FAILED_PRECONDITION",
        "Cannot remove default version for model first",
    )
    wrong_port = refusal(lambda: client[INFERENCE, "Ping"]())
    assert wrong_port[0] == "UNIMPLEMENTED"


def test_without_the_model_api(serve: Start, tmp_path: Path) -> None:
    server: Server = serve({"first": HANDLER})
    client = Client(server.grpc_manage)
    for name, fields in (("RegisterModel", {"url": "a.mar"}), ("UnregisterModel", {"model_name": "first"})):
        assert refusal(lambda name=name, fields=fields: client[MANAGEMENT, name](**fields)) == (
            "PERMISSION_DENIED",
            f"Model API disabled\n{EXCEPTION}.archive.model.ModelException",
        )
    client[MANAGEMENT, "ScaleWorker"](model_name="first", min_worker=2)
    eventually(lambda: server.manage.get("/models/first").json()[0]["minWorkers"] == 2)
    client.channel.close()
