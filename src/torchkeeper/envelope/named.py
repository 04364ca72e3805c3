"""KServe v2 for handlers that take whole requests: a row is a request's tensors by name, and so is a result.

For the built-in handler `tensors`; the requests and answers are those of `envelope.kservev2`.
"""

from __future__ import annotations

from typing import Any

from torchkeeper.envelope import tensors
from torchkeeper.envelope.instances import Opened
from torchkeeper.envelope.kservev2 import KServev2Envelope, Rest, about_input, each_input
from torchkeeper.handler.ports import NamedTensors


class NamedTensorsEnvelope(KServev2Envelope):
    """Infer requests of KServe v2; a handler's row is a NamedTensors, its result a dict by output's name."""

    def open(self, place: int, row: Any) -> Opened:
        """The request as one row.

        Raises:
            ValueError: the request is no infer request; the message names the input and the field.
        """
        request, rest = self._parts(place, row)
        arrays: dict[str, Any] = {}
        datatypes: dict[str, str] = {}
        for tensor, (datatype, array) in each_input(request, rest, lambda tensor: _array(tensor, rest)):
            if tensor["name"] in arrays:
                raise ValueError(f"two inputs are named {tensor['name'][:100]!r}")
            arrays[tensor["name"]], datatypes[tensor["name"]] = array, datatype
        known = self.context.signature
        names = [spec.name for spec in known.outputs] if known is not None else ()
        return Opened([NamedTensors(arrays, datatypes)], self._wanted(request, names))

    def seal(self, place: int, opened: Opened, results: list[Any]) -> Any:
        """The infer response with the model's outputs."""
        (found,) = results
        wanted = opened.request.outputs
        return self._response(
            place,
            opened.request,
            (
                (name, tensors.output(value))
                for name, value in found.items()
                if wanted is None or name in wanted
            ),
        )


def _array(tensor: Any, rest: Rest) -> tuple[str, Any]:
    """An input's datatype and elements."""
    datatype, shape, parameters = about_input(tensor)
    size = parameters.get("binary_data_size")
    if size is None:
        return datatype, tensors.array_from_json(datatype, shape, tensor.get("data"))
    return datatype, tensors.from_raw(datatype, shape, rest.take(size))
