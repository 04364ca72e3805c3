"""What a request costs in a batch, and the shapes of its tensors: known before it is queued. Pure.

Of tensors only what is said of them is read: datatypes and shapes, never their data. Source: the Open
Inference Protocol v2 with its binary tensor data extension.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from torchkeeper.config.batch_rules import BYTES, COSTS, ELEMENTS, ITEMS, TENSORS
from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.engine.queue import Entry
from torchkeeper.errors import BadRequest
from torchkeeper.wire.messages import Input, Kind
from torchkeeper.wire.raw_tensors import LENGTH_HEADER, MAX_TENSORS, json_length

#: What unequal requests differ in: of each tensor its name, datatype and shape.
Shapes = tuple[tuple[str, str, tuple[int, ...]], ...]

#: Dimensions that an array may have, and elements of all that a request has.
_MOST_DIMENSIONS = 64
_MOST_ELEMENTS = 2**53
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?", re.ASCII)
_DESCRIBE = Kind.DESCRIBE


class _Tensor(msgspec.Struct):
    """What is said of an input. TorchServe's own requests have a number in place of a shape of one."""

    name: str
    datatype: str
    shape: list[int] | int


class _Request(msgspec.Struct):
    inputs: list[_Tensor]


_decoder = msgspec.json.Decoder(_Request)


class Weigher:
    """What the requests of a model cost, and what keeps them apart.

    Args:
        envelope: of requests that name none.
    """

    def __init__(self, settings: ModelSettings, envelope: str | None) -> None:
        self._cost = settings.batch_cost if settings.max_batch_cost is not None else ITEMS
        self._apart = settings.batch_by is not None
        self._envelope = envelope
        #: The request header that says what a request costs, if one does.
        self.header = None if self._cost in COSTS else self._cost
        #: What needs shapes, as model-config.yaml says it; empty: nothing does.
        self._reason = f"batchBy: {settings.batch_by}" if self._apart else ""
        if self._cost == ELEMENTS:
            self._reason = f"batchCost: {ELEMENTS}"

    def weigh(self, entry: Entry) -> None:
        """Gives an entry its cost and, where its shapes keep it apart, a lane of its own.

        A description of the model costs nothing. It takes long where tensors are long JSON. A thread would
        help nobody: msgspec lets no other one run meanwhile.

        Raises:
            BadRequest: its cost or its shapes are not known.
        """
        request = entry.input
        if request.kind is _DESCRIBE:
            return
        shapes = self._shapes_of(request)
        entry.cost = self._cost_of(request, shapes)
        if self._apart:
            entry.lane = entry.lane, shapes

    def _shapes_of(self, request: Input) -> Shapes:
        """The shapes of a request's tensors; none where nothing needs them."""
        if not self._reason:
            return ()
        if (request.envelope or self._envelope) != TENSORS:
            raise BadRequest(
                f"The model takes requests with tensors only ({self._reason}): ask it by KServe v2 "
                "(/v2/models/NAME/infer) or by gRPC's Open Inference Protocol."
            )
        try:
            return shapes_of(request)
        except ValueError as error:
            raise BadRequest(f"The tensors cannot be weighed ({self._reason}): {error}.") from None

    def _cost_of(self, request: Input, shapes: Shapes) -> float:
        if self.header is not None:
            return cost_said(self.header, request.headers)
        if self._cost == BYTES:
            return sum(part.size for part in request.parts)
        if self._cost == ELEMENTS:
            return sum(_elements(shape) for _, _, shape in shapes)
        return 1


def weigher(settings: ModelSettings, envelope: str | None) -> Weigher | None:
    """What weighs the requests of a model, as `Weigher` takes it; None: all are alike."""
    if settings.max_batch_cost is None and settings.batch_by is None:
        return None
    return Weigher(settings, envelope)


def cost_said(name: str, headers: Mapping[str, str]) -> float:
    """What a request header says that the request costs.

    Raises:
        BadRequest: it is not there, or no number.
    """
    said = _field(name, headers)
    if said is None:
        raise BadRequest(
            f"The request needs a header {name} that says what it costs (batchCost); in gRPC, metadata."
        )
    if _NUMBER.fullmatch(said.strip()) is None:
        raise BadRequest(f"The header {name} must be a number from 0 (batchCost), not {said[:100]!r}.")
    return float(said)


def _field(name: str, headers: Mapping[str, str]) -> str | None:
    """A header field, whatever its case."""
    lowered = name.lower()
    return next((value for given, value in headers.items() if given.lower() == lowered), None)


def shapes_of(request: Input) -> Shapes:
    """The name, datatype and shape of each of a KServe v2 request's inputs.

    Raises:
        ValueError: the request is none, or a shape leaves a size to its data; the message says which.
    """
    try:
        found = _decoder.decode(_json_of(request))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the body is no infer request: {error}") from None
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
    if not found.inputs or len(found.inputs) > MAX_TENSORS:
        raise ValueError(f"inputs has {len(found.inputs)} tensors; a request has 1 to {MAX_TENSORS}")
    return tuple(
        (one.name, one.datatype, _checked(one.shape, number)) for number, one in enumerate(found.inputs)
    )


def _json_of(request: Input) -> memoryview:
    """The JSON of a request, without the raw tensors behind it."""
    parts = {part.name: part for part in request.parts if part.size}
    part = parts.get("data") or parts.get("body")
    if part is None:
        raise ValueError("the request has no body")
    said = _field(LENGTH_HEADER, request.headers)
    end = part.size if said is None else json_length(said, part.size)
    if end <= len(part.value):  # tensors behind it are not copied
        return memoryview(part.value)[:end]
    return memoryview(b"".join((part.value, *part.rest)))[:end]


def _checked(shape: list[int] | int, number: int) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, list) else (shape,)
    if len(sizes) > _MOST_DIMENSIONS:
        raise ValueError(f"the shape of inputs[{number}] has more than {_MOST_DIMENSIONS} dimensions")
    if any(size < 0 for size in sizes):
        raise ValueError(f"the shape of inputs[{number}] must say all sizes, from 0")
    if _elements(sizes) > _MOST_ELEMENTS:
        raise ValueError(f"the shape of inputs[{number}] has more than {_MOST_ELEMENTS} elements")
    return sizes


def _elements(shape: tuple[int, ...]) -> int:
    """The product of the sizes; of more elements than there may be any number beyond that."""
    count = 1
    for size in shape:
        count = min(count * min(size, _MOST_ELEMENTS + 1), _MOST_ELEMENTS + 1)
    return count
