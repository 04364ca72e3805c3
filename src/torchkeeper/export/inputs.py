"""What a model takes, as people write it: --input x:FP32:-1,3,224,224, or v2Inputs of model-config.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchkeeper.handler.ports import DATATYPES, Port, Size, fixed, shape_text

#: Pictures as the built-in handlers for them prepare them.
_PICTURES = Port("x", "FP32", (Size(1), fixed(3), fixed(224), fixed(224)))
#: Built-in handlers whose models all take the same.
_BY_HANDLER = {"image_classifier": _PICTURES, "image_segmenter": _PICTURES}


def read_input(text: str) -> Port:
    """An input from its name, datatype and shape, with -1 for any length.

    Raises:
        ValueError: it is none; the message says how one is written.
    """
    name, _, rest = text.partition(":")
    datatype, _, shape = rest.partition(":")
    try:
        return _port(name, datatype, [int(size) for size in shape.split(",")])
    except ValueError:
        known = ", ".join(DATATYPES.values())
        raise ValueError(
            f"{text!r} is no input: write NAME:DATATYPE:SHAPE, such as x:FP32:-1,3,224,224, "
            f"with a datatype of {known}"
        ) from None


def inputs_of(described: Any, handler: str | None) -> list[Port]:
    """The inputs that v2Inputs describes, else those that the handler gives; none if nobody knows."""
    if isinstance(described, list) and described:
        try:
            return [_port(one["name"], one["datatype"], one["shape"]) for one in described]
        except (KeyError, TypeError, ValueError):
            return []
    known = _BY_HANDLER.get(handler or "")
    return [known] if known is not None else []


def taken(ports: Sequence[Port]) -> str:
    """What a model takes, for people."""
    return ", ".join(f"{port.name} {port.datatype} {shape_text(port.sizes or ())}" for port in ports)


def _port(name: str, datatype: str, shape: list[int]) -> Port:
    if not name or datatype not in DATATYPES.values() or not all(size == -1 or size > 0 for size in shape):
        raise ValueError(name)
    return Port(name, datatype, tuple(Size(1) if size == -1 else fixed(size) for size in shape))
