"""The OpenAPI document of a listener, and a page to read it by, both made from the routing table. Pure.

Source: OpenAPI 3.0.1 (the version that TorchServe's document has); the schemas are those of the types that
endpoints read and write, so the document cannot say anything else than the code does.
"""

from __future__ import annotations

import html
from typing import Any

import msgspec

from torchkeeper import TORCHSERVE_VERSION
from torchkeeper.api.routes import ROUTES, Endpoint, Route
from torchkeeper.keys.key import Key
from torchkeeper.serving.apis import Api
from torchkeeper.serving.description import Description
from torchkeeper.serving.dialect import Dialect
from torchkeeper.serving.parameters import Describe, Page, Register, Scale

_METHODS = ("get", "post", "put")
_NAMES = {"{m}": "model_name", "{v}": "model_version"}
_PARAMETERS: dict[Endpoint, type[msgspec.Struct]] = {
    Endpoint.LIST: Page,
    Endpoint.REGISTER: Register,
    Endpoint.SCALE: Scale,
    Endpoint.DESCRIBE: Describe,
}
_ERROR = {
    "type": "object",
    "required": ["code", "type", "message"],
    "properties": {
        "code": {"type": "integer", "description": "The HTTP status."},
        "type": {"type": "string", "description": "TorchServe's name of the error."},
        "message": {"type": "string"},
        "cause": {
            "type": "string",
            "description": "What torchkeeper knows beyond TorchServe's three fields.",
        },
    },
}
_STATUS = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
_LISTED = {
    "type": "object",
    "required": ["models"],
    "properties": {
        "nextPageToken": {"type": "string"},
        "models": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"modelName": {"type": "string"}, "modelUrl": {"type": "string"}},
            },
        },
    },
}
_READY = {"type": "object", "properties": {"name": {"type": "string"}, "ready": {"type": "boolean"}}}
_KSERVE_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_NAMES_OF_MODELS = {
    "type": "object",
    "required": ["models"],
    "properties": {"models": {"type": "array", "items": {"type": "string"}}},
}
_TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {}},
    },
}
_INSTANCES = {
    "type": "object",
    "required": ["instances"],
    "properties": {"instances": {"type": "array", "items": {}}},
}
_RESULTS = {
    "type": "object",
    "properties": {
        "predictions": {"type": "array", "items": {}},
        "explanations": {"type": "array", "items": {}},
    },
}
_INFER = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "minItems": 1, "items": _TENSOR},
        "outputs": {"type": "array", "items": {"type": "object"}},
    },
}
_INFERRED = {
    "type": "object",
    "required": ["id", "model_name", "model_version", "outputs"],
    "properties": {
        "id": {"type": "string"},
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "outputs": {"type": "array", "items": _TENSOR},
    },
}
_ANYTHING: dict[str, Any] = {"*/*": {"schema": {}}}
_TEXT: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


_RAW: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
#: What a request's body looks like, by endpoint.
_BODIES: dict[Endpoint, dict[str, Any]] = {
    Endpoint.PREDICT: _ANYTHING,
    Endpoint.INVOKE: _ANYTHING,
    Endpoint.V1_INFER: _json(_INSTANCES),
    Endpoint.V2_INFER: {**_json(_INFER), **_RAW},
}

