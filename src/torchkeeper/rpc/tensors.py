"""ModelInfer's messages as the v2 REST body and back. Pure.

The envelope `kservev2` in the workers knows one form: JSON, with raw tensors behind it. Answers are always
asked for raw, because that is exact for every datatype and value, and are turned into typed contents where
the request was typed. Source: Open Inference Protocol v2, gRPC and its binary tensor data extension.
"""

from __future__ import annotations

import struct
import sys
from array import array
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from torchkeeper.errors import BadRequest, TorchkeeperError
from torchkeeper.rpc.schema import message
from torchkeeper.wire.messages import Reply
from torchkeeper.wire.raw_tensors import AS_LISTS, BYTES, LENGTH_HEADER, MAX_TENSORS, elements_of

ModelInferResponse = message("inference.ModelInferResponse")


#: Datatype -> the field of InferTensorContents, and the `struct` letter of one element.
_TYPED = {
    "BOOL": ("bool_contents", "?"),
    "INT8": ("int_contents", "b"),
    "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"),
    "INT64": ("int64_contents", "q"),
    "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"),
    "UINT64": ("uint64_contents", "Q"),
    "FP32": ("fp32_contents", "f"),
    "FP64": ("fp64_contents", "d"),
}
_BYTES_FIELD = "bytes_contents"
#: Parameters that say how tensors travel: here the message's form says it.
_TRAVEL = frozenset({"binary_data", "binary_data_size", "binary_data_output", AS_LISTS})


def is_raw(request: Any) -> bool:
    """Whether the request's tensors are raw, and its answer's shall be."""
    return len(request.raw_input_contents) > 0


def body_of(request: Any) -> tuple[bytes, dict[str, str]]:
    """The REST body of a ModelInferRequest and the headers that belong to it.

    Raises:
        BadRequest: raw and typed contents are mixed, a tensor's contents are not those of its datatype, or
            there are too many tensors.
    """
    if len(request.inputs) > MAX_TENSORS:
        raise BadRequest(f"inputs has {len(request.inputs)} tensors; a request may have {MAX_TENSORS}.")
    raw = list(request.raw_input_contents)
    if raw and any(tensor.HasField("contents") for tensor in request.inputs):
        raise BadRequest("raw_input_contents and contents are mixed: a request has one or the other.")
    if raw and len(raw) != len(request.inputs):
        raise BadRequest(
            f"raw_input_contents has {len(raw)} elements for {len(request.inputs)} inputs; each needs one."
        )
    inputs = []
    behind: list[bytes] = []
    for place, tensor in enumerate(request.inputs):
        found = {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "datatype": tensor.datatype,
            "parameters": _parameters(tensor.parameters),
        }
        where = f"inputs[{place}] ({tensor.name[:100]})"
        content = raw[place] if raw else _typed(tensor, where)
        if isinstance(content, bytes):
            behind.append(content)
            found["parameters"] |= {"binary_data_size": len(content), **({} if raw else {AS_LISTS: True})}
        else:
            found["data"] = content
        inputs.append(found)
    head = {
        "parameters": {**_parameters(request.parameters), "binary_data_output": True},
        "inputs": inputs,
        "outputs": [
            {"name": output.name, "parameters": _parameters(output.parameters)} for output in request.outputs
        ],
    }
    if request.id:
        head["id"] = request.id
    text = msgspec.json.encode(head)
    return b"".join((text, *behind)), {LENGTH_HEADER: str(len(text))}


def _typed(tensor: Any, where: str) -> list[str] | bytes:
    """A tensor's typed contents: numbers as raw bytes, BYTES as texts for JSON."""
    datatype = tensor.datatype
    field, code = (_BYTES_FIELD, "") if datatype == BYTES else _TYPED.get(datatype, ("", ""))
    if not field:
        known = ", ".join((*_TYPED, BYTES))
        raise BadRequest(
            f"{where}: {datatype[:100]!r} has no typed contents; send it raw, or one of {known}."
        )
    for other, _ in tensor.contents.ListFields():
        if other.name != field:
            raise BadRequest(f"{where}: {datatype} has its values in {field}, not in {other.name}.")
    values = getattr(tensor.contents, field)
    if datatype == BYTES:
        return [b64encode(value).decode() for value in values]  # TorchServe's form for handlers
    try:
        return _packed(code, values)
    except (OverflowError, struct.error):
        raise BadRequest(f"{where}: {field} has values outside of {datatype}.") from None


def _packed(code: str, values: Any) -> bytes:
    if code == "?" or sys.byteorder == "big":
        return struct.pack(f"<{len(values)}{code}", *values)
    return array(code, values).tobytes()


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, parameter in given.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None and name not in _TRAVEL:
            found[name] = getattr(parameter, choice)
    return found


def response_of(reply: Reply, *, raw: bool) -> Any:
    """The ModelInferResponse of the envelope's answer.

    Raises:
        TorchkeeperError: the answer is no infer response with raw tensors.
    """
    try:
        length = int(reply.headers.get(LENGTH_HEADER, len(reply.body)))
        head = msgspec.json.decode(reply.body[:length])
        response = ModelInferResponse(
            model_name=head["model_name"], model_version=head["model_version"], id=head["id"]
        )
        for output, content in _tensors(head["outputs"], memoryview(reply.body)[length:]):
            tensor = response.outputs.add(
                name=output["name"], datatype=output["datatype"], shape=output["shape"]
            )
            if raw:
                response.raw_output_contents.append(bytes(content))
            else:
                _fill(tensor, content)
    except (KeyError, TypeError, ValueError, RecursionError, struct.error, msgspec.DecodeError) as error:
        raise TorchkeeperError("The model's answer is no infer response.", cause=str(error)) from None
    return response


def _tensors(outputs: list[dict[str, Any]], rest: memoryview) -> Iterator[tuple[dict[str, Any], memoryview]]:
    at = 0
    for output in outputs:
        size = output["parameters"]["binary_data_size"]
        if at + size > len(rest):
            raise ValueError(f"output {output['name']} has fewer than {size} bytes")
        yield output, rest[at : at + size]
        at += size


def _fill(tensor: Any, content: memoryview) -> None:
    """Puts a raw tensor's elements in its typed contents; FP16, which has none, becomes FP32."""
    contents = tensor.contents
    if tensor.datatype == BYTES:
        contents.bytes_contents.extend(elements_of(content))
        return
    if tensor.datatype == "FP16":
        tensor.datatype = "FP32"
        contents.fp32_contents.extend(struct.unpack(f"<{len(content) // 2}e", content))
        return
    field, code = _TYPED[tensor.datatype]
    getattr(contents, field).extend(_unpacked(code, content))


def _unpacked(code: str, content: memoryview) -> Any:
    if code == "?" or sys.byteorder == "big":
        return struct.unpack(f"<{len(content) // struct.calcsize('<' + code)}{code}", content)
    found = array(code)
    found.frombytes(content)
    return found
