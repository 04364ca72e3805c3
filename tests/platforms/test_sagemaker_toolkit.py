"""SageMaker's own inference toolkits from PyPI, unmodified, start the server and ask it as SageMaker does.

Played: a container of its own (what the toolkit sees of processes is limited to the test's) and /etc, which
is the test's folder. Source of the requests: SageMaker's contracts for hosting and for multi-model endpoints.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import httpx
import pytest
import torch

from servers import BIN, Program, eventually
from tools import tool

pytestmark = pytest.mark.slow

#: What `serve` in an image of AWS calls.
PYTORCH = (
    "from sagemaker_pytorch_serving_container import serving, torchserve as started\nrun = serving.main\n"
)
OTHERS = """
from sagemaker_inference import model_server as started
run = lambda: started.start_model_server("acme_container.handler_service")
"""
SERVE = """
import os, psutil
{}
every = psutil.process_iter

def of_this_container():
    for process in every():
        try:
            if process.environ().get("TMPDIR") == os.environ["TMPDIR"]:
                yield process
        except psutil.Error:
            pass

psutil.process_iter = of_this_container
started.TS_CONFIG_FILE = started.MMS_CONFIG_FILE = os.path.join(os.environ["TMPDIR"], "etc.properties")
run()
"""
MODEL_FN = """
import os
import torch

def model_fn(model_dir):
    model = torch.nn.Linear(2, 1, bias=False)
    model.load_state_dict(torch.load(os.path.join(model_dir, "weights.pth")))
    return model
"""
#: With a context, as SageMaker's documentation shows it for TorchServe.
ACCEPTING = """
def output_fn(prediction, accept, context):
    context.set_response_content_type(0, "text/csv")
    return ";".join(str(row[0].item()) for row in prediction) + " on " + accept
"""
#: A container's own handler service, as scikit-learn's or Hugging Face's: a class, no function.
SERVICE = """
from sagemaker_inference.default_handler_service import DefaultHandlerService
from sagemaker_inference.default_inference_handler import DefaultInferenceHandler
from sagemaker_inference.transformer import Transformer

class Functions(DefaultInferenceHandler):
    def default_model_fn(self, model_dir):
        return open(model_dir + "/weights.txt").read()

    def default_predict_fn(self, data, model):
        return [int(model) * value for value in data.tolist()]
"""
HANDLER_SERVICE = """
from mms.service import PredictionException
from acme_container.service import DefaultHandlerService, Functions, Transformer

class HandlerService(DefaultHandlerService):
    def __init__(self):
        super().__init__(transformer=Transformer(default_inference_handler=Functions()))

    def handle(self, data, context):
        if data[0]["body"] == b"[]":
            raise PredictionException("nothing to predict", 400)
        return super().handle(data, context)
"""

#: What is left of Multi Model Server's own package: what handlers import from it.
MMS_SERVICE = """
class PredictionException(Exception):
    def __init__(self, message, error_code=500):
        super().__init__(message)
        self.message, self.error_code = message, error_code
"""


class Endpoint(Program):
    """A container of an endpoint: `serve` of a toolkit, with what SageMaker sets."""

    def __init__(self, folder: Path, toolkit: str, environ: dict[str, str]) -> None:
        (site,) = tool("sagemaker").parent.glob("lib/python*/site-packages")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        commands = folder / "bin"
        commands.mkdir()
        for name, function in (("torchserve", "torchserve"), ("multi-model-server", "multi_model_server")):
            script = f"#!{sys.executable}\nimport sys\nfrom torchkeeper.cli import {function}\n"
            (commands / name).write_text(f"{script}sys.exit({function}())\n")
            (commands / name).chmod(0o755)
        (folder / "tmp").mkdir()
        own = {
            "PATH": os.pathsep.join((str(commands), str(BIN), os.environ["PATH"])),
            "PYTHONPATH": os.pathsep.join((str(folder / "site"), str(site))),
            "PYTHONUNBUFFERED": "1",
            "TEMP": str(folder / "tmp"),
            "TMPDIR": str(folder / "tmp"),
            "LOG_LOCATION": str(folder / "logs"),
            "METRICS_LOCATION": str(folder / "logs"),
            "SAGEMAKER_BASE_DIR": str(folder / "ml"),
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "TS_METRICS_ADDRESS": "http://127.0.0.1:0",
            "TS_GRPC_INFERENCE_PORT": "0",
            "TS_GRPC_MANAGEMENT_PORT": "0",
        }
        command = [sys.executable, "-c", SERVE.format(toolkit)]
        super().__init__(command, folder, {**os.environ, **own, **environ})
        self.wait_for("Model server started.")
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def stop(self) -> dict[str, int]:
        """SageMaker's end: SIGTERM to `serve`, which passes it on."""
        self.client.close()
        return self.end()


