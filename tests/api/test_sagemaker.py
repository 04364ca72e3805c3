"""SageMaker: what batch transform is told, and the configuration that its containers use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from torchkeeper.api.sagemaker import execution_parameters, target_model
from torchkeeper.config.settings import CommandLine, Settings, load_settings
from torchkeeper.errors import ModelNotFound, SettingsError

CONFIG = Path(__file__).parents[2] / "src" / "ts" / "configs" / "sagemaker_config.properties"
ENVIRON = {
    "SAGEMAKER_MODEL_STORE": "/opt/ml/model",
    "SAGEMAKER_BIND_TO_PORT": "8080",
    "SAGEMAKER_HANDLER": "my_handler.py:handle",
    "SAGEMAKER_NUM_MODEL_WORKERS": "3",
    "SAGEMAKER_RESPONSE_TIMEOUT": "60",
    "SAGEMAKER_MAX_REQUEST_SIZE": "7000000",
    "SAGEMAKER_MAX_RESPONSE_SIZE": "8000000",
}


def load(environ: dict[str, str], folder: Path) -> Settings:
    return load_settings(CommandLine(ts_config=CONFIG), environ, folder)[0]


@pytest.mark.parametrize(
    ("workers", "max_request_size", "concurrent", "megabytes"),
    [
        (2, 6553500, 2, 6),
        (1, 100 << 20, 1, 100),
        (4, 1 << 30, 4, 25),
        (0, 1000, 1, 1),
        (500, 6553500, 100, 1),
    ],
)
def test_execution_parameters_stay_within_sagemakers_bounds(
    workers: int, max_request_size: int, concurrent: int, megabytes: int
) -> None:
    assert json.loads(execution_parameters(workers, max_request_size)) == {
        "MaxConcurrentTransforms": concurrent,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": megabytes,
    }


def test_the_configuration_takes_all_from_the_environment(tmp_path: Path) -> None:
    settings = load(ENVIRON, tmp_path)
    assert settings.model_store == Path("/opt/ml/model")
    assert str(settings.inference_address) == str(settings.management_address) == "http://0.0.0.0:8080"
    assert settings.default_service_handler == "my_handler.py:handle"
    assert settings.default_workers_per_model == 3
    assert settings.default_response_timeout == settings.unregister_model_timeout == 60
    assert (settings.max_request_size, settings.max_response_size) == (7000000, 8000000)
    assert settings.decode_input_request is False


@pytest.mark.parametrize("name", sorted(ENVIRON))
def test_a_variable_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    environ = {other: value for other, value in ENVIRON.items() if other != name}
    with pytest.raises(SettingsError, match=f"Invalid Environment Variable {name}"):
        load(environ, tmp_path)


@pytest.mark.parametrize("port", ["", "http", "70000"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    with pytest.raises(SettingsError, match=r"inference_address=http://0\.0\.0\.0:"):
        load({**ENVIRON, "SAGEMAKER_BIND_TO_PORT": port}, tmp_path)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("mnist", "mnist"),
        (" mnist.tar.gz", "mnist"),
        ("/mnist.mar", "mnist"),
        ("other.tar.gz", "other.tar.gz"),
    ],
)
def test_the_header_names_a_model_by_its_artifact(header: str, name: str) -> None:
    assert target_model(header, ("mnist", "other", "other.tar.gz")) == name


@pytest.mark.parametrize("header", ["mnist.zip", "third.tar.gz", ""])
def test_a_model_that_is_not_loaded_is_answered_by_no_other(header: str) -> None:
    with pytest.raises(ModelNotFound):
        target_model(header, ("mnist",))
