"""What SageMaker's variables say of a container, as the server's own settings.

Pure. Source: SageMaker's inference toolkits: the names and defaults of their environment, the properties that
they write for TorchServe, and how they start it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchkeeper.config import types as form
from torchkeeper.errors import SettingsError

#: What holds in every container: the platform guards it, and handlers get bytes as they came.
_ALWAYS = {
    "enable_envvars_config": "true",
    "decode_input_request": "false",
    "disable_token_authorization": "true",
    "insecure": "true",
    "enable_model_api": "true",
    "ping_ready": "true",
}
#: Variable -> (key of a model's settings, its default). One of them that is set makes all of them hold.
_OF_THE_MODEL = {
    "SAGEMAKER_TS_BATCH_SIZE": ("batchSize", 1),
    "SAGEMAKER_TS_MAX_BATCH_DELAY": ("maxBatchDelay", 100),
    "SAGEMAKER_TS_MIN_WORKERS": ("minWorkers", 1),
    "SAGEMAKER_TS_MAX_WORKERS": ("maxWorkers", 1),
    "SAGEMAKER_TS_RESPONSE_TIMEOUT": ("responseTimeout", 60),
}
_NAME = "model"
_PORT = "8080"
_PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
#: Who calls, in sentences.
CALLER = "SageMaker"


def model_folder(environ: Mapping[str, str]) -> Path:
    """Where SageMaker puts the model's artifact."""
    return Path(environ.get("SAGEMAKER_BASE_DIR") or "/opt/ml") / "model"


def called_ports(environ: Mapping[str, str]) -> tuple[int, ...]:
    """The port that SageMaker calls, if the environment is that of a container of its own."""
    try:
        return (form.port.parse(environ.get(_PORT_VARIABLE, "")),)
    except ValueError:  # said of the address where it is used
        return ()


def several_models(environ: Mapping[str, str]) -> bool:
    """Whether the endpoint loads and unloads models while it runs."""
    return environ.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true"


def properties(environ: Mapping[str, str]) -> dict[str, str]:
    """The keys of config.properties and their values.

    Raises:
        SettingsError: a variable that must be a number is none.
    """
    address = f"http://0.0.0.0:{_number(environ, _PORT_VARIABLE, _PORT)}"
    found = {
        **_ALWAYS,
        "inference_address": address,
        "management_address": address,
        "default_service_handler": environ.get("SAGEMAKER_HANDLER") or "sagemaker",
    }
    if workers := environ.get("SAGEMAKER_MODEL_SERVER_WORKERS"):
        found["default_workers_per_model"] = _number(environ, "SAGEMAKER_MODEL_SERVER_WORKERS", workers)
    if timeout := environ.get("SAGEMAKER_MODEL_SERVER_TIMEOUT"):
        found["default_response_timeout"] = _number(environ, "SAGEMAKER_MODEL_SERVER_TIMEOUT", timeout)
    if several_models(environ):
        found.setdefault("default_workers_per_model", "1")
        return {**found, "model_store": "/"}
    found |= {
        "model_store": str(model_folder(environ).parent),
        "load_models": f"{_NAME}={model_folder(environ)}",
    }
    if any(environ.get(name) for name in _OF_THE_MODEL):
        found["models"] = json.dumps({_NAME: {"1.0": _settings(environ)}})
    return found


def _settings(environ: Mapping[str, str]) -> dict[str, Any]:
    numbers = {
        key: int(_number(environ, name, str(default))) for name, (key, default) in _OF_THE_MODEL.items()
    }
    return {"defaultVersion": True, "marName": f"{_NAME}.mar", **numbers}


def _number(environ: Mapping[str, str], name: str, default: str) -> str:
    text = environ.get(name) or default
    if not (text.isascii() and text.isdigit()):
        raise SettingsError(f"{name}={text} (environment): it must be a whole number")
    return text


def text(settings: Mapping[str, str]) -> str:
    """The lines of a config.properties."""
    return "".join(f"{key}={value}\n" for key, value in settings.items())
