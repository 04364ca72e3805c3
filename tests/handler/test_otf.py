"""Messages of a batch's outcome: read back by the layout that they shall have."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
import torch

from torchkeeper.handler.otf import create_predict_response
from torchkeeper.testing import MockContext


class Reader:
    """Takes a message apart."""

    def __init__(self, message: bytes | bytearray | None) -> None:
        assert message is not None
        self._in = io.BytesIO(message)

    def number(self) -> int:
        (value,) = struct.unpack("!i", self._in.read(4))
        return int(value)

    def bytes(self) -> bytes:
        return self._in.read(self.number())

    def answer(self) -> tuple[Any, ...]:
        request_id, kind, status, phrase = self.bytes(), self.bytes(), self.number(), self.bytes()
        headers = {self.bytes(): self.bytes() for _ in range(self.number())}
        return request_id, kind, status, phrase, headers, self.bytes()

    def rest(self) -> bytes:
        return self._in.read()


def test_values_without_a_context() -> None:
    values = ["text", b"\0bytes", {"k": 1}, torch.tensor([1, 2])]
    reader = Reader(create_predict_response(values, {0: "a", 1: "b", 2: "c", 3: "d"}, "fine", 200))
    assert (reader.number(), reader.bytes()) == (200, b"fine")
    assert reader.answer() == (b"a", b"", 200, b"", {}, b"text")
    assert reader.answer()[-1] == b"\0bytes"
    assert reader.answer()[-1] == b'{\n  "k": 1\n}'
    assert torch.load(io.BytesIO(reader.answer()[-1])).tolist() == [1, 2]
    assert reader.rest() == b"\xff\xff\xff\xff"


@pytest.mark.parametrize("more", [True, False])
def test_what_the_context_says(more: bool) -> None:
    context = MockContext()
    context.set_response_content_type(0, "text/plain")
    context.set_response_header(0, "x-own", "1")
    context.set_response_status(201, "Made", 0)
    reader = Reader(create_predict_response(["x"], {0: "a"}, "", 200, context, more))
    assert (reader.number(), reader.bytes()) == (200, b"")
    request_id, kind, status, phrase, headers, value = reader.answer()
    assert (request_id, kind, status, phrase, value) == (b"a", b"text/plain", 201, b"Made", b"x")
    own = {b"content-type": b"text/plain", b"x-own": b"1"}
    assert headers == own | ({b"ts_stream_next": b"true"} if more else {})
    if more:  # the last part says that it is
        reader = Reader(create_predict_response(["y"], {0: "a"}, "", 200, context))
        reader.number(), reader.bytes()
        assert reader.answer()[4][b"ts_stream_next"] == b"false"


def test_failures() -> None:
    reader = Reader(create_predict_response(None, {0: "a"}, "no", 507))
    assert (reader.number(), reader.bytes()) == (507, b"no")
    assert reader.answer() == (b"a", b"", 507, b"", {}, b"error")
    reader = Reader(create_predict_response([object()], {0: "a"}, "fine", 200))
    assert (reader.number(), reader.bytes()) == (503, b"Unsupported model output data type.")


def test_other_processes_of_a_group_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert create_predict_response(["x"], {0: "a"}, "", 200) is None
