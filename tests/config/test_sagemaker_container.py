"""SageMaker's variables as settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from torchkeeper.config.properties import parse_properties
from torchkeeper.config.sagemaker_container import (
    called_ports,
    model_folder,
    properties,
    several_models,
    text,
)
from torchkeeper.config.settings import CommandLine, load_settings
from torchkeeper.errors import SettingsError


def test_a_container_that_nobody_configured() -> None:
    assert properties({}) == {
        "enable_envvars_config": "true",
        "decode_input_request": "false",
        "disable_token_authorization": "true",
        "insecure": "true",
        "enable_model_api": "true",
        "ping_ready": "true",
        "inference_address": "http://0.0.0.0:8080",
        "management_address": "http://0.0.0.0:8080",
        "default_service_handler": "sagemaker",
        "model_store": "/opt/ml",
        "load_models": "model=/opt/ml/model",
    }


@pytest.mark.parametrize(
    ("variable", "value", "key", "wanted"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "9000", "inference_address", "http://0.0.0.0:9000"),
        ("SAGEMAKER_BIND_TO_PORT", "9000", "management_address", "http://0.0.0.0:9000"),
        ("SAGEMAKER_HANDLER", "/x/service.py:handle", "default_service_handler", "/x/service.py:handle"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "3", "default_workers_per_model", "3"),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT", "90", "default_response_timeout", "90"),
        ("SAGEMAKER_BASE_DIR", "/srv/ml", "load_models", "model=/srv/ml/model"),
        ("SAGEMAKER_MULTI_MODEL", "true", "model_store", "/"),
        ("SAGEMAKER_MULTI_MODEL", "true", "default_workers_per_model", "1"),
        ("SAGEMAKER_MULTI_MODEL", "false", "load_models", "model=/opt/ml/model"),
    ],
)
def test_a_variable_is_a_setting(variable: str, value: str, key: str, wanted: str) -> None:
    assert properties({variable: value})[key] == wanted


def test_one_variable_of_the_model_makes_all_of_them_hold() -> None:
    (version,) = json.loads(properties({"SAGEMAKER_TS_BATCH_SIZE": "8"})["models"]).values()
    assert version == {
        "1.0": {
            "defaultVersion": True,
            "marName": "model.mar",
            "batchSize": 8,
            "maxBatchDelay": 100,
            "minWorkers": 1,
            "maxWorkers": 1,
            "responseTimeout": 60,
        }
    }
    several = {"SAGEMAKER_TS_BATCH_SIZE": "8", "SAGEMAKER_MULTI_MODEL": "true"}
    assert not {"models", "load_models"}.intersection(properties(several))


@pytest.mark.parametrize("name", ["SAGEMAKER_BIND_TO_PORT", "SAGEMAKER_TS_BATCH_SIZE"])
def test_what_is_no_number_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name}=many \(environment\): it must be a whole number"):
        properties({name: "many"})


def test_it_is_a_file_as_others_are() -> None:
    found = properties({"SAGEMAKER_TS_BATCH_SIZE": "8"})
    assert {entry.key: entry.value for entry in parse_properties(text(found))} == found
    assert (str(model_folder({})), several_models({})) == ("/opt/ml/model", False)


def test_what_nobody_configured_leaves_the_port_that_is_called(tmp_path: Path) -> None:
    environ = {"SAGEMAKER_BIND_TO_PORT": "8082"}
    (tmp_path / "config.properties").write_text(text(properties(environ)))
    settings, _ = load_settings(CommandLine(), environ, tmp_path)
    assert str(settings.inference_address) == str(settings.management_address) == "http://0.0.0.0:8082"
    assert str(settings.metrics_address) == "http://127.0.0.1:8085"
    assert str(settings.origins["metrics_address"]) == "default under SageMaker"
    assert called_ports({}) == called_ports({"SAGEMAKER_BIND_TO_PORT": "9" * 5000}) == ()
