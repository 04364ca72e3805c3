"""What a head must be beyond what the parser holds it to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.errors import BadRequest, TorchkeeperError
from torchkeeper.http.grammar import (
    INVALID,
    UnknownTransferCoding,
    UnknownVersion,
    check_coding,
    check_host,
    check_version,
    ends_connection,
    find_line,
    origin_form,
)

LINE = b"GET /a HTTP/1.1\r\n"


def found(raw: bytes, after: int = 0, version: str = "1.1") -> int:
    return find_line(raw, b"GET", b"/a", version, after)


@pytest.mark.parametrize("before", [b"", b"\r\n", b"\r\n\r\n"])
def test_the_first_line_stands_at_the_beginning_but_for_empty_lines(before: bytes) -> None:
    assert found(before + LINE + b"Host: x\r\n\r\n") == len(before + LINE)


@pytest.mark.parametrize("before", [b"\n", b"\r", b" ", b"\r\n\n", b"x"])
def test_nothing_else_stands_before_it(before: bytes) -> None:
    with pytest.raises(BadRequest):
        found(before + LINE)


@pytest.mark.parametrize(
    "spelled", [b"GET  /a HTTP/1.1\r\n", b"GET /a  HTTP/1.1\r\n", b"GET /a RTSP/1.1\r\n"]
)
@pytest.mark.parametrize("before", [b"", LINE + b"\r\n"])
def test_another_spelling_is_refused_also_of_a_later_line(spelled: bytes, before: bytes) -> None:
    with pytest.raises(BadRequest):
        found(before + spelled + b"\r\n" + LINE, len(LINE) if before else 0)


@given(st.binary(max_size=40).filter(lambda body: b"/a" not in body))
def test_a_later_line_is_found_behind_any_body(body: bytes) -> None:
    raw = LINE + b"\r\n" + body + LINE
    assert found(raw + b"\r\n", len(LINE)) == len(raw)


@pytest.mark.parametrize("body", [b"GET", b"GET x", b"GET GET ", b"GET /ab", b"GET /a x", b"GET  /a GET /a"])
def test_what_only_begins_like_the_line_is_passed_over(body: bytes) -> None:
    raw = LINE + b"\r\n" + body + LINE
    assert found(raw + b"\r\n" + LINE, len(LINE)) == len(raw)


def test_a_later_line_that_is_nowhere_is_refused() -> None:
    with pytest.raises(BadRequest):
        found(LINE + b"\r\nGET /b HTTP/1.1\r\n", len(LINE))


def test_a_later_line_is_found_in_no_time_whatever_stands_before_it() -> None:
    target = b"/" + b"a" * 16_000
    for before in (b"GET " * 60_000, b"GET  /" * 40_000, b" " * 200_000, (b"GET " + b" " * 500) * 500):
        raw = LINE + before + b"GET " + target + b" HTTP/1.1\r\n"
        assert find_line(raw, b"GET", target, "1.1", len(LINE)) == len(raw)


def test_versions() -> None:
    check_version("1.1")
    check_version("1.0")
    for version in ("0.9", "2.0"):
        with pytest.raises(UnknownVersion) as refused:
            check_version(version)
        assert (refused.value.status, refused.value.refusal) == (505, True)
    with pytest.raises(BadRequest):  # no version at all reads as 0.9
        found(b"GET /a\r\n", version="0.9")


def test_codings() -> None:
    check_coding(b"chunked", "1.1")
    check_coding(b" Chunked\t", "1.1")
    for value in (b"gzip, chunked", b"identity", b"", b"chunked, chunked"):
        with pytest.raises(UnknownTransferCoding) as refused:
            check_coding(value, "1.1")
        assert (refused.value.status, refused.value.refusal) == (501, True)
    with pytest.raises(BadRequest):
        check_coding(b"chunked", "1.0")


@pytest.mark.parametrize(
    ("refused", "status", "text", "cause"),
    [
        (
            lambda: found(b"GET  /a HTTP/1.1\r\n"),
            400,
            INVALID,
            "the request line must be method, target and HTTP version with one blank between",
        ),
        (lambda: check_host(b"a b"), 400, INVALID, "the Host field is no host with or without a port"),
        (lambda: check_coding(b"chunked", "1.0"), 400, INVALID, "HTTP/1.0 has no Transfer-Encoding"),
        (lambda: check_coding(b"gzip", "1.1"), 501, "No Transfer-Encoding but chunked is known.", None),
        (lambda: check_version("2.0"), 505, "HTTP/2.0 is not spoken here, HTTP/1.1 is.", None),
        (lambda: origin_form(b"GET", b"a"), 400, INVALID, "the target is neither a path nor an http URL"),
    ],
)
def test_a_refusal_says_what_is_wrong(
    refused: Callable[[], object], status: int, text: str, cause: str | None
) -> None:
    with pytest.raises(TorchkeeperError) as raised:
        refused()
    assert (raised.value.status, raised.value.message, raised.value.cause) == (status, text, cause)


def test_blanks_are_spaces_and_tabs_and_nothing_else() -> None:
    check_host(b"\t x ")
    for value in (b"\x0bx", b"x\x0c", b"[::1]X"):
        with pytest.raises(BadRequest):
            check_host(value)
    for value in (b"\x0bchunked", b"chunkedX"):
        with pytest.raises(UnknownTransferCoding):
            check_coding(value, "1.1")
    assert ends_connection([(b"connection", b"a, \tclose\t")])
    assert not ends_connection([(b"connection", b"\x0bclose, closeX")])


@given(st.binary(max_size=12))
def test_a_host_has_no_blanks_and_nothing_that_ends_one(value: bytes) -> None:
    try:
        check_host(value)
    except TorchkeeperError:
        return
    assert not set(value.strip(b" \t")) & set(b' \t\r\n\0/?#@\\"<>')


@pytest.mark.parametrize(
    ("method", "target", "path"),
    [
        (b"GET", b"http://x/a?b", b"/a?b"),
        (b"GET", b"HTTPS://x:1/a", b"/a"),
        (b"GET", b"http://x", b"/"),
        (b"GET", b"http://x?b", b"/?b"),
        (b"OPTIONS", b"*", b"*"),
    ],
)
def test_the_path_of_a_url(method: bytes, target: bytes, path: bytes) -> None:
    assert origin_form(method, target) == path


@pytest.mark.parametrize("target", [b"*", b"a", b"ftp://x/", b"http://", b"http:///a", b"http://a@b/", b""])
def test_what_names_no_path(target: bytes) -> None:
    with pytest.raises(BadRequest):
        origin_form(b"GET", target)


def test_close_is_one_of_the_options() -> None:
    assert ends_connection([(b"connection", b"keep-alive, Close")])
    assert ends_connection([(b"connection", b"a"), (b"connection", b"close")])
    assert not ends_connection([(b"connection", b"closed"), (b"a", b"close")])
