"""The heads of requests and answers, without a connection."""

from __future__ import annotations

import re

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.errors import BadRequest
from torchkeeper.http.head import AnswerHead, Framing, Head, plain_head

FIELD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t\x20-\x7e\x80-\xff]*")


def request(method: bytes = b"GET", version: str = "1.1", *fields: tuple[bytes, bytes]) -> Head:
    head = Head()
    head.method, head.target, head.version = method, b"/predictions/m?secret=1", version
    head.fields = list(fields)
    head.lowered = [(name.lower(), value) for name, value in fields]
    return head


@pytest.mark.parametrize(
    ("method", "version", "status", "sized", "framing"),
    [
        (b"GET", "1.1", 200, True, Framing.LENGTH),
        (b"GET", "1.1", 200, False, Framing.CHUNKS),
        (b"GET", "1.0", 200, True, Framing.LENGTH),
        (b"GET", "1.0", 200, False, Framing.CLOSE),
        (b"HEAD", "1.1", 200, False, Framing.NONE),
        (b"HEAD", "1.0", 200, False, Framing.NONE),
        *((b"GET", version, status, sized, Framing.NONE) for status in (204, 205, 304)
          for sized in (True, False) for version in ("1.0", "1.1")),
    ],
)  # fmt: skip
def test_how_a_body_ends(method: bytes, version: str, status: int, sized: bool, framing: Framing) -> None:
    fields = [(b"Content-Length", b"2")] if sized else []
    assert AnswerHead(request(method, version), status, None, fields, close=False).framing is framing


class Reader:
    """What a client's parser makes of an answer."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.phrase = b""
        self.body = b""
        self.whole = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_status(self, status: bytes) -> None:
        self.phrase += status

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.whole += 1


@given(
    status=st.integers(-5, 1100),
    reason=st.none() | st.binary(max_size=8),
    fields=st.lists(
        st.tuples(
            st.binary(max_size=4) | st.sampled_from([b"X-Request-Id", b"x-a", b"Date"]),
            st.binary(max_size=6),
        ).filter(lambda field: field[0].lower() not in (b"content-length", b"connection")),
        max_size=5,
    ),
    close=st.booleans(),
)
def test_whatever_an_application_says_a_client_can_read(
    status: int, reason: bytes | None, fields: list[tuple[bytes, bytes]], close: bool
) -> None:
    answer = AnswerHead(request(), status, reason, [*fields, (b"content-length", b"2")], close=close)
    block = answer.block
    line, *lines = block.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert re.fullmatch(rb"HTTP/1\.1 [2-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*", line)
    assert all(FIELD.fullmatch(field) for field in lines)
    assert lines[-1] == (b"connection: close" if close or answer.status >= 400 else b"connection: keep-alive")
    reader = Reader()
    parser = httptools.HttpResponseParser(reader)
    parser.feed_data(block + (b"ok" if answer.framing is Framing.LENGTH else b""))
    assert (reader.whole, parser.get_status_code()) == (1, answer.status)
    assert reader.body == (b"ok" if answer.framing is Framing.LENGTH else b"")


def test_a_request_id_is_kept_for_the_access_log() -> None:
    assert AnswerHead(request(), 200, None, [(b"X-Request-ID", b"17")], close=False).request_id == b"17"


def test_a_warning_names_the_path_and_not_what_was_asked(caplog: pytest.LogCaptureFixture) -> None:
    AnswerHead(request(), 99, None, [], close=False)
    assert "the answer to GET /predictions/m: its status 99" in caplog.text
    assert "secret" not in caplog.text


def test_a_head_without_exactly_one_host_is_refused_in_http_1_1() -> None:
    host = (b"Host", b"x")
    request(b"GET", "1.0").check()
    for version, fields in (("1.1", ()), ("1.1", (host, host)), ("1.0", (host, host))):
        with pytest.raises(BadRequest):
            request(b"GET", version, *fields).check()
    request(b"GET", "1.1", host).check()


def test_what_a_head_says_of_its_body() -> None:
    fields = ((b"Host", b"x"), (b"Content-Length", b"12"), (b"Expect", b"100-Continue"))
    head = request(b"POST", "1.1", *fields, (b"Upgrade", b"h2c"), (b"Connection", b"upgrade"))
    head.check()
    assert (head.length, head.expects) == (12, True)
    assert head.framing() == b"POST / HTTP/1.1\r\ncontent-length: 12\r\n\r\n"
    chunked = request(b"POST", "1.0", (b"Transfer-Encoding", b"chunked"))
    assert chunked.framing() == b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n"


@given(
    st.lists(
        st.tuples(st.sampled_from([b"X-A", b"content-type", b"bad name"]), st.binary(max_size=8)), max_size=4
    ),
    st.from_regex(rb"[0-9a-f-]{36}", fullmatch=True),
    st.integers(0, 10**9),
)
def test_a_plain_answer_s_head_is_that_of_any_other(
    fields: list[tuple[bytes, bytes]], request_id: bytes, length: int
) -> None:
    said = [(b"x-request-id", request_id), *fields, (b"content-length", b"%d" % length)]
    other = AnswerHead(Head(), 200, None, said, close=False)
    assert plain_head(request_id, tuple(fields), length) == other.block
    assert (other.framing, other.close) == (Framing.LENGTH, False)
