"""Batches cut into small ones: rows in their order, threads per step, and failures that reach the batch."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from torchkeeper.handler.base import BaseHandler
from torchkeeper.handler.errors import RowsApart, UnreadableRows
from torchkeeper.handler.micro_batching import MicroBatching
from torchkeeper.handler.outcome import WrongOutcome
from torchkeeper.testing import MockContext


class Handler(BaseHandler):
    """Doubles numbers; keeps which small batches it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int | None, int]] = []
        self.small = MicroBatching(self)
        self.handle = self.small  # type: ignore[method-assign,assignment]  # as the class is meant to be used

    def preprocess(self, data: Any) -> Any:
        self.seen.append((self.small.get_micro_batch_idx(), len(data)))
        return [int(row) for row in data]

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        return [2 * number for number in data]

    def postprocess(self, data: Any) -> Any:
        return [str(number) for number in data]

    def get_insights(self, data: Any, raw: Any, target: Any) -> Any:
        return [f"why {number}" for number in data]

    def describe_handle(self) -> Any:
        return "doubles"


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(("size", "sizes"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (20, [7])])
def test_rows_keep_their_order(size: int, sizes: list[int], threads: int) -> None:
    handler = Handler()
    handler.small.micro_batch_size = size
    handler.small.parallelism = {"preprocess": threads, "inference": threads}
    context = MockContext()
    assert handler.handle(list("1234567"), context) == ["2", "4", "6", "8", "10", "12", "14"]
    assert sorted(handler.seen, key=str) == sorted(enumerate(sizes), key=str)
    assert [sample.name for sample in context.metrics.drain()] == ["HandlerTime"]
    assert handler.small.get_micro_batch_idx() is None
    assert handler.small.handle([]) == []


def test_steps_run_side_by_side() -> None:
    handler = Handler()
    handler.small.parallelism = {"inference": 3}
    together = threading.Barrier(3)

    def inference(data: Any) -> Any:
        together.wait(60)  # nobody passes before three are here
        return data

    handler.inference = inference  # type: ignore[method-assign]
    assert handler.small.handle([1, 2, 3]) == ["1", "2", "3"]
    assert handler.small.parallelism == {"inference": 3}


def test_results_never_move_to_rows_of_another_small_batch() -> None:
    handler = Handler()
    handler.small.micro_batch_size = 2
    outcomes = {(1, 2): ("a", "b", "c"), (3, 4): ("d",), (5, 6): ("e", "f")}
    handler.preprocess = handler.inference = lambda data: data  # type: ignore[method-assign,assignment,misc]
    handler.postprocess = lambda data: outcomes[tuple(data)]  # type: ignore[method-assign]
    with pytest.raises(WrongOutcome, match="returned 3 results for 2 requests of a small batch"):
        handler.small.handle([1, 2, 3, 4])
    assert handler.small.handle([5, 6]) == ["e", "f"]


def test_what_a_step_raises_fails_the_batch_and_the_next_one_works() -> None:
    handler = Handler()
    with pytest.raises(ValueError, match="'x'"):
        handler.small.handle(["1", "x", "3"])
    assert handler.small.handle(["1"]) == ["2"]
    handler.small.shutdown()
    assert handler.small.handle(["2"]) == ["4"]


def test_rows_that_cannot_be_read_are_the_batchs_own() -> None:
    handler = Handler()
    handler.small.micro_batch_size = 2

    def preprocess(data: Any) -> Any:
        wrong = {place: f"{row} is wrong" for place, row in enumerate(data) if row < 0}
        if wrong:
            raise UnreadableRows(wrong)
        return data

    handler.preprocess = preprocess  # type: ignore[method-assign]
    with pytest.raises(UnreadableRows) as raised:
        handler.small.handle([0, -1, 2, 3, -4])
    assert raised.value.rows == {1: "-1 is wrong", 4: "-4 is wrong"}


def test_rows_that_cannot_share_a_small_batch_are_grouped_for_the_whole_batch() -> None:
    handler = Handler()
    handler.small = MicroBatching(handler, micro_batch_size=3)

    def preprocess(data: Any) -> Any:
        parities = [[place for place, row in enumerate(data) if row % 2 == parity] for parity in (0, 1)]
        if all(parities):
            raise RowsApart(parities)
        return data

    handler.preprocess = preprocess  # type: ignore[method-assign]
    with pytest.raises(RowsApart) as raised:
        handler.small.handle([2, 4, 6, 1, 2, 3, 8])
    assert raised.value.groups == [[0, 1, 2], [4], [3, 5], [6]]
    assert raised.value.are_of(7)
    assert handler.small.handle([]) == []


def test_explanations_and_descriptions_are_the_handlers() -> None:
    handler, context = Handler(), MockContext()
    context.explain = True
    assert handler.handle(["1"], context) == ["why 1"]
    assert handler.seen == [(None, 1)]

    context = MockContext()
    context.get_request_header = lambda idx, exp: "True" if exp == "describe" else None  # type: ignore[method-assign]
    assert handler.handle(["1"], context) == ["doubles"]


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"explain": 1}, "explain is no step"),
        ({"inference": 0}, "inference needs at least one thread, not 0"),
    ],
)
def test_wrong_threads(wanted: dict[str, int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        MicroBatching(Handler(), parallelism=wanted)
