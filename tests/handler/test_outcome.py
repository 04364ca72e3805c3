"""What a handler gives for a batch, checked: a list with one result per row, at once or in parts."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest

from torchkeeper.handler.context import RequestProcessor
from torchkeeper.handler.outcome import NO_LIST, WRONG_LENGTH, WrongOutcome, check_one_per_row, drained
from torchkeeper.testing import MockContext


class Clients:
    """Takes parts; `patience` parts later all clients have left."""

    def __init__(self, count: int, patience: int = 99) -> None:
        self.parts: list[Sequence[Any]] = []
        self._count = count
        self._patience = patience

    def send(self, values: Sequence[Any], status: int | None = None) -> None:
        self.parts.append(values)

    def gone(self) -> frozenset[int]:
        return frozenset(range(self._count)) if len(self.parts) >= self._patience else frozenset()


def batch(line: Clients, count: int = 2) -> MockContext:
    context = MockContext()
    context.request_processor = [RequestProcessor({}) for _ in range(count)]
    context.line = line
    return context


@pytest.mark.parametrize("values", [[1, 2], [None, None], [[], []]])
def test_a_list_with_one_result_per_row(values: Any) -> None:
    check_one_per_row("returned", values, 2)


@pytest.mark.parametrize(
    ("values", "message", "cause"),
    [
        (None, NO_LIST, "the handler returned NoneType, not a list"),
        ((1, 2), NO_LIST, "the handler returned tuple, not a list"),
        ({0: 1, 1: 2}, NO_LIST, "the handler returned dict, not a list"),
        ("ab", NO_LIST, "the handler returned str, not a list"),
        ([1], WRONG_LENGTH, "the handler returned 1 results for 2 requests"),
        ([1, 2, 3], WRONG_LENGTH, "the handler returned 3 results for 2 requests"),
    ],
)
def test_anything_else_is_torchserves_sentence_and_our_cause(values: Any, message: str, cause: str) -> None:
    with pytest.raises(WrongOutcome) as raised:
        check_one_per_row("returned", values, 2)
    assert (raised.value.message, raised.value.cause, str(raised.value)) == (message, cause, cause)


def test_rows_have_their_name() -> None:
    with pytest.raises(WrongOutcome, match="the handler yielded 0 results for 3 instances"):
        check_one_per_row("yielded", [], 3, "instances")


def parts(*yields: Any, last: Any = None, seen: list[str] | None = None) -> Generator[Any, None, Any]:
    try:
        yield from yields
    finally:
        if seen is not None:
            seen.append("closed")
    return last


def test_parts_go_to_the_clients_and_what_is_returned_comes_back() -> None:
    line = Clients(2)
    assert drained(parts([1, 2], [3, None], last=[4, 5]), batch(line)) == [4, 5]
    assert line.parts == [[1, 2], [3, None]]
    assert drained(parts(), batch(line)) is None


@pytest.mark.parametrize("wrong", [None, "ab", [1], (1, 2)])
def test_a_wrong_part_ends_the_generator(wrong: Any) -> None:
    line, seen = Clients(2), list[str]()
    with pytest.raises(WrongOutcome, match="the handler yielded "):
        drained(parts([1, 2], wrong, [3, 4], seen=seen), batch(line))
    assert line.parts == [[1, 2]]
    assert seen == ["closed"]


def test_when_all_clients_have_left_the_generator_is_closed() -> None:
    line, seen = Clients(2, patience=2), list[str]()
    assert drained(parts([1, 1], [2, 2], [3, 3], last=[4, 4], seen=seen), batch(line)) is None
    assert line.parts == [[1, 1], [2, 2]]
    assert seen == ["closed"]


def test_what_a_generator_raises_is_its_own() -> None:
    def breaks() -> Generator[Any, None, Any]:
        yield [1, 2]
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        drained(breaks(), batch(Clients(2)))
