"""MLflow: its deployments plug-in, played; and its models, which it saves itself, served without it.

Source of the plug-in's requests: mlflow/mlflow-torchserve, `TorchServePlugin`. It makes the archive by
`torch-model-archiver` and takes a status other than the expected one for a failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from servers import BIN, EXAMPLE, Server
from tools import tool

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent / "mlflow"

HANDLER = """
import json

def handle(data, context):
    if data is None:
        return None
    return [json.loads(bytes(row["data"]))[0] + 1 for row in data]
"""


def test_a_deployments_life(tmp_path: Path) -> None:
    store = tmp_path / "model_store"
    store.mkdir()
    handler = tmp_path / "iris_handler.py"
    handler.write_text(HANDLER)
    server = Server(tmp_path, (), {"enable_model_api": "true"})

    def archive(version: str) -> Path:
        command = (
            f"{BIN / 'torch-model-archiver'} --force --model-name iris --version {version} "
            f"--model-file {EXAMPLE / 'mnist.py'} --serialized-file {EXAMPLE / 'mnist_cnn.pt'} "
            f"--handler {handler} --export-path {store} --extra-files '{handler}'"
        )
        subprocess.run(command, shell=True, check=True)
        return store / "iris.mar"

    # Its URL is made by hand: the path is absolute, and nothing in it is quoted.
    url = f"/models?url={archive('1.0')}&initial_workers=1"
    assert server.manage.post(url).status_code == 200
    assert server.manage.get("/models/iris/all").json()[0]["modelVersion"] == "1.0"
    assert server.manage.post(f"/models?url={archive('2.0')}&initial_workers=1").status_code == 200
    assert server.manage.put("/models/iris/2.0/set-default").status_code in (200, 202)
    assert server.manage.put("/models/iris/2.0?min_worker=2").status_code in (200, 202)
    listed = server.manage.get("/models", params={"limit": 100, "next_page_token": 0})
    assert [row["modelName"] for row in listed.json()["models"]] == ["iris"]
    answer = server.client.post("/predictions/iris", data={"data": json.dumps([41])})
    assert (answer.status_code, answer.text) == (200, "42")
    assert server.manage.delete("/models/iris/1.0").status_code == 200
    assert server.manage.delete("/models/iris/2.0").status_code == 200
    assert server.manage.get("/models/iris").status_code == 404
    server.stop()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that MLflow saved, and expected.json with what it answers for them."""
    home = tmp_path_factory.mktemp("mlflow")
    (packages,) = (tool("mlflow").parent / "lib").glob("python*/site-packages")
    environ = {**os.environ, "PYTHONPATH": str(packages)}
    subprocess.run([sys.executable, HERE / "make_models.py", home], check=True, env=environ)
    return home


def test_models_that_mlflow_saved_are_served_without_it(saved: Path, tmp_path: Path) -> None:
    """Answers are those of MLflow's own server, refusals where it refuses."""
    expected = json.loads((saved / "expected.json").read_text())
    store = tmp_path / "model_store"
    store.mkdir()
    for name in expected:
        command = ("--model-name", name, "--from-mlflow", saved / name, "--export-path", store)
        subprocess.run([BIN / "torch-model-archiver", *command], check=True)
    server = Server(tmp_path, tuple(f"{name}.mar" for name in expected), {"default_response_timeout": 300})
    for name, cases in expected.items():
        for body, kind, status, wanted in cases:
            answer = server.client.post(
                f"/predictions/{name}", content=body, headers={"Content-Type": kind}, timeout=300
            )
            assert answer.status_code == status, (name, body, answer.text)
            if status == 200:
                assert json.loads(answer.text) == approximately(wanted), (name, body)
    assert [status for cases in expected.values() for *_, status, _ in cases].count(200) > 20
    assert server.stop()["failed"] == 0


def approximately(value: Any) -> Any:
    """The same, but for the last digits of fractions."""
    if isinstance(value, dict):
        return {name: approximately(one) for name, one in value.items()}
    if isinstance(value, list):
        return [approximately(one) for one in value]
    return pytest.approx(value, rel=1e-5, abs=1e-6, nan_ok=True)
