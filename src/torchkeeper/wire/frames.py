"""Frames between the front, the template and the workers, as plain values: bytes in, messages out.

A frame is two big-endian 32-bit lengths, a msgpack header (one of the messages below) and raw payload
bytes. Payloads never pass through msgpack and nothing is ever pickled, so neither side can make the other
run code. No sockets here: the two ends own theirs and feed this module.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeAlias

import msgspec

from torchkeeper.wire.messages import (
    Confinement,
    Failure,
    Input,
    Kind,
    ModelSpec,
    Part,
    Reply,
    Sample,
    Sandbox,
    Signature,
    Together,
)

#: Bytes of header and of payload, with which a frame begins.
LENGTHS = struct.Struct(">II")
#: A header describes answers, it does not hold them; one larger than this is a broken stream.
MAX_HEADER = 64 * 1024 * 1024
#: More than a header can have. What the front sends is believed: names of parameters stand in its headers,
#: and clients may make them as long as a request may be.
ANY_HEADER = 1 << 32
#: Payloads of so many bytes are written and read as they are; less is joined, which costs less than a call.
LARGE = 64 * 1024
#: What a worker holds: its channel, standard output and error, and the pipes of its life and its crash.
WORKER_FDS = 5


#: Bytes of a payload.
_Length = Annotated[int, msgspec.Meta(ge=0)]


class _Message(msgspec.Struct, frozen=True, array_like=True):
    pass


# --- front to worker -------------------------------------------------------------------------------------


class Confine(_Message, frozen=True, array_like=True, tag=5):
    """The first frame of a worker's life, unless it is as free as the server: what it may do."""

    sandbox: Sandbox


class Load(_Message, frozen=True, array_like=True, tag=1):
    """What to load."""

    spec: ModelSpec
    max_response_size: int
    #: Whether a process that may become the template of its version's workers loads the model for them too.
    shares_weights: bool = False


class RequestHead(_Message, frozen=True, array_like=True):
    """One request of a batch; its parameters' bytes lie in the frame's raw part, in order."""

    request_id: str
    headers: dict[str, str]
    #: Each one's name, content type, length, and whether it is a plain field.
    parts: tuple[tuple[str, str | None, _Length, bool], ...]


class Batch(_Message, frozen=True, array_like=True, tag=2):
    """Requests of one kind and envelope, to be answered together."""

    batch_id: int
    kind: Kind
    requests: tuple[RequestHead, ...]
    envelope: str | None = None


class Cancel(_Message, frozen=True, array_like=True, tag=3):
    """The clients of these requests left; skip them if their batch has not started."""

    batch_id: int
    indexes: tuple[int, ...]


class Stop(_Message, frozen=True, array_like=True, tag=4):
    """Finish what is in hand, then leave with exit code 0."""


# --- worker to front -------------------------------------------------------------------------------------


class Loaded(_Message, frozen=True, array_like=True, tag=10):
    """The handler is initialised; batches may come."""

    pid: int
    seconds: float
    #: What the model takes and gives, if its handler knows.
    signature: Signature | None = None
    #: The version of torch in the worker, whose environment may be the model's own; empty without torch.
    torch: str = ""
    #: What is in force of its sandbox, if it has one.
    confinement: Confinement | None = None
    #: What was applied of the model's `execution`, by its keys; empty where it runs as its handler made it.
    execution: dict[str, Any] = {}
    #: How many requests its batches may have, where it was told to find that out.
    together: Together | None = None


class Leaving(_Message, frozen=True, array_like=True):
    """The worker ends by itself; `cause` is its error's type and whole text, in one line."""

    cause: str
    #: File and line in the model's own code, and what to do about it.
    place: str = ""
    do: str = ""
    #: The whole traceback, where the worker has not printed it.
    traceback: str = ""


class LoadFailed(Leaving, frozen=True, array_like=True, tag=11):
    """The handler could not be loaded."""


class HandlerLeft(Leaving, frozen=True, array_like=True, tag=15):
    """The handler ended its process while it answered."""