#: What a success looks like: statuses and content by endpoint.
_ANSWERS: dict[Endpoint, tuple[tuple[int, ...], dict[str, Any]]] = {
    Endpoint.PING: ((200, 500), _json(_STATUS)),
    Endpoint.PREDICT: ((200,), _ANYTHING),
    Endpoint.INVOKE: ((200,), _ANYTHING),
    Endpoint.EXECUTION_PARAMETERS: ((200,), _json({"type": "object"})),
    Endpoint.LIST: ((200,), _json(_LISTED)),
    Endpoint.REGISTER: ((200, 202), _json(_STATUS)),
    Endpoint.DESCRIBE: (
        (200,),
        _json({"type": "array", "items": {"$ref": "#/components/schemas/Description"}}),
    ),
    Endpoint.SCALE: ((200, 202), _json(_STATUS)),
    Endpoint.SET_DEFAULT: ((200,), _json(_STATUS)),
    Endpoint.UNREGISTER: ((200,), _json(_STATUS)),
    Endpoint.READY: ((200,), _json(_READY)),
    Endpoint.TOKEN: ((200,), _TEXT),
    Endpoint.METRICS: ((200,), _TEXT),
    Endpoint.API_DESCRIPTION: ((200,), _json({"type": "object"})),
    Endpoint.MODEL_API_DESCRIPTION: ((200,), _json({"type": "object"})),
    Endpoint.ALIVE: ((200,), _json(_STATUS)),
    Endpoint.V1_LIST: ((200,), _json(_NAMES_OF_MODELS)),
    Endpoint.V1_READY: ((200,), _json(_READY)),
    Endpoint.V1_INFER: ((200,), _json(_RESULTS)),
    Endpoint.V2_SERVER: ((200,), _json({"type": "object"})),
    Endpoint.V2_LIVE: ((200,), _json({"type": "object"})),
    Endpoint.V2_READY: ((200, 503), _json(_READY)),
    Endpoint.V2_LIST: ((200,), _json(_NAMES_OF_MODELS)),
    Endpoint.V2_MODEL: ((200,), _json({"type": "object"})),
    Endpoint.V2_MODEL_READY: ((200,), _json(_READY)),
    Endpoint.V2_INFER: ((200,), {**_json(_INFERRED), **_RAW}),
    Endpoint.REPOSITORY_INDEX: ((200,), _json({"type": "array", "items": {"type": "object"}})),
    Endpoint.REPOSITORY_LOAD: ((200,), _json({"type": "object"})),
    Endpoint.REPOSITORY_UNLOAD: ((200,), _json({"type": "object"})),
    Endpoint.DOCS: ((200,), {"text/html": {"schema": {"type": "string"}}}),
}


#: By endpoint the statuses from 500 on that an answer may have though the server has no fault, and why.
_ANSWERED = {
    500: "A worker, a handler or its answer failed",
    503: "Nobody can answer now, or the handler failed",
    504: "The client's deadline has passed",
    507: "The memory does not suffice",
}
_CHANGED = {
    500: "The workers could not be started",
    503: "The machine has not what it takes, for now",
    507: "The disk has no room for the archive",
}
_FAULTS: dict[Endpoint, dict[int, str]] = {
    Endpoint.PREDICT: _ANSWERED,
    Endpoint.INVOKE: _ANSWERED,
    Endpoint.V1_INFER: _ANSWERED,
    Endpoint.V2_INFER: _ANSWERED,
    Endpoint.DESCRIBE: _ANSWERED,
    Endpoint.REGISTER: _CHANGED,
    Endpoint.SCALE: _CHANGED,
    Endpoint.REPOSITORY_LOAD: _CHANGED,
    Endpoint.V1_READY: {503: "It is not ready"},
    Endpoint.V2_MODEL_READY: {503: "It is not ready"},
}


def document(apis: Api, model: str | None = None) -> dict[str, Any]:
    """What a listener that serves `apis` can be asked; of one model alone, if one is named."""
    (description,), components = msgspec.json.schema_components(
        [Description], ref_template="#/components/schemas/{name}"
    )
    del description  # a reference to what stands in the components
    schemas = {name: _openapi_30(schema) for name, schema in components.items()}
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        if not route.api & apis or (model is not None and "{m}" not in route.pattern):
            continue
        path = route.pattern.removesuffix("/*") or "/"
        for short, name in _NAMES.items():
            path = path.replace(short, f"{{{name}}}")
        if model is not None:
            path = path.replace("{model_name}", model)
        operations = paths.setdefault(path, {})
        for method in [method.lower() for method in route.methods] or _METHODS:
            operations.setdefault(method, _operation(route, method, path))
    return {
        "openapi": "3.0.1",
        "info": {
            "title": "TorchServe APIs" if model is None else f"RESTful API for: {model}",
            "description": "Served by torchkeeper, which speaks TorchServe's APIs.",
            "version": TORCHSERVE_VERSION if model is None else "1.0.0",
        },
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Error": _ERROR, "KServeError": _KSERVE_ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, method: str, path: str) -> dict[str, Any]:
    statuses, content = _ANSWERS[route.endpoint]
    operation: dict[str, Any] = {
        "operationId": f"{method} {path}",
        "summary": route.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _NAMES.values()
            if f"{{{name}}}" in path
        ],
        "responses": {str(status): {"description": "Success", "content": content} for status in statuses},
    }
    error = "Error" if route.dialect is Dialect.TORCHSERVE else "KServeError"
    content = _json({"$ref": f"#/components/schemas/{error}"})
    for status, why in _FAULTS.get(route.endpoint, {}).items():
        operation["responses"][str(status)] = {"description": why, "content": content}
    operation["responses"]["default"] = {"description": "What went wrong, and why", "content": content}
    if route.endpoint in _PARAMETERS:
        operation["parameters"] += _query(_PARAMETERS[route.endpoint])
    if route.endpoint in _BODIES and method != "get":
        operation["requestBody"] = {"content": _BODIES[route.endpoint]}
    if route.key is not Key.NONE:
        operation["security"] = [{"token": []}, {}]
    return operation


