"""Sending parts from a handler, and joining parts where one answer is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from torchkeeper.handler.streaming import Collector, send_intermediate_predict_response
from torchkeeper.testing import MockContext, run_handler
from torchkeeper.wire.messages import Reply


@pytest.mark.parametrize(
    ("parts", "last", "whole"),
    [
        (["a", "b"], "c", "abc"),
        (["a"], None, "a"),
        ([], "c", "c"),
        ([], None, None),
        ([b"a", bytearray(b"b")], b"c", b"abc"),
        ([{"a": 1}, {"b": 2}], None, [{"a": 1}, {"b": 2}]),
        (["a", 1], 2, ["a", 1, 2]),
    ],
)
def test_parts_become_one_answer(parts: list[Any], last: Any, whole: Any) -> None:
    collector = Collector(range(2))
    for part in parts:
        collector.send([part, None])
    assert collector.joined([last, "other"]) == [whole, "other"]


def test_ids_say_whose_part_it_is() -> None:
    context = MockContext()
    context.request_ids = {0: "a", 1: "b", 2: "c"}
    context.line = collector = Collector(range(3))
    send_intermediate_predict_response(["for c", "for a"], {0: "c", 1: "a"}, "", 200, context)
    assert collector.joined(["", "", ""]) == ["for a", "", "for c"]
    with pytest.raises(ValueError, match="no request of the batch has the id 'd'"):
        send_intermediate_predict_response(["x"], {0: "d"}, "", 200, context)


def test_nothing_happens_without_a_server_or_on_another_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    context = MockContext()
    send_intermediate_predict_response(["x"], context.request_ids or {}, "", 200, context)
    context.line = collector = Collector(range(1))
    monkeypatch.setenv("LOCAL_RANK", "1")
    send_intermediate_predict_response(["x"], context.request_ids or {}, "", 200, context)
    assert collector.joined(None) == [None]


def test_run_handler_joins_parts(tmp_path: Path) -> None:
    handler = tmp_path / "h.py"
    handler.write_text(
        "def handle(data, context):\n    return None if data is None else parts(data)\n"
        "def parts(data):\n    yield ['a'] * len(data)\n    return ['b'] * len(data)\n"
    )
    first, second = run_handler(handler, [b"1", b"2"])
    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert first.body == second.body == b"ab"