class ReplyHead(_Message, frozen=True, array_like=True):
    """One answer; its body lies in the frame's raw part, in order. A failure has no body."""

    status: int
    phrase: str
    headers: dict[str, str]
    content_type: str | None
    length: _Length
    failure: str | None = None
    cause: str | None = None


class Intermediate(_Message, frozen=True, array_like=True, tag=14):
    """Parts of the answers to a batch that is still computed, in its order (None: no part for that one)."""

    batch_id: int
    parts: tuple[ReplyHead | None, ...]


class Replies(_Message, frozen=True, array_like=True, tag=13):
    """The answers to a batch, in its order (a cancelled request is answered by None)."""

    batch_id: int
    replies: tuple[ReplyHead | None, ...]
    samples: tuple[Sample, ...]
    seconds: float
    #: The least number of its requests that took more memory together than there was; 0: none did. 1 says
    #: nothing of more of them.
    too_large: int = 0
    #: Calls of compiled models that ran uncompiled meanwhile.
    uncompiled: int = 0


# --- front to templates and back --------------------------------------------------------------------------


class Fork(_Message, frozen=True, array_like=True, tag=20):
    """Make a worker; its channel and pipes come with the frame: WORKER_FDS descriptors.

    One that may become the template of its version's workers gets a socket for that, too: one more.
    """

    worker_id: int
    title: str
    shares: bool = False


class TemplateReady(_Message, frozen=True, array_like=True, tag=21):
    """The template has imported what workers share; `warnings` says what it could not do."""

    pid: int
    warnings: tuple[str, ...]


class Forked(_Message, frozen=True, array_like=True, tag=22):
    """The worker asked for lives under this process id; 0: the one that became a version's template."""

    worker_id: int
    pid: int


class Exited(_Message, frozen=True, array_like=True, tag=23):
    """A worker ended: exit code, or minus the signal's number."""

    pid: int
    returncode: int
    #: Bytes of memory that it held at most; 0: unknown.
    peak_rss: int = 0


class NotShared(_Message, frozen=True, array_like=True, tag=24):
    """What a version's first worker has imported or loaded cannot be shared: the others do so themselves."""

    why: str
    #: Whether it is what it has loaded, and what it has imported can be shared.
    weights: bool = False


