"""Content codings: bodies that clients compressed, and answers compressed for clients who ask. Pure.

Source: RFC 9110, sections 8.4 and 12.5.3; zlib does the work.
"""

from __future__ import annotations

import zlib

from torchkeeper.errors import BadRequest, RequestTooLarge, UnknownCoding

#: Bytes from which compressing an answer pays.
WORTHWHILE = 1024
#: Little of the possible gain costs most of the time.
_LEVEL = 1
_GZIP, _EITHER, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS | 32, -zlib.MAX_WBITS


def decoded(body: bytes, coding: str, limit: int) -> bytes:
    """A body without its content coding; `deflate` is taken with and without zlib's frame.

    Args:
        body: as it came.
        coding: the Content-Encoding field.
        limit: largest body, in bytes; no more than that is ever unpacked.

    Raises:
        UnknownCoding: it is neither gzip, deflate nor identity.
        RequestTooLarge: more than `limit` bytes.
        BadRequest: the bytes are not what the coding says.
    """
    name = coding.strip().lower() or "identity"
    if name == "identity":
        return body
    if name not in ("gzip", "x-gzip", "deflate"):
        raise UnknownCoding(name)
    try:
        found = _unpacked(body, _EITHER, limit)
    except zlib.error as error:
        try:
            if name != "deflate":
                raise
            found = _unpacked(body, _RAW, limit)
        except zlib.error:
            raise BadRequest(f"The body is no {name}.", cause=str(error)) from None
    return found


def _unpacked(body: bytes, window: int, limit: int) -> bytes:
    unpacker = zlib.decompressobj(window)
    found = unpacker.decompress(body, limit + 1)
    if len(found) > limit:
        raise RequestTooLarge(limit)
    if not unpacker.eof or unpacker.unused_data:
        raise zlib.error("incomplete, or something comes after its end")
    return found


def accepted(field: str | None) -> frozenset[str]:
    """What an Accept or Accept-Encoding field names with a weight above 0, in small letters."""
    wanted = set()
    for item in (field or "").lower().split(","):
        name, *parameters = item.split(";")
        weights = [parameter.partition("=") for parameter in parameters]
        if not any(key.strip() == "q" and value.strip(" 0.") == "" for key, _, value in weights):
            wanted.add(name.strip())
    return frozenset(wanted)


def chosen(accept: str | None) -> str | None:
    """The coding for an answer, by the Accept-Encoding field; None: none."""
    wanted = accepted(accept)
    return "gzip" if "gzip" in wanted else "deflate" if "deflate" in wanted else None


def encoded(body: bytes, coding: str) -> bytes:
    """A body in gzip or deflate."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP if coding == "gzip" else zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()
