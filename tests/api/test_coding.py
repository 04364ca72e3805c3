"""Content codings: what comes in compressed, and what goes out so."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from torchkeeper.api.coding import accepted, chosen, decoded, encoded
from torchkeeper.errors import BadRequest, RequestTooLarge, UnknownCoding


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@given(st.binary(max_size=3000))
def test_bodies_come_back(body: bytes) -> None:
    for coding in ("gzip", "deflate"):
        assert decoded(encoded(body, coding), coding, 3000) == body
    assert gzip.decompress(encoded(body, "gzip")) == body
    assert zlib.decompress(encoded(body, "deflate")) == body
    assert decoded(gzip.compress(body), " GZIP ", 3000) == body
    assert decoded(raw_deflate(body), "deflate", 3000) == body


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]))
@example(b"\x03\x00", "deflate")
def test_anything_else_is_refused(body: bytes, coding: str) -> None:
    try:
        found = decoded(body, coding, 1000)
    except (BadRequest, RequestTooLarge):
        return
    assert found in (inflated(body, zlib.MAX_WBITS | 32), inflated(body, -zlib.MAX_WBITS))


def inflated(body: bytes, window: int) -> bytes | None:
    try:
        return zlib.decompress(body, window)
    except zlib.error:
        return None


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    assert decoded(bomb, "gzip", 10_000_000) == bytes(10_000_000)
    with pytest.raises(RequestTooLarge):
        decoded(bomb, "gzip", 9_999_999)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        gzip.compress(b"abc", mtime=0)[:-1],
        gzip.compress(b"abc", mtime=0) + b"x",
        gzip.compress(b"a", mtime=0) * 2,
    ],
)
def test_half_of_it_or_more_than_it(body: bytes) -> None:
    with pytest.raises(BadRequest) as raised:
        decoded(body, "gzip", 100)
    assert raised.value.message == "The body is no gzip."


@pytest.mark.parametrize("coding", ["br", "gzip, deflate", "zstd"])
def test_codings_that_are_not_known(coding: str) -> None:
    with pytest.raises(UnknownCoding) as raised:
        decoded(b"", coding, 100)
    assert raised.value.headers == {"Accept-Encoding": "gzip, deflate"}


@pytest.mark.parametrize("coding", ["", "identity", "Identity"])
def test_bodies_without_a_coding(coding: str) -> None:
    assert decoded(b"as it is", coding, 1) == b"as it is"


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, None),
        ("", None),
        ("br", None),
        ("*", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, GZIP;q=0.5", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0.0", None),
    ],
)
def test_what_a_client_likes(accept: str | None, coding: str | None) -> None:
    assert chosen(accept) == coding


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("text/event-stream", {"text/event-stream"}),
        ("Text/Event-Stream; charset=utf-8; q=0.1", {"text/event-stream"}),
        ("text/event-stream;q=0, */*", {"*/*"}),
        ("text/event-stream-foo ; q = 0.0", set()),
    ],
)
def test_what_a_field_accepts(field: str, names: set[str]) -> None:
    assert accepted(field) - {""} == names
