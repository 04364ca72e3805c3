"""A SageMaker container without SageMaker's toolkit, played: `torchkeeper sagemaker`, asked as it is there.

Source: SageMaker's developer guide: "Custom Inference Code with Hosting Services" (one model) and "Custom
Containers Contract for Multi-Model Endpoints".
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from servers import BIN, Program, eventually

pytestmark = pytest.mark.slow

SCRIPT = """
import json, os

def model_fn(model_dir):
    with open(os.path.join(model_dir, "weights.txt")) as file:
        text = file.read()
    if text == "huge":
        raise MemoryError("no room for it")
    return int(text)

def transform_fn(model, body, content_type, accept):
    return json.dumps({"answer": model * json.loads(body)})
"""


def artifact(folder: Path, weights: str) -> Path:
    """A model's unpacked artifact."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text(SCRIPT)
    (folder / "weights.txt").write_text(weights)
    return folder


class Container(Program):
    """The command in a container's environment."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        others = {
            "SAGEMAKER_BASE_DIR": str(folder / "ml"),
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "TS_GRPC_INFERENCE_PORT": "0",
            "TS_GRPC_MANAGEMENT_PORT": "0",
            "TS_METRICS_ADDRESS": "http://127.0.0.1:0",
            "TMPDIR": str(folder),
        }
        super().__init__([BIN / "torchkeeper", "sagemaker"], folder, {**kept, **others, **environ})
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def ping(self) -> int:
        """The status of a health check; 0 as long as nobody listens."""
        try:
            return self.client.get("/ping").status_code
        except httpx.TransportError:
            assert self.process.poll() is None, self.output
            return 0

    def discard(self) -> None:
        """What a test leaves behind."""
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Container]]:
    """Starts containers; those that a failed test left are ended."""
    containers: list[Container] = []

    def begin(**environ: str) -> Container:
        containers.append(Container(tmp_path, environ))
        return containers[-1]

    yield begin
    for container in containers:
        container.discard()


def test_one_model(tmp_path: Path, start: Callable[..., Container]) -> None:
    artifact(tmp_path / "ml" / "model", "2")
    container = start(SAGEMAKER_MODEL_SERVER_WORKERS="1", SAGEMAKER_TS_BATCH_SIZE="4")
    eventually(lambda: container.ping() == 200)
    answer = container.client.post("/invocations", json=21, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()) == (200, {"answer": 42})
    assert answer.headers["content-type"] == "application/json"
    (described,) = container.client.get("/models/model").json()
    assert (described["batchSize"], described["modelVersion"]) == (4, "1.0")
    container.end()


def test_several_models(tmp_path: Path, start: Callable[..., Container]) -> None:
    container = start(SAGEMAKER_MULTI_MODEL="true")
    eventually(lambda: container.ping() == 200)
    client = container.client
    assert client.get("/models").json() == {"models": []}

    def load(name: str, weights: str) -> httpx.Response:
        folder = tmp_path / "models" / name / "model"
        if not folder.exists():
            artifact(folder, weights)
        return client.post("/models", json={"model_name": name, "url": str(folder)})

    assert load("two", "2").status_code == 200
    assert load("three", "3").status_code == 200
    assert load("two", "2").status_code == 409
    assert load("large", "huge").status_code == 507
    assert client.get("/models/large").status_code == 404
    assert {row["modelName"] for row in client.get("/models").json()["models"]} == {"two", "three"}
    assert client.get("/models/two").status_code == 200
    target = {"X-Amzn-SageMaker-Target-Model": "three.tar.gz"}
    for url, headers, answer in (
        ("/models/two/invoke", {}, 20),
        ("/models/three/invoke", target, 30),
        ("/invocations", target, 30),
    ):
        asked = client.post(
            url, content=json.dumps(10), headers={"Content-Type": "application/json", **headers}
        )
        assert asked.json() == {"answer": answer}, url
    assert client.post("/models/none/invoke", json=1).status_code == 404
    assert client.delete("/models/two").status_code == 200
    assert client.delete("/models/two").status_code == 404
    assert client.post("/models/two/invoke", json=1).status_code == 404
    container.end()


def test_a_model_that_cannot_be_loaded_is_no_healthy_container(
    tmp_path: Path, start: Callable[..., Container]
) -> None:
    artifact(tmp_path / "ml" / "model", "no number")
    container = start(SAGEMAKER_MODEL_SERVER_WORKERS="1")
    eventually(lambda: container.ping() != 0)
    container.wait_for("invalid literal for int")
    assert container.ping() == 500
    container.end()


def test_a_container_is_stopped_while_it_installs_requirements(
    tmp_path: Path, start: Callable[..., Container]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        folder = artifact(tmp_path / "ml" / "model", "2")
        (folder / "code" / "requirements.txt").write_text(f"--index-url {index}\nnothing-of-that-name\n")
        container = start()
        container.wait_for(index)
        container.process.terminate()
        assert container.process.wait(timeout=60) == 0