def model(folder: Path, script: str, *weights: float) -> Path:
    """A model folder as SageMaker unpacks model.tar.gz: nothing of an archiver's."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text(script)
    torch.save({"weight": torch.tensor([weights])}, folder / "weights.pth")
    return folder


def test_an_endpoint_for_a_pytorch_model(tmp_path: Path) -> None:
    model(tmp_path / "ml" / "model", MODEL_FN, 2.0, 3.0)
    tuned = {"SAGEMAKER_TS_BATCH_SIZE": "3", "SAGEMAKER_TS_MIN_WORKERS": "2", "SAGEMAKER_TS_MAX_WORKERS": "2"}
    endpoint = Endpoint(tmp_path, PYTORCH, tuned)
    eventually(lambda: endpoint.client.get("/ping").status_code == 200)
    answer = endpoint.client.post("/invocations", json=[[1, 1], [1, 2]])
    assert (answer.status_code, answer.json()) == (200, [[5.0], [8.0]])
    assert answer.headers["content-type"] == "application/json"
    as_csv = endpoint.client.post(
        "/invocations", content="1,1", headers={"Content-Type": "text/csv", "Accept": "text/csv"}
    )
    assert (as_csv.status_code, as_csv.text.strip()) == (200, "5.0")
    unknown = endpoint.client.post("/invocations", content=b"?", headers={"Content-Type": "application/x-no"})
    assert (unknown.status_code, "application/x-no is not supported" in unknown.text) == (500, True)
    (described,) = endpoint.client.get("/models/model").json()
    assert (described["batchSize"], described["minWorkers"], described["maxWorkers"]) == (3, 2, 2)
    assert described["modelUrl"] == str(tmp_path / "ml" / "model")
    assert endpoint.stop()["accepted"] >= 3


def test_functions_with_a_context(tmp_path: Path) -> None:
    model(tmp_path / "ml" / "model", MODEL_FN + ACCEPTING, 2.0, 3.0)
    endpoint = Endpoint(tmp_path, PYTORCH, {})
    answer = endpoint.client.post("/invocations", json=[[1, 1]], headers={"Accept": "text/plain"})
    assert (answer.status_code, answer.text) == (200, "5.0 on text/plain")
    endpoint.stop()


def test_an_endpoint_for_many_models(tmp_path: Path) -> None:
    # The toolkit glues a line of its own to `enable_model_api=true`: TorchServe needs the variable, too.
    said = {"SAGEMAKER_MULTI_MODEL": "true", "TS_ENABLE_MODEL_API": "true"}
    endpoint = Endpoint(tmp_path, PYTORCH, said)
    client = endpoint.client
    assert client.get("/ping").status_code == 200
    folders = {
        name: model(tmp_path / "ml" / "models" / name / "model", MODEL_FN, factor, 0.0)
        for name, factor in (("a", 2.0), ("b", 3.0))
    }
    for name, folder in folders.items():
        loaded = client.post("/models", json={"model_name": name, "url": str(folder)})
        assert loaded.status_code == 200, loaded.text
    assert client.post("/models", json={"model_name": "a", "url": str(folders["a"])}).status_code == 409
    listed = client.get("/models").json()["models"]
    assert [(row["modelName"], row["modelUrl"]) for row in listed] == [
        (name, str(folder)) for name, folder in folders.items()
    ]
    for name, value in (("a", 2.0), ("b", 3.0)):
        answer = client.post(f"/models/{name}/invoke", json=[[1, 1]])
        assert (answer.status_code, answer.json()) == (200, [[value]])
        assert client.get(f"/models/{name}").json()[0]["modelName"] == name
    assert client.delete("/models/a").status_code == 200
    assert client.post("/models/a/invoke", json=[[1, 1]]).status_code == 404
    assert client.delete("/models/a").status_code == 404
    endpoint.stop()


def test_an_endpoint_of_multi_model_server(tmp_path: Path) -> None:
    """As AWS's images for scikit-learn, XGBoost and Hugging Face start it."""
    site = tmp_path / "site" / "acme_container"
    site.mkdir(parents=True)
    for name, text in (("__init__", ""), ("service", SERVICE), ("handler_service", HANDLER_SERVICE)):
        (site / f"{name}.py").write_text(text)
    (site.parent / "mms").mkdir()
    (site.parent / "mms" / "service.py").write_text(MMS_SERVICE)
    (tmp_path / "ml" / "model").mkdir(parents=True)
    (tmp_path / "ml" / "model" / "weights.txt").write_text("3")
    endpoint = Endpoint(tmp_path, OTHERS, {})
    eventually(lambda: endpoint.client.get("/ping").status_code == 200)
    answer = endpoint.client.post("/invocations", json=[1, 2])
    assert (answer.status_code, answer.json()) == (200, [3, 6])
    refused = endpoint.client.post("/invocations", json=[])
    assert (refused.status_code, refused.json()["message"]) == (400, "nothing to predict")
    endpoint.stop()
