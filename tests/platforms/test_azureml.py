"""Azure Machine Learning: its TorchServe examples, command for command, in the image's entry script."""

from __future__ import annotations

from pathlib import Path

import pytest
from container import Container

from servers import eventually, make_archive

pytestmark = pytest.mark.slow

HANDLER = """
def handle(data, context):
    return None if data is None else [len(row["body"]) for row in data]
"""
#: The examples' commands, in exec form.
DENSENET = [
    *("torchserve", "--start", "--disable-token-auth", "--model-store", "$AZUREML_MODEL_DIR/torchserve"),
    *("--models", "$TORCHSERVE_MODELS"),
]
TEXTGEN = [
    *("torchserve", "--start", "--model-store", "$AZUREML_MODEL_DIR", "--models", "$TORCHSERVE_MODELS"),
    "--ncs",
]
WITH_CONFIG = [
    *("torchserve", "--start", "--model-store", "$MODEL_BASE_PATH/torchserve", "--models", "densenet161.mar"),
    *("--ts-config", "$MODEL_BASE_PATH/torchserve/config.properties"),
]


def mounted(folder: Path, inner: str, name: str) -> Path:
    """The folder where a registered model is mounted, with an archive in it."""
    model = folder / "var" / "azureml-app" / "azureml-models" / f"torchserve-{name}" / "1"
    store = model / inner
    store.mkdir(parents=True)
    make_archive(store, name, HANDLER).rename(store / f"{name}.mar")
    return model


def test_the_densenet_example(tmp_path: Path) -> None:
    model = mounted(tmp_path, "torchserve", "densenet161")
    environ = {
        "AZUREML_MODEL_DIR": str(model),
        "TORCHSERVE_MODELS": "densenet161=densenet161.mar again=densenet161.mar",
    }
    container = Container(tmp_path / "home", DENSENET, environ)
    eventually(lambda: container.client.get("/ping").status_code == 200)
    for name in ("densenet161", "again"):
        answer = container.client.put(f"/predictions/{name}", content=b"a picture")
        assert (answer.status_code, answer.text) == (200, "9")
    container.stop()


def test_the_text_generation_example(tmp_path: Path) -> None:
    model = mounted(tmp_path, "", "Textgeneration")
    environ = {
        "AZUREML_MODEL_DIR": str(model),
        "TORCHSERVE_MODELS": "textgeneration=Textgeneration.mar",
        "TS_DISABLE_TOKEN_AUTHORIZATION": "true",
    }
    container = Container(tmp_path / "home", TEXTGEN, environ, "enable_envvars_config=true\n")
    assert container.client.post("/predictions/textgeneration", content=b"Today").json() == 5
    container.stop()


def test_the_example_with_a_configuration_of_its_own(tmp_path: Path) -> None:
    model = mounted(tmp_path, "torchserve", "densenet161")
    addresses = [f"{api}_address=http://0.0.0.0:0\n" for api in ("inference", "management", "metrics")]
    own = "".join(addresses) + "grpc_inference_port=0\ngrpc_management_port=0\n"
    (model / "torchserve" / "config.properties").write_text(own + "disable_token_authorization=true\n")
    container = Container(tmp_path / "home", WITH_CONFIG, {"MODEL_BASE_PATH": str(model)})
    assert container.client.put("/predictions/densenet161", content=b"a picture").json() == 9
    container.stop()
