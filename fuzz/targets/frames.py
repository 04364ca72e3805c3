"""What a worker sends, and what it gets: frames, whole or cut, and the payloads that they describe."""

from __future__ import annotations

from collections.abc import Iterator

from targets.target import Target
from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import (
    Batch,
    Cancel,
    Confine,
    Exited,
    Fork,
    Forked,
    HandlerLeft,
    Intermediate,
    Load,
    Loaded,
    LoadFailed,
    Message,
    Replies,
    Stop,
    TemplateReady,
    WireError,
    decode_batch,
    decode_replies,
    encode,
    encode_batch,
    encode_parts,
    encode_replies,
)
from torchkeeper.wire.messages import (
    Failure,
    Input,
    Kind,
    ModelSpec,
    Part,
    Reply,
    Sample,
    Sandbox,
    Signature,
    TensorSpec,
)

_SPEC = ModelSpec("m", "1.0", "/m", {"model": {"x": [1, None]}}, "h.py", None, None, 2, 1)
_HEADER = 8


def run(data: bytes) -> None:
    """A stream of frames; the same bytes after a header of their own are a frame's."""
    whole, told = fed(data, len(data) or 1)
    assert repr(fed(data, 3)) == repr((whole, told))  # NaN is not itself
    framed = len(data).to_bytes(4, "big") + bytes(4) + data
    frames, _ = fed(framed, len(framed))
    for message, raw in (*whole, *frames):
        check(message, raw)


def fed(data: bytes, size: int) -> tuple[list[tuple[Message, bytes]], str]:
    """The frames in bytes that come in pieces of a size, and what is wrong with the rest."""
    reader, found = FrameReader(), []
    try:
        for at in range(0, len(data), size):
            found += reader.feed(data[at : at + size])
    except WireError as error:
        # What came whole before it in the same piece is lost with the channel.
        return [], str(error)
    return found, ""


def check(message: Message, raw: bytes) -> None:
    """A frame is what its sender could have said, and its payload what it describes."""
    ((again, same),) = FrameReader().feed(encode(message, (raw,)))
    assert repr(again) == repr(message)
    assert same == raw
    try:
        if isinstance(message, Batch):
            inputs = decode_batch(message, raw)
            assert len(inputs) == len(message.requests)
            assert sum(len(part.value) for one in inputs for part in one.parts) == len(raw)
        elif isinstance(message, Replies | Intermediate):
            heads = message.replies if isinstance(message, Replies) else message.parts
            outcomes = decode_replies(heads, raw)
            assert len(outcomes) == len(heads)
            assert sum(len(one.body) for one in outcomes if isinstance(one, Reply)) == len(raw)
    except WireError:
        pass


def seeds() -> Iterator[bytes]:
    inputs = [Input("1", Kind.PREDICT, (Part("a", b"xy", "text/plain"), Part("b", b"")), {"A": "b"}, "json")]
    sample = Sample("Hits", 1.5, "count", "counter", (("Level", "Host"),), "1")
    replies = [Reply(b"ok", 201, "Fine", {"A": "b"}, "text/plain"), Failure(503, "failed", "why"), None]
    signature = Signature((TensorSpec("x", "FP32", (-1, 3)),), (TensorSpec("y"),))
    frames = [
        *(
            encode(Confine(Sandbox("strict"))),
            encode(Load(_SPEC, 1000)),
            encode(Cancel(1, (0, 2))),
            encode(Stop()),
        ),
        *(encode_batch(7, inputs), encode_replies(7, replies, [sample], 0.5, 2)),
        *(encode_parts(7, [Reply(b"part"), None]), encode(Loaded(9, 0.25, signature))),
        *(encode(LoadFailed("E: why", "m.py:1", "do", "trace")), encode(HandlerLeft("left"))),
        *(encode(Fork(1, "W-1")), encode(TemplateReady(3, ("w",)))),
        *(encode(Forked(1, 9)), encode(Exited(9, -9, 1 << 20))),
    ]
    yield from frames
    yield from (frame[_HEADER:] for frame in frames)
    yield b"".join(frames)


TARGET = Target(run, seeds)
