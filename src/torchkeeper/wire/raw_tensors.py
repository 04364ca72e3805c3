"""What front and workers share of KServe v2's tensors: names, bounds, and the form of raw BYTES.

Pure, and without numpy, which the front does not have. Source: the Open Inference Protocol's binary tensor
data extension; `AS_LISTS` and the bound are ours.
"""

from __future__ import annotations

import struct

#: The header with the length of the JSON before raw tensors, in requests and answers.
LENGTH_HEADER = "Inference-Header-Content-Length"
#: The datatype whose elements have no fixed size.
BYTES = "BYTES"
#: Parameter of a raw tensor that handlers shall see as nested lists, like one in JSON: gRPC's typed contents
#: travel so, which costs a fraction of JSON.
AS_LISTS = "binary_data_as_lists"
#: Inputs that one request may have; each costs both sides far more than its bytes.
MAX_TENSORS = 10_000


def json_length(said: str, size: int) -> int:
    """The length of the JSON, in bytes, as the header says it of a body of so many.

    Raises:
        ValueError: it is no number, or more than there is.
    """
    if not said.isascii() or not said.isdigit() or len(said) > 15 or int(said) > size:
        raise ValueError(f"{LENGTH_HEADER} must be a number of at most {size} bytes, not {said[:100]!r}")
    return int(said)


def elements_of(raw: memoryview) -> list[bytes]:
    """The elements of a raw BYTES tensor: each follows its length, a little-endian uint32.

    Raises:
        ValueError: a length or an element is cut off.
    """
    elements = []
    at = 0
    while at < len(raw):
        if at + 4 > len(raw):
            raise ValueError("a BYTES element needs its length in four bytes")
        (length,) = struct.unpack_from("<I", raw, at)
        at += 4
        if at + length > len(raw):
            raise ValueError(f"a BYTES element of {length} bytes, of which {len(raw) - at} are there")
        elements.append(bytes(raw[at : at + length]))
        at += length
    return elements
