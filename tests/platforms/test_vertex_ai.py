"""Vertex AI: a prebuilt container's artifacts in the image, and an image that brings its model along."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from container import Container

from object_store import ObjectStore, object_store
from servers import eventually, make_archive

pytestmark = pytest.mark.slow

#: Takes numbers and pictures; is loaded once the file is there that GATE names.
HANDLER = """
import os, time

class Doubler:
    def initialize(self, context):
        while "GATE" in os.environ and not os.path.exists(os.environ["GATE"]):
            time.sleep(0.01)

    def handle(self, rows, context):
        return [len(row) if isinstance(row, bytes) else row * 2 for row in rows]
"""
ROUTE = "/v1/endpoints/123/deployedModels/456"


@pytest.fixture
def bucket() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def variables(port: int, **others: str) -> dict[str, str]:
    """What Vertex AI sets; routes are its own where the model names none."""
    return {
        "AIP_MODE": "PREDICTION",
        "AIP_MODE_VERSION": "1.0.0",
        "AIP_FRAMEWORK": "CUSTOM_CONTAINER",
        "AIP_HTTP_PORT": str(port),
        "AIP_PORT": str(port),
        "AIP_HEALTH_ROUTE": ROUTE,
        "AIP_PREDICT_ROUTE": f"{ROUTE}:predict",
        "AIP_STORAGE_URI": "",
        **others,
    }


def test_the_artifacts_of_a_prebuilt_container(tmp_path: Path, bucket: ObjectStore) -> None:
    archive = make_archive(tmp_path, "model", HANDLER)
    bucket.objects["/caip-tenant-1/artifacts/model.mar"] = archive.read_bytes()
    port = free_port()
    environ = variables(port, AIP_STORAGE_URI="gs://caip-tenant-1/artifacts")
    environ["STORAGE_EMULATOR_HOST"] = bucket.url
    container = Container(tmp_path / "home", ["serve"], environ)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
    container.wait_for(rf"Vertex AI API bind to: http://0.0.0.0:{port} ")
    eventually(lambda: client.get(ROUTE).status_code == 200)
    answer = client.post(f"{ROUTE}:predict", json={"instances": [1, {"b64": "QUJD"}], "parameters": {"k": 1}})
    assert (answer.status_code, answer.json()) == (200, {"predictions": [2, 3]})
    assert answer.headers["content-type"] == "application/json"
    refused = client.post(f"{ROUTE}:predict", json={"inputs": [1]})
    assert refused.status_code == 400
    assert "instances" in refused.text
    assert client.post(ROUTE).status_code == 404
    client.close()
    container.stop()
    assert [path.name for path in (tmp_path / "home" / "tmp").iterdir() if "torchkeeper" in path.name] == []


def test_it_listens_while_models_load_and_is_healthy_when_they_have(tmp_path: Path) -> None:
    artifacts = tmp_path / "model"
    artifacts.mkdir()
    gate = tmp_path / "loaded"
    make_archive(artifacts, "model", HANDLER).rename(artifacts / "model.mar")
    port = free_port()
    environ = variables(port, AIP_STORAGE_URI=str(artifacts), GATE=str(gate))
    container = Container(tmp_path / "home", ["serve"], environ)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
    container.wait_for(rf"Vertex AI API bind to: http://0.0.0.0:{port} ")
    waiting = client.get(ROUTE)
    assert (waiting.status_code, waiting.json()["status"]) == (503, "Unhealthy")
    gate.touch()
    eventually(lambda: client.get(ROUTE).status_code == 200)
    assert client.post(f"{ROUTE}:predict", json={"instances": ["ab"]}).json() == {"predictions": ["abab"]}
    client.close()
    container.stop()


def test_artifacts_that_are_not_there_are_never_healthy(tmp_path: Path, bucket: ObjectStore) -> None:
    port = free_port()
    environ = variables(port, AIP_STORAGE_URI="gs://caip-tenant-1/artifacts")
    environ |= {"STORAGE_EMULATOR_HOST": bucket.url, "AIP_PREDICT_ROUTE": "/v2/repository/index"}
    container = Container(tmp_path / "home", ["serve"], environ)
    container.wait_for("Model server started")
    answer = httpx.get(f"http://127.0.0.1:{port}{ROUTE}", timeout=60)
    assert answer.status_code == 503
    assert "gs://caip-tenant-1/artifacts/model.mar" in answer.json()["error"]
    assert "POST /v2/repository/index is Vertex AI's; what the server has there" in container.output
    container.stop()


def test_an_image_that_brings_its_model_along(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "model-store").mkdir(parents=True)
    make_archive(home / "model-store", "sdv1-5", HANDLER).rename(home / "model-store" / "sdv1-5.mar")
    port = free_port()
    config = f"\n service_envelope=json\n inference_address=http://0.0.0.0:{port}\n"
    command = [
        *("torchserve", "--start", "--ts-config", "$HOME/config.properties"),
        *("--models", "${model_name}=${model_name}.mar", "--model-store", "$HOME/model-store"),
    ]
    environ = variables(
        port, model_name="sdv1-5", AIP_PREDICT_ROUTE="/predictions/sdv1-5", AIP_HEALTH_ROUTE="/ping"
    )
    container = Container(home, command, environ, config)
    container.wait_for("Model server started")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        eventually(lambda: client.get("/ping").status_code == 200)
        answer = client.post("/predictions/sdv1-5", json={"instances": [4, "x"]})
        assert (answer.status_code, answer.json()) == (200, {"predictions": [8, "xx"]})
    assert "Vertex AI API bind to" not in container.output
    container.stop()
