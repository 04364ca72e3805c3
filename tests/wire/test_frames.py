"""Frames: what goes in comes out, however the bytes are cut; what is no frame is an error."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import (
    LARGE,
    MAX_HEADER,
    Batch,
    Cancel,
    Message,
    Replies,
    ReplyHead,
    WireError,
    batch_pieces,
    decode_batch,
    decode_replies,
    encode,
    encode_batch,
    encode_replies,
    sendable,
)
from torchkeeper.wire.messages import Failure, Input, Kind, Part, Reply, Sample

text = st.text(max_size=20)
parts = st.builds(Part, text, st.binary(max_size=200), st.none() | text, st.booleans())
inputs = st.lists(
    st.builds(
        Input,
        text,
        st.just(Kind.EXPLAIN),
        st.lists(parts, max_size=3).map(tuple),
        st.dictionaries(text, text, max_size=3),
        st.just("kserve"),
    ),
    min_size=1,
    max_size=4,
)
outcomes = st.lists(
    st.builds(
        Reply,
        st.binary(max_size=200),
        st.integers(99, 1000),
        text,
        st.dictionaries(text, text, max_size=3),
        st.none() | text,
    )
    | st.builds(Failure, st.integers(400, 599), text, st.none() | text)
    | st.none(),
    max_size=4,
)


def feed_in_pieces(data: bytes, size: int) -> list[tuple[Message, bytes]]:
    reader = FrameReader()
    frames: list[tuple[Message, bytes]] = []
    for start in range(0, len(data), size):
        frames += reader.feed(data[start : start + size])
    return frames


@given(inputs, st.integers(1, 50))
def test_a_batch_survives_the_wire_in_any_pieces(batch: list[Input], size: int) -> None:
    data = encode_batch(7, batch) + encode(Cancel(7, (1, 3)))
    (first, raw), (second, _) = feed_in_pieces(data, size)
    assert isinstance(first, Batch)
    assert decode_batch(first, raw) == batch
    assert second == Cancel(7, (1, 3))


@pytest.mark.parametrize("size", [LARGE // 3, LARGE, LARGE + 1, 5 * LARGE])
@pytest.mark.parametrize("cut", [1000, LARGE - 1, LARGE, 1 << 24])
def test_large_payloads_are_sent_as_they_came_and_come_whole(size: int, cut: int) -> None:
    pieces = tuple(bytes([number]) * size for number in range(3))
    part = Part("body", pieces[0], None, False, pieces[1:])
    sent = batch_pieces(7, [Input("id", Kind.PREDICT, (part, Part("b", b"small")), {})])
    assert all(any(one is piece for one in sent) for piece in pieces)
    data = encode(Cancel(1, ())) + b"".join(sent) + encode(Cancel(2, ()))
    (before, _), (batch, raw), (after, _) = feed_in_pieces(data, cut)
    assert (before, after) == (Cancel(1, ()), Cancel(2, ()))
    assert isinstance(batch, Batch)
    ((whole, small),) = (found.parts for found in decode_batch(batch, raw))
    assert (whole.value, whole.rest, small.value) == (b"".join(pieces), (), b"small")
    assert whole.size == part.size == 3 * size


def test_small_payloads_are_one_piece() -> None:
    assert len(batch_pieces(7, [Input("id", Kind.PREDICT, (Part("b", b"small"),), {})])) == 1


def test_the_one_large_body_of_a_frame_is_not_copied() -> None:
    body = bytes(3 * LARGE)
    ((message, raw),) = feed_in_pieces(encode_replies(1, [Reply(body)], [], 0.1), 10_000)
    assert isinstance(message, Replies)
    (reply,) = decode_replies(message.replies, raw)
    assert isinstance(reply, Reply)
    assert reply.body is raw


@given(outcomes, st.integers(1, 50))
def test_replies_survive_the_wire_in_any_pieces(replies: list[Reply | Failure | None], size: int) -> None:
    sample = Sample("HandlerTime", 1.5, "ms", "gauge", (("Level", "Model"),))
    ((message, raw),) = feed_in_pieces(encode_replies(3, replies, [sample], 0.25), size)
    assert isinstance(message, Replies)
    assert decode_replies(message.replies, raw) == replies
    assert message.samples == (sample,)
    assert message.seconds == 0.25


def framed(header: bytes) -> bytes:
    """A header as a frame without payload."""
    return len(header).to_bytes(4, "big") + bytes(4) + header


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff\x00\x00\x00\x00",
        b"\x00\x00\x00\x01\x00\x00\x00\x00\xc1",
        b"\x00\x00\x00\x02\x00\x00\x00\x00\x91\x63",
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x92\x0f\xa1\xff",
        framed(b"\x93\x01" + b"\x81\xa8manifest" + b"\x81\xa1a" * 10_000),
        framed(b"\x93\x0d\x07\x91\x95\xcc\xc8\xa0\x80\xc0\xff"),
    ],
    ids=["a header of 4 GiB", "no msgpack", "an unknown tag", "no UTF-8", "nested", "a negative length"],
)
def test_what_is_no_frame_is_an_error(data: bytes) -> None:
    with pytest.raises(WireError):
        FrameReader().feed(data)


def test_a_batch_that_lies_about_its_payload_is_an_error() -> None:
    data = encode_batch(1, [Input("a", Kind.PREDICT, (Part("body", b"12345"),), {})])
    ((batch, raw),) = FrameReader().feed(data)
    assert isinstance(batch, Batch)
    with pytest.raises(WireError):
        decode_batch(batch, raw + b"more")


def test_answers_that_lie_about_their_payload_are_an_error() -> None:
    heads = (ReplyHead(200, "", {}, None, 2), None, ReplyHead(200, "", {}, None, 3))
    assert decode_replies(heads, b"12345") == [Reply(b"12"), None, Reply(b"345")]
    for raw in (b"1234", b"123456"):
        with pytest.raises(WireError):
            decode_replies(heads, raw)


def test_control_messages_carry_no_payload() -> None:
    assert FrameReader().feed(encode(Cancel(4, (0, 2)))) == [(Cancel(4, (0, 2)), b"")]


def a_sample(name: str, value: Any = 1.0, label: Any = "value") -> Sample:
    return Sample(name, value, "ms", "GAUGE", (("label", label),))


@pytest.mark.parametrize(
    "bad", [a_sample("\ud800"), a_sample("b", "text"), a_sample("b", label=3), a_sample("b", 1j)]
)
def test_a_number_that_cannot_be_sent_is_left_out(bad: Sample) -> None:
    samples = [a_sample("a"), bad, a_sample("c")]
    assert sendable(samples) == [samples[0], samples[2]]
    assert sendable(samples[:1]) == samples[:1]
    assert sendable([]) == []


def test_of_too_many_numbers_the_newest_are_sent() -> None:
    samples = [a_sample(str(number), label="x" * 2_000_000) for number in range(40)]
    found = sendable(samples)
    assert 5 < len(found) < 20
    assert found == samples[-len(found) :]
    assert len(encode_replies(1, [], found, 0.1)) < MAX_HEADER
