"""The envelope of KServe v2, the Open Inference Protocol: named tensors in, named tensors out.

Knows requests and answers; `envelope.tensors` knows tensors. Source: Open Inference Protocol v2 with its
binary tensor data extension, and TorchServe's envelope `kservev2`: every input is one instance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torchkeeper.envelope import tensors
from torchkeeper.envelope.envelope import data_or_body
from torchkeeper.envelope.instances import InstancesEnvelope, Opened, kind_of, read_object
from torchkeeper.envelope.tensors import Tensor
from torchkeeper.handler.json_text import json_text
from torchkeeper.handler.safe_text import safe_repr
from torchkeeper.wire.raw_tensors import AS_LISTS, BYTES, LENGTH_HEADER, MAX_TENSORS, json_length

T = TypeVar("T")

#: model-config.yaml: a tensor [N, ...] is N instances.
BATCH_DIM = "v2BatchDim"


@dataclass(frozen=True)
class _Given:
    """An input: its name, and how many instances it is; None: it is one instance itself."""

    name: str
    rows: int | None


@dataclass(frozen=True)
class _Request:
    request_id: str | None
    inputs: tuple[_Given, ...]
    #: The outputs that are wanted, and whether raw; None: all, `raw` says how.
    outputs: Mapping[str, bool] | None
    raw: bool


@dataclass
class Rest:
    """The bytes after the JSON; tensors take theirs from the front."""

    raw: memoryview
    taken: int = field(default=0)

    def take(self, size: object) -> memoryview:
        """The next bytes, so many.

        Raises:
            ValueError: so many are not there.
        """
        if type(size) is not int or size < 0:
            raise ValueError(f"binary_data_size must be a number of bytes, not {safe_repr(size)}")
        begin, self.taken = self.taken, self.taken + size
        if self.taken > len(self.raw):
            raise ValueError(
                f"binary_data_size is {safe_repr(size)}, and only {len(self.raw) - begin} bytes are left"
            )
        return self.raw[begin : self.taken]


class KServev2Envelope(InstancesEnvelope):
    """Infer requests of KServe v2; a handler's row is an input: its name, shape, datatype, parameters, data.

    `data` is nested lists of the shape; for a raw tensor an array; for BYTES of one element that element. A
    parameter `target` of the input, or else of the request, becomes the row's `target`.
    """

    def open(self, place: int, row: Any) -> Opened:
        """The request's inputs as rows.

        Raises:
            ValueError: the request is no infer request; the message names the input and the field.
        """
        request, rest = self._parts(place, row)
        parameters = parameters_of(request, "parameters")
        split = self.context.model_yaml_config.get(BATCH_DIM) is True
        given: list[_Given] = []
        rows: list[Any] = []
        for tensor, (found, count) in each_input(
            request, rest, lambda tensor: _rows(tensor, rest, parameters, split=split)
        ):
            given.append(_Given(tensor["name"], count))
            rows += found
        return Opened(rows, self._wanted(request, [tensor.name for tensor in given], tuple(given)))

    def seal(self, place: int, opened: Opened, results: list[Any]) -> Any:
        """The infer response: an output per input, under the input's name."""
        return self._response(place, opened.request, _outputs(opened.request, results))

    def _parts(self, place: int, row: Any) -> tuple[dict[str, Any], Rest]:
        """A request's JSON, and the bytes behind it."""
        return _parts(data_or_body(row), self.context.get_request_header(place, LENGTH_HEADER))

    def _wanted(
        self, request: dict[str, Any], names: Sequence[str], given: tuple[_Given, ...] = ()
    ) -> _Request:
        """What the answer to a request must have, of outputs of these names."""
        raw = parameters_of(request, "parameters").get("binary_data_output") is True
        outputs = _wanted(request.get("outputs"), names, raw=raw)
        return _Request(_id(request), given, outputs, raw)

    def _response(self, place: int, request: _Request, found: Iterable[tuple[str, Tensor]]) -> Any:
        """The infer response with these outputs."""
        head: dict[str, Any] = {
            "id": request.request_id or self.context.get_request_id(place),
            "model_name": self.context.model_name,
            "model_version": str(self.context.manifest.get("model", {}).get("modelVersion", "1.0")),
        }
        outputs, raw = [], []
        for name, tensor in found:
            if request.raw if request.outputs is None else request.outputs[name]:
                raw.append(tensor.raw())
                outputs.append(_about(name, tensor) | {"parameters": {"binary_data_size": len(raw[-1])}})
            else:
                plain = tensor.in_json()
                outputs.append(_about(name, plain) | {"data": plain.flat()})
        text = json_text(head | {"outputs": outputs})
        if not raw:
            self.context.set_response_content_type(place, "application/json")
            return text
        self.context.set_response_content_type(place, "application/octet-stream")
        self.context.set_response_header(place, LENGTH_HEADER, str(len(text)))
        return b"".join((text, *raw))


def each_input(
    request: Mapping[str, Any], rest: Rest, read: Callable[[Any], T]
) -> Iterator[tuple[dict[str, Any], T]]:
    """Each of a request's inputs and what `read` makes of it; all bytes must have been taken at the end.

    Raises:
        ValueError: `read` does, or there are no inputs, too many, or bytes that are no input's.
    """
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise ValueError('the body must have "inputs", a list of tensors')
    if len(inputs) > MAX_TENSORS:
        raise ValueError(f"inputs has {len(inputs)} tensors; a request may have {MAX_TENSORS}")
    for number, tensor in enumerate(inputs):
        try:
            found = read(tensor)
        except ValueError as error:
            raise ValueError(f"inputs[{number}]{_named(tensor)}: {error}") from None
        yield tensor, found
    if rest.taken < len(rest.raw):
        raise ValueError(f"{len(rest.raw) - rest.taken} bytes after the tensors belong to no input")


