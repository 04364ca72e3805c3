"""Envelopes: take a batch out of a foreign request form, and put the results back into it.

An envelope wraps a handler's entry point and knows nothing of the handler. Source: TorchServe's
`request_envelope` package; looked up by name in ENVELOPES, the table at the end.
"""

from __future__ import annotations

import abc
import json
from base64 import b64decode
from collections.abc import Callable
from itertools import islice
from typing import Any


class BaseEnvelope(abc.ABC):
    """Interface of all envelopes.

    Args:
        handle_fn: the entry point, called as f(data, context).
    """

    def __init__(self, handle_fn: Callable[[Any, Any], Any]) -> None:
        self._handle_fn = handle_fn
        self.context: Any = None

    def handle(self, data: Any, context: Any) -> Any:
        """Answers a batch through the wrapped entry point; describe requests have no envelope."""
        self.context = context
        if data and context.get_request_header(0, "describe") == "True":
            return self._handle_fn(data, context)
        results = self._handle_fn(self.parse_input(data) if data else data, context)
        return self.format_output(results) if results else results

    @abc.abstractmethod
    def parse_input(self, data: Any) -> Any:
        """The handler's batch, from the requests' rows."""

    @abc.abstractmethod
    def format_output(self, data: Any) -> Any:
        """One result per request, from the handler's."""


class BodyEnvelope(BaseEnvelope):
    """The handler sees each row's data or body itself instead of the dict around it."""

    def parse_input(self, data: Any) -> Any:
        """Each row's `data`, or else its `body`; None for a row with neither."""
        return [_data_or_body(row) for row in data]

    def format_output(self, data: Any) -> Any:
        """The results as they are."""
        return data


class JSONEnvelope(BaseEnvelope):
    """Bodies {"instances": [...]}; all rows' instances make one batch, answers are {"predictions": [...]}."""

    def __init__(self, handle_fn: Callable[[Any, Any], Any]) -> None:
        super().__init__(handle_fn)
        self._lengths: list[int] = []

    def parse_input(self, data: Any) -> Any:
        """The instances of all rows in one list, {"b64": text} decoded to bytes.

        Raises:
            ValueError: a row has no list of instances; the message says which.
        """
        found = [_instances(place, row) for place, row in enumerate(data)]
        self._lengths = [len(instances) for instances in found]
        return [_decoded(instance) for instances in found for instance in instances]

    def format_output(self, data: Any) -> Any:
        """One JSON text {"predictions": [...]} per request, in the requests' order."""
        results = iter(data)
        return [json.dumps({"predictions": list(islice(results, length))}) for length in self._lengths]


def _data_or_body(row: Any) -> Any:
    return row.get("data") or row.get("body") if isinstance(row, dict) else row


def _instances(place: int, row: Any) -> list[Any]:
    content = _data_or_body(row) or row
    if isinstance(content, bytes | bytearray | str):
        try:
            content = json.loads(content)
        except ValueError as error:
            raise ValueError(f"request {place} of the batch is no JSON: {error}") from None
    instances = content.get("instances") if isinstance(content, dict) else None
    if not isinstance(instances, list):
        raise ValueError(f'request {place} of the batch needs a JSON body {{"instances": [...]}}')
    return instances


def _decoded(instance: Any) -> Any:
    if not isinstance(instance, dict):
        return instance
    if instance.keys() == {"b64"}:
        return b64decode(instance["b64"])
    return {
        name: b64decode(value["b64"]) if isinstance(value, dict) and value.keys() == {"b64"} else value
        for name, value in instance.items()
    }


#: Name in the setting `service_envelope` -> class.
ENVELOPES: dict[str, type[BaseEnvelope]] = {"body": BodyEnvelope, "json": JSONEnvelope}
