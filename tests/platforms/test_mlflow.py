"""MLflow's deployments plug-in, played: the requests of a deployment's life, as it sends them.

Source: mlflow/mlflow-torchserve, `TorchServePlugin`. It makes the archive by `torch-model-archiver` and takes
a status other than the expected one for a failure.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from servers import BIN, EXAMPLE, Server

pytestmark = pytest.mark.slow

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
