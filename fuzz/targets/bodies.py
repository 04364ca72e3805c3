"""A request's body and its content type: forms, parts, queries, parameters, and what was compressed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from targets.target import Target
from torchkeeper.api.body import parse_parameters, parse_parts, parse_query, takes_long
from torchkeeper.api.coding import accepted, chosen, decoded, encoded
from torchkeeper.errors import TorchkeeperError
from torchkeeper.wire.frames import encode_batch
from torchkeeper.wire.messages import Input, Kind, Part

_LIMIT = 10_000


def run(data: bytes) -> None:
    """Up to the first line feed a field, behind it a body."""
    field, _, body = data.partition(b"\n")
    said = field.decode("latin-1")
    try:
        takes_long(said, len(body))
        check(parse_parts(said, body), body)
    except TorchkeeperError as error:
        assert error.status == 400
    try:
        check(parse_query(body), body)
        values = parse_parameters(field, "application/json", body)
        assert all(isinstance(name, str) and value is not None for name, value in values.items())
    except TorchkeeperError as error:
        assert error.status == 400
    assert chosen(said) in (None, *accepted(said))
    try:
        found = decoded(body, said, _LIMIT)
    except TorchkeeperError as error:
        assert error.status in (400, 413, 415)
    else:
        assert len(found) <= max(_LIMIT, len(body))
        assert decoded(encoded(found[:_LIMIT], "gzip"), "gzip", _LIMIT) == found[:_LIMIT]


def check(parts: tuple[Part, ...], body: bytes) -> None:
    """Whatever a body claims, no more comes of it than it has; names come once, and can be sent on."""
    encode_batch(1, [Input("1", Kind.PREDICT, parts, {})])
    assert sum(len(part.value) for part in parts) <= len(body)
    assert len({part.name for part in parts}) == len(parts)


def seeds() -> Iterator[bytes]:
    for end in (b"\r\n", b"\n"):
        parts = (
            b'--B%bContent-Disposition: form-data; name="a"%b%b1%b' % (end, end, end, end),
            b'--B%bcontent-disposition: form-data; name=b; filename="x.png"%b' % (end, end),
            b"Content-Type: image/png%b%b\x89PNG\0%b--B--%b" % (end, end, end, end),
        )
        yield b"multipart/form-data; boundary=B\n" + b"".join(parts)
    extended = (
        b"--B\r\nContent-Disposition: form-data; name*=UTF-8''%e2%82%ac; name*0=a\r\n\r\nx\r\n--B--\r\n"
    )
    yield b'Multipart/Form-Data; charset=x; boundary="B"\n' + extended
    yield b"multipart/form-data; boundary*=UTF-8''B\n" + extended
    yield b"application/x-www-form-urlencoded\na=1&b=%e2%82%ac&a=2+3&&c&=d%"
    yield b'application/json; charset=utf-8\n{"url": "m.mar", "batch_size": 4, "nested": [[null, 1e3]]}'
    yield b"text/plain\n" + bytes(range(256))
    yield b"gzip\n" + encoded(b"abc" * 50, "gzip")
    yield b"deflate\n" + zlib.compress(b"abc" * 50)
    yield b"deflate;q=1, gzip;q=0.0, *\n" + zlib.compress(b"")[2:-4]


TARGET = Target(run, seeds)
