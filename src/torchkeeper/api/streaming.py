"""A streamed answer over HTTP: as chunks, TorchServe's way, or as server-sent events where they are accepted.

Source: TorchServe's "Response streaming" (chunked, header ts_stream_next); server-sent events: WHATWG HTML,
section 9.2, "Server-sent events".
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from torchkeeper.api.coding import accepted
from torchkeeper.api.error_form import torchserve_body
from torchkeeper.engine.stream import Stream
from torchkeeper.errors import TorchkeeperError
from torchkeeper.wire.messages import Reply

_EVENTS = "text/event-stream"
#: A browser's line ends are three: each begins a `data:` line of its own.
_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True)
class Streamed:
    """An answer whose head is known and whose body comes in parts."""

    head: Reply
    stream: Stream
    events: bool

    async def bodies(self) -> AsyncIterator[bytes]:
        """The pieces of the body.

        Raises:
            TorchkeeperError: the answer failed; events have said so already, by an event `error`.
            Closed: nobody wants the rest.
        """
        if not self.events:
            async for part in self.stream:
                yield part.body
            return
        try:
            async for part in self.stream:
                yield event(part.body)
        except TorchkeeperError as error:
            yield b"event: error\n" + event(torchserve_body(error).rstrip())
            raise


def streamed(stream: Stream, accept: str | None) -> Streamed:
    """How a client that sent this Accept header gets a stream."""
    first = stream.first
    events = _EVENTS in accepted(accept)
    content_type = _EVENTS if events else first.content_type
    headers = {**first.headers, "ts_stream_next": "true"}
    return Streamed(
        msgspec.structs.replace(first, headers=headers, content_type=content_type), stream, events
    )


def event(data: bytes) -> bytes:
    """One event: each line of the data after `data: `, and an empty line; readers put line feeds between."""
    return b"".join(b"data: %b\n" % line for line in _LINE_END.split(data)) + b"\n"