Message: TypeAlias = (
    Confine
    | Load
    | Batch
    | Cancel
    | Stop
    | Loaded
    | LoadFailed
    | HandlerLeft
    | Intermediate
    | Replies
    | Fork
    | TemplateReady
    | Forked
    | Exited
    | NotShared
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_samples = msgspec.msgpack.Decoder(list[Sample])


class WireError(Exception):
    """Something is no frame that the other side could have sent, or could take."""


def encode(message: Message, payloads: Iterable[bytes] = ()) -> bytes:
    """One frame as bytes; `payloads` become its raw part."""
    header = _encoder.encode(message)
    raw = b"".join(payloads)
    return b"".join((LENGTHS.pack(len(header), len(raw)), header, raw))


def decode_header(data: bytes) -> Message:
    """The message that is a frame's header.

    Raises:
        WireError: it is none.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"a frame's header cannot be read: {error}") from error


def encode_batch(batch_id: int, inputs: Sequence[Input]) -> bytes:
    """The frame of a batch (one kind, one envelope): heads in msgpack, parameter values raw."""
    return b"".join(batch_pieces(batch_id, inputs))


def batch_pieces(batch_id: int, inputs: Sequence[Input]) -> Sequence[bytes]:
    """The same in pieces, among them large values as they came; one piece where there are none."""
    heads = []
    payloads: list[bytes] = []
    for entry in inputs:
        parts = []
        for part in entry.parts:
            parts.append((part.name, part.content_type, part.size, part.plain))
            payloads.append(part.value)
            if part.rest:
                payloads += part.rest
        heads.append(RequestHead(entry.request_id, entry.headers, tuple(parts)))
    first = inputs[0]
    header = _encoder.encode(Batch(batch_id, first.kind, tuple(heads), first.envelope))
    size = sum(map(len, payloads))
    pieces = [LENGTHS.pack(len(header), size), header, *payloads]
    return pieces if size >= LARGE else (b"".join(pieces),)


def decode_batch(batch: Batch, raw: bytes) -> list[Input]:
    """The requests of a batch frame.

    Raises:
        WireError: its payload is not what it describes.
    """
    offset = 0
    inputs = []
    for head in batch.requests:
        parts = []
        for name, content_type, length, plain in head.parts:
            parts.append(Part(name, raw[offset : offset + length], content_type, plain))
            offset += length
        inputs.append(Input(head.request_id, batch.kind, tuple(parts), head.headers, batch.envelope))
    if offset != len(raw):
        raise WireError(f"batch {batch.batch_id} describes {offset} of {len(raw)} payload bytes")
    return inputs


Outcome: TypeAlias = Reply | Failure | None


def encode_replies(
    batch_id: int,
    outcomes: Sequence[Outcome],
    samples: Sequence[Sample],
    seconds: float,
    too_large: int = 0,
    uncompiled: int = 0,
) -> bytes:
    """The frame that answers a batch; None stands for a request that was cancelled before the start."""
    heads, bodies = _heads(outcomes)
    return _checked(encode(Replies(batch_id, heads, tuple(samples), seconds, too_large, uncompiled), bodies))


def encode_parts(batch_id: int, parts: Sequence[Outcome]) -> bytes:
    """The frame of parts that go before a batch's answers."""
    heads, bodies = _heads(parts)
    return _checked(encode(Intermediate(batch_id, heads), bodies))


def _checked(frame: bytes) -> bytes:
    """The frame, if the other side will take it.

    Raises:
        WireError: it will not.
    """
    header_size, _ = LENGTHS.unpack_from(frame)
    if header_size > MAX_HEADER:
        raise WireError(f"the heads of a batch's answers have {header_size} bytes, {MAX_HEADER} may be sent")
    return frame


def sendable(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Those samples that the other side can read; of too many for a frame the newest."""
    size = _size(samples)
    if size is None:
        samples = [sample for sample in samples if _size([sample]) is not None]
        size = _size(samples)
    while size is not None and size > MAX_HEADER // 2:
        samples = samples[(len(samples) + 1) // 2 :]
        size = _size(samples)
    return samples


def _size(samples: Sequence[Sample]) -> int | None:
    """Bytes that the samples take in a frame; None if the other side could not read them."""
    try:
        encoded = _encoder.encode(samples)
        _samples.decode(encoded)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return None
    return len(encoded)


def _heads(outcomes: Sequence[Outcome]) -> tuple[tuple[ReplyHead | None, ...], list[bytes]]:
    heads: list[ReplyHead | None] = []
    bodies: list[bytes] = []
    for outcome in outcomes:
        if isinstance(outcome, Reply):
            body = outcome.body
            heads.append(
                ReplyHead(outcome.status, outcome.phrase, outcome.headers, outcome.content_type, len(body))
            )
            bodies.append(body)
        elif isinstance(outcome, Failure):
            heads.append(ReplyHead(outcome.status, "", {}, None, 0, outcome.message, outcome.cause))
        else:
            heads.append(None)
    return tuple(heads), bodies


def decode_replies(heads: Sequence[ReplyHead | None], raw: bytes) -> list[Outcome]:
    """The outcomes of a frame of replies or of parts, in the batch's order.

    Raises:
        WireError: its payload is not what it describes.
    """
    offset = 0
    outcomes: list[Outcome] = []
    for head in heads:
        if head is None:
            outcomes.append(None)
        elif head.failure is not None:
            outcomes.append(Failure(head.status, head.failure, head.cause))
        else:
            body = raw[offset : offset + head.length]
            offset += head.length
            outcomes.append(Reply(body, head.status, head.phrase, head.headers, head.content_type))
    if offset != len(raw):
        raise WireError(f"answers describe {offset} of {len(raw)} payload bytes")
    return outcomes
