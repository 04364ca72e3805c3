"""The OpenAPI document: every route of a listener is in it, and nothing else."""

from __future__ import annotations

import json

import pytest

from torchkeeper.api.openapi import document, page
from torchkeeper.api.routes import ROUTES
from torchkeeper.serving.apis import Api


@pytest.mark.parametrize("apis", [Api.INFERENCE, Api.MANAGEMENT, Api.METRICS, Api.INFERENCE | Api.MANAGEMENT])
def test_every_route_of_a_listener_is_described(apis: Api) -> None:
    found = document(apis)
    wanted = {
        (route.pattern.removesuffix("/*") or "/")
        .replace("{m}", "{model_name}")
        .replace("{v}", "{model_version}")
        for route in ROUTES
        if route.api & apis
    }
    assert set(found["paths"]) == wanted
    for path, operations in found["paths"].items():
        for operation in operations.values():
            named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert named == {name for name in ("model_name", "model_version") if f"{{{name}}}" in path}
    json.dumps(found)


def test_operation_ids_are_unique() -> None:
    found = document(Api.INFERENCE | Api.MANAGEMENT | Api.METRICS)
    ids = [
        operation["operationId"]
        for operations in found["paths"].values()
        for operation in operations.values()
    ]
    assert len(ids) == len(set(ids))


def test_parameters_have_types_and_bounds() -> None:
    parameters = document(Api.MANAGEMENT)["paths"]["/models"]["post"]["parameters"]
    by_name = {parameter["name"]: parameter for parameter in parameters}
    assert by_name["url"]["required"]
    assert by_name["max_batch_delay"]["schema"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 2**31 - 1,
        "nullable": True,
    }
    assert by_name["batch_size"]["schema"] == {
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": 2**31 - 1}, {"enum": ["auto"]}],
        "nullable": True,
    }
    assert by_name["synchronous"]["schema"] == {"type": "boolean", "default": True}


def test_references_lead_somewhere() -> None:
    found = document(Api.MANAGEMENT)
    text = json.dumps(found)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in found["components"]["schemas"]


def test_the_page_names_every_path() -> None:
    text = page(Api.MANAGEMENT)
    for path in document(Api.MANAGEMENT)["paths"]:
        assert path.replace("<", "&lt;") in text


@pytest.mark.parametrize(
    ("path", "method", "error"),
    [
        ("/predictions/{model_name}", "post", "Error"),
        ("/v2/models/{model_name}/infer", "post", "KServeError"),
        ("/models", "post", "Error"),
        ("/models/{model_name}", "put", "Error"),
        ("/v2/repository/models/{model_name}/load", "post", "KServeError"),
    ],
)
def test_faults_are_declared_in_the_form_of_their_dialect(path: str, method: str, error: str) -> None:
    answers = document(Api.INFERENCE | Api.MANAGEMENT)["paths"][path][method]["responses"]
    assert {"500", "503", "507"} <= set(answers)
    for status in ("500", "503", "507", "default"):
        schema = answers[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": f"#/components/schemas/{error}"}


def test_an_empty_parameter_is_as_none() -> None:
    parameters = document(Api.MANAGEMENT)["paths"]["/models"]["post"]["parameters"]
    assert {one["name"] for one in parameters if not one["allowEmptyValue"]} == {"url"}
