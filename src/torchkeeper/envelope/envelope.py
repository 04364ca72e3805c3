"""Envelopes: take a batch out of a foreign request form, and put the results back into it.

An envelope wraps a handler's entry point and knows nothing of the handler. Source: TorchServe's
`request_envelope` package; looked up by name in ENVELOPES, the table at the end.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Callable
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
        return [data_or_body(row) for row in data]

    def format_output(self, data: Any) -> Any:
        """The results as they are."""
        return data


def data_or_body(row: Any) -> Any:
    """A row's `data`, or else its `body`; a row that is no dict is the content itself."""
    return row.get("data") or row.get("body") if isinstance(row, dict) else row


#: Name in the setting `service_envelope` -> "module:Class"; only those that are asked for are imported.
ENVELOPES: dict[str, str] = {
    "body": f"{__name__}:BodyEnvelope",
    "json": "torchkeeper.envelope.instances:JSONEnvelope",
    "kserve": "torchkeeper.envelope.instances:KServeEnvelope",
    "kservev2": "torchkeeper.envelope.kservev2:KServev2Envelope",
}


#: Takes the place of "kservev2" around handlers that take whole requests.
KSERVE_V2 = "kservev2"
_WHOLE_REQUESTS = "torchkeeper.envelope.named:NamedTensorsEnvelope"


def envelope_class(name: str, *, whole_requests: bool = False) -> type[BaseEnvelope]:
    """The class of one of ENVELOPES, as handlers want it."""
    target = _WHOLE_REQUESTS if whole_requests and name == KSERVE_V2 else ENVELOPES[name]
    module, _, attribute = target.partition(":")
    found: type[BaseEnvelope] = getattr(importlib.import_module(module), attribute)
    return found