def _parts(content: Any, length: str | None) -> tuple[dict[str, Any], Rest]:
    """A request's JSON, and the bytes behind it."""
    if length is None or not isinstance(content, bytes | bytearray):
        return read_object(content), Rest(memoryview(b""))
    view = memoryview(content)
    end = json_length(length, len(view))
    return read_object(view[:end]), Rest(view[end:])


def _named(tensor: Any) -> str:
    name = tensor.get("name") if isinstance(tensor, dict) else None
    return f" ({name[:100]})" if isinstance(name, str) else ""


def parameters_of(owner: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The parameters of a request, input or output; none are an empty dict.

    Raises:
        ValueError: they are no object.
    """
    found = owner.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"{what} must be an object, not {kind_of(found)}")
    return found


def _rows(
    tensor: Any, rest: Rest, defaults: Mapping[str, Any], *, split: bool
) -> tuple[list[Any], int | None]:
    """An input's rows, and their number where it is split into instances."""
    datatype, shape, parameters = about_input(tensor)
    size = parameters.get("binary_data_size")
    if size is not None:
        data = tensors.from_raw(datatype, shape, rest.take(size))
        if parameters.get(AS_LISTS) is True and datatype != BYTES:
            data = data.tolist()
    else:
        data = tensors.from_json(datatype, shape, tensor.get("data"))
    row = {**tensor, "data": data}
    target = parameters.get("target", defaults.get("target"))
    if target is not None:
        row["target"] = target
    if not split:
        return [{**row, "data": _single(data)} if datatype == BYTES else row], None
    if not shape:
        raise ValueError(f"the model takes batches ({BATCH_DIM}): the first dimension counts the instances")
    elements = _split(shape, data) if datatype == BYTES else data
    return [{**row, "shape": shape[1:], "data": element} for element in elements], len(elements)


def about_input(tensor: Any) -> tuple[str, list[int], dict[str, Any]]:
    """An input's datatype, shape and parameters.

    Raises:
        ValueError: it is no input with a name.
    """
    if not isinstance(tensor, dict):
        raise ValueError(f"an input must be an object, not {kind_of(tensor)}")
    if not isinstance(tensor.get("name"), str):
        raise ValueError("name must be a string")
    datatype = tensors.check_datatype(tensor.get("datatype"))
    return datatype, tensors.check_shape(tensor.get("shape")), parameters_of(tensor, "parameters")


def _split(shape: list[int], flat: list[Any]) -> list[Any]:
    """A BYTES tensor's instances: of one element each that element, else a flat list of theirs."""
    known = math.prod(size for size in shape if size != -1)
    sizes = [len(flat) // max(known, 1) if size == -1 else size for size in shape]
    width = math.prod(sizes[1:])
    if sizes[0] * width != len(flat):
        raise ValueError(f"shape {safe_repr(shape)} does not fit {len(flat)} elements")
    if width == 1:
        return flat
    return [flat[at * width : (at + 1) * width] for at in range(sizes[0])]


def _single(elements: list[Any]) -> Any:
    """A BYTES tensor as one instance's data: of one element that element, as in TorchServe.

    Single characters, which a tool of TorchServe's samples makes of a text, are the text again.
    """
    if len(elements) > 1 and all(isinstance(element, str) and len(element) == 1 for element in elements):
        return "".join(elements)
    return elements[0] if len(elements) == 1 else elements


def _wanted(outputs: Any, names: Sequence[str], *, raw: bool) -> Mapping[str, bool] | None:
    """The outputs that a request names, and whether it wants them raw."""
    if not outputs:
        return None
    if not isinstance(outputs, list):
        raise ValueError(f"outputs must be a list, not {kind_of(outputs)}")
    wanted = {}
    for number, output in enumerate(outputs):
        name = output.get("name") if isinstance(output, dict) else None
        if name not in names:
            known = ", ".join(names)
            raise ValueError(f"outputs[{number}]: no output is named {safe_repr(name)}; there are {known}")
        parameters = parameters_of(output, f"outputs[{number}].parameters")
        wanted[str(name)] = bool(parameters.get("binary_data", raw))
    return wanted


def _id(request: Mapping[str, Any]) -> str | None:
    given = request.get("id")
    if given is None or given == "":
        return None
    if isinstance(given, str | int) and not isinstance(given, bool):
        return str(given)
    raise ValueError(f"id must be a string, not {kind_of(given)}")


def _outputs(request: _Request, results: list[Any]) -> Iterator[tuple[str, Tensor]]:
    """The outputs that are wanted, each with its name."""
    at = 0
    for given in request.inputs:
        own = results[at : at + (1 if given.rows is None else given.rows)]
        at += len(own)
        if request.outputs is None or given.name in request.outputs:
            yield given.name, tensors.output(own[0]) if given.rows is None else tensors.stacked(own)


def _about(name: str, tensor: Tensor) -> dict[str, Any]:
    return {"name": name, "datatype": tensor.datatype, "shape": list(tensor.shape) or [1]}