def _query(kind: type[msgspec.Struct]) -> list[dict[str, Any]]:
    (_,), components = msgspec.json.schema_components([kind])
    properties = components[kind.__name__]["properties"]
    found = []
    for name, schema in properties.items():
        plain = _openapi_30(schema)
        default = plain.pop("default", None)
        found.append(
            {
                "name": name,
                "in": "query",
                "required": name == "url",
                "allowEmptyValue": name != "url",  # it is as if it were not there
                "schema": plain if default is None else {**plain, "default": default},
            }
        )
    return found


def _openapi_30(schema: Any) -> Any:
    """A JSON schema in the dialect of OpenAPI 3.0: `nullable` instead of a type `null`."""
    if isinstance(schema, list):
        return [_openapi_30(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    options = schema.get("anyOf")
    if isinstance(options, list) and {"type": "null"} in options:
        rest = [_openapi_30(option) for option in options if option != {"type": "null"}]
        others = {key: _openapi_30(value) for key, value in schema.items() if key != "anyOf"}
        return {**(rest[0] if len(rest) == 1 else {"anyOf": rest}), **others, "nullable": True}
    return {key: _openapi_30(value) for key, value in schema.items()}


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h2 {{ font: 600 1rem ui-monospace, monospace; margin: 2rem 0 .25rem; }}
b {{ display: inline-block; min-width: 5rem; text-transform: uppercase; }}
table {{ border-collapse: collapse; margin: .25rem 0 0 5rem; font-size: .9rem; }}
td {{ border-top: 1px solid #ccc; padding: .2rem .75rem .2rem 0; vertical-align: top; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #ddd; }} }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{description} The same as a machine reads it: <a href="/api-description">/api-description</a>.</p>
{paths}
</body>
</html>
"""


def page(apis: Api) -> str:
    """The document as an HTML page that needs nothing from elsewhere."""
    found = document(apis)
    parts = []
    for path, operations in found["paths"].items():
        parts.append(f"<h2>{html.escape(path)}</h2>")
        by_summary: dict[str, list[str]] = {}
        for method, operation in operations.items():
            by_summary.setdefault(operation["summary"], []).append(method)
        for summary, methods in by_summary.items():
            parts.append(f"<div><b>{' '.join(methods)}</b> {html.escape(summary)}</div>")
            rows = [
                f"<tr><td>{html.escape(parameter['name'])}</td><td>{parameter['in']}</td>"
                f"<td>{html.escape(_in_words(parameter['schema']))}</td></tr>"
                for parameter in operations[methods[0]]["parameters"]
            ]
            if rows:
                parts.append(f"<table>{''.join(rows)}</table>")
    info = found["info"]
    return _PAGE.format(
        title=html.escape(info["title"]), description=html.escape(info["description"]), paths="\n".join(parts)
    )


def _in_words(schema: dict[str, Any]) -> str:
    kind = schema.get("type") or " or ".join(
        (*map(_in_words, schema.get("anyOf", ())), *map(str, schema.get("enum", ())))
    )
    bounds = [f"from {schema['minimum']}" if "minimum" in schema else ""]
    bounds.append(f"default {schema['default']}" if "default" in schema else "")
    return ", ".join(part for part in (kind, *bounds) if part)
