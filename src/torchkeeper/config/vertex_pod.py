"""What Vertex AI tells a container of its own, and what becomes of it. Pure.

Source: Vertex AI's "Custom container requirements for inference", and the contract of its prebuilt TorchServe
images: the archive's name, the model's name and the form of requests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torchkeeper.config import types as form
from torchkeeper.config.pods import ANYWHERE, is_loopback, listening, to_open
from torchkeeper.config.table import Configured
from torchkeeper.config.types import Address, Form
from torchkeeper.errors import SettingsError

#: Who calls, in sentences.
CALLER = "Vertex AI"
#: The archive of the artifact folder, and what it is called there.
MODEL = "model=model.mar"
#: The envelope of requests, where the settings name none.
ENVELOPE = "json"


@dataclass(frozen=True)
class Variable:
    """One variable that Vertex AI sets in its containers."""

    name: str
    form: Form[Any]
    default: str
    meaning: str


def _route(value: str) -> str | None:
    if value and not value.startswith("/"):
        raise ValueError("must be a path that begins with /")
    return (value.partition("?")[0].rstrip("/") or "/") if value else None


_MODE = Variable("AIP_MODE", form.text, "", "`PREDICTION` makes the others hold")
_PORT = Variable("AIP_HTTP_PORT", form.port, "8080", "HTTP is served there, on all addresses")
_HEALTH = Variable(
    "AIP_HEALTH_ROUTE", Form(_route), "", "path of health: 200 once all start-up models serve, else 503"
)
_PREDICT = Variable(
    "AIP_PREDICT_ROUTE",
    Form(_route),
    "",
    "path of predictions; one that is none of the server's leads to the model `model`, else to the only one",
)
_STORAGE = Variable(
    "AIP_STORAGE_URI",
    form.text,
    "",
    "folder with `model.mar` (`gs://` or local), which is the store, unless models are configured",
)
#: The table of them.
VARIABLES = (_MODE, _PORT, _HEALTH, _PREDICT, _STORAGE)


@dataclass(frozen=True)
class VertexAi:
    """What is served for Vertex AI."""

    #: What is opened beside the configured addresses; None where one of them has the port.
    http: Address | None
    #: The setting of an address that serves it too, since it has the port and only Vertex AI comes there.
    shares: str | None
    #: Paths, without a slash at the end but for `/`.
    health: str | None
    predict: str | None
    envelope: str


def is_asked_for(environ: Mapping[str, str]) -> bool:
    """Whether the environment is that of a container that serves predictions for Vertex AI."""
    return environ.get(_MODE.name) == "PREDICTION"


def called_port(environ: Mapping[str, str]) -> int:
    """The port that Vertex AI calls.

    Raises:
        SettingsError: it is none.
    """
    port: int = _read(_PORT, environ)
    return port


def storage(environ: Mapping[str, str]) -> str | None:
    """The artifact folder, if there is one."""
    found: str | None = _read(_STORAGE, environ)
    return found


def served(
    values: Configured, configured: Collection[str], environ: Mapping[str, str]
) -> tuple[Configured, VertexAi, tuple[str, ...]]:
    """With inference on the port that is called, if nobody configured it; what else is served; warnings.

    Raises:
        SettingsError: a variable's value cannot be used.
    """
    warnings: list[str] = []
    port = called_port(environ)
    http = shares = None
    if "inference_address" in configured:
        shares = _sharing(values, port)
        http = None if shares else to_open(port, "inference_address", values, CALLER, warnings)
    else:
        values = replace(values, inference_address=Address("http", ANYWHERE, port))
    health, predict = _read(_HEALTH, environ), _read(_PREDICT, environ)
    if health is not None and health == predict:
        raise SettingsError(f"{_HEALTH.name} and {_PREDICT.name} are both {health}: give each its own path")
    envelope = values.service_envelope or ENVELOPE
    return values, VertexAi(http, shares, health, predict, envelope), tuple(warnings)


def _sharing(values: Configured, port: int) -> str | None:
    """The setting of another HTTP address that everybody reaches on that port, if inference is not there."""
    names = [name for name, host, other in listening(values) if other == port and not is_loopback(host)]
    plain = [name for name in names if getattr(getattr(values, name), "scheme", "") == "http"]
    return plain[0] if plain and "inference_address" not in names else None


def _read(variable: Variable, environ: Mapping[str, str]) -> Any:
    text = environ.get(variable.name) or variable.default
    try:
        return variable.form.parse(text)
    except ValueError as error:
        raise SettingsError(f"{variable.name}={text}: {error}") from None
