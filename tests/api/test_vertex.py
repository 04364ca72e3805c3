"""Vertex AI's routes: which paths are its own, and which model they lead to."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from calling import Answering, answer, call

from torchkeeper.api.routes import Endpoint
from torchkeeper.api.vertex import VertexApi, shadowed, vertex_paths
from torchkeeper.errors import BadRequest, SettingsError
from torchkeeper.keys.key import Key
from torchkeeper.serving.apis import Api
from torchkeeper.wire.messages import Reply

HEALTH = "/v1/endpoints/1/deployedModels/2"
PREDICT = f"{HEALTH}:predict"


class Held:
    """In the place of the models."""

    def __init__(self, *names: str, why: tuple[str, ...] = ()) -> None:
        self._names = names
        self._why = why

    def names(self) -> tuple[str, ...]:
        return self._names

    def unready(self) -> list[str]:
        return list(self._why)


def asked(path: str, answering: Any, held: Held, envelope: str = "json") -> Reply:
    method = "POST" if path == PREDICT else "GET"
    own = msgspec.structs.replace(
        call(method, "/ping", b'{"instances": []}'), match=vertex_paths(HEALTH, PREDICT)[path]
    )
    api = VertexApi(answering, held, envelope)  # type: ignore[arg-type]  # a stand-in
    return asyncio.run(answer(api.endpoints(), own))


@pytest.mark.parametrize(
    ("path", "own"),
    [
        (PREDICT, True),
        ("/predict", True),
        ("/", True),
        ("/v1/predict", True),  # and not the model v1's older form
        ("/models", True),
        ("/bad%escape", True),
        ("/wfpredict/x", True),
        ("/predictions/model", False),
        ("/predictions/model/1.0", False),
        ("/invocations", False),
        ("/v1/models/model:predict", False),
        ("/v2/models/model/infer", False),
    ],
)
def test_which_predict_paths_are_its_own(path: str, own: bool) -> None:
    found = vertex_paths(None, path)
    assert [match.route.endpoint for match in found.values()] == ([Endpoint.VERTEX_PREDICT] if own else [])


@pytest.mark.parametrize("path", ["/ping", "/ping/", "/v2/health/live", "/v2/health/ready"])
def test_predictions_do_not_stand_where_health_is_told(path: str) -> None:
    with pytest.raises(SettingsError, match=f"AIP_PREDICT_ROUTE={path}: the server's health is there"):
        vertex_paths(None, path)


@pytest.mark.parametrize(
    ("health", "predict", "apis", "lost"),
    [
        ("/ping", "/predict", Api.INFERENCE, []),
        ("/", None, Api.INFERENCE, []),
        (None, "/", Api.INFERENCE, []),
        ("/v1/models/model", "/v1/models/model:predict", Api.INFERENCE, []),
        (HEALTH, "/v1/predict", Api.INFERENCE, []),
        (None, "/models", Api.INFERENCE, []),
        (None, "/models", Api.INFERENCE | Api.MANAGEMENT, ["POST /models (Register a model)"]),
        (
            None,
            "/v2/repository/index",
            Api.INFERENCE,
            ["POST /v2/repository/index (What is loaded, and how)"],
        ),
        ("/v2", None, Api.INFERENCE, ["GET and HEAD /v2 (KServe v2: the server's name and extensions)"]),
        ("/models", None, Api.INFERENCE | Api.MANAGEMENT, ["GET /models (List models)"]),
    ],
)
def test_what_its_paths_take_away_is_said(
    health: str | None, predict: str | None, apis: Api, lost: list[str]
) -> None:
    said = " is Vertex AI's; what the server has there cannot be asked"
    found = shadowed(vertex_paths(health, predict), apis)
    assert all(said in sentence for sentence in found)
    assert [sentence.replace(said, "") for sentence in found] == lost


def test_the_health_path_is_its_own_in_any_case_and_open() -> None:
    match = vertex_paths("/ping", None)["/ping"]
    assert match.route.endpoint is Endpoint.VERTEX_HEALTH
    assert match.route.key is Key.NONE


def test_health_is_that_all_start_up_models_serve() -> None:
    assert asked(HEALTH, None, Held("m")).status == 200
    reply = asked(HEALTH, None, Held(why=("model m 1.0 has 0 of 1 workers",)))
    assert reply.status == 503
    assert b"model m 1.0 has 0 of 1 workers" in reply.body


@pytest.mark.parametrize(
    ("names", "model"), [(("model",), "model"), (("a",), "a"), (("a", "model"), "model")]
)
def test_the_model_called_model_or_the_only_one_is_asked(names: tuple[str, ...], model: str) -> None:
    text = Reply(b"{}", 200, "", {}, "text/plain; charset=utf-8")
    answering = Answering(text)
    reply = asked(PREDICT, answering, Held(*names))
    assert reply.content_type == "application/json"
    ((name, version, request),) = answering.whole_ones
    assert (name, version, request.envelope) == (model, None, "json")
    assert request.parts[0].value == b'{"instances": []}'


def test_the_envelope_of_the_settings_is_kept_and_other_content_types_too() -> None:
    answering = Answering(Reply(b"", 200, "", {}, "image/png"))
    assert asked(PREDICT, answering, Held("m"), "body").content_type == "image/png"
    assert answering.whole_ones[0][2].envelope == "body"


@pytest.mark.parametrize("names", [(), ("a", "b")])
def test_no_model_is_guessed(names: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest, match="leads to the model model, or to the only one"):
        asked(PREDICT, None, Held(*names))
