"""How many requests may be in a batch: handlers of many kinds, and what samples show of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from stand_in_outbox import request  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.handler.context import Context
from torchkeeper.handler.errors import RowsApart
from torchkeeper.handler.recorder import Recorder
from torchkeeper.wire.execution import Execution
from torchkeeper.wire.frames import Loaded, LoadFailed, encode_batch
from torchkeeper.wire.messages import Reply, Together
from torchkeeper.worker.service import Service
from torchkeeper.worker.together import find_together
from torchkeeper.worker.warm_up import SampleFile, WarmUpFailed
from workers import Worker

Rows = list[int]
DIGITS = tuple(SampleFile(f"{digit}.txt", str(digit).encode(), "text/plain") for digit in range(5))


def found(
    answer: Callable[[Rows, Context], Any],
    given: tuple[SampleFile, ...] = DIGITS,
    most: int = 16,
    *,
    split: bool = True,
) -> tuple[Together, list[Rows]]:
    """What is found of a handler that is given whole numbers, and the batches that it was given."""
    seen: list[Rows] = []

    def handle(data: list[dict[str, Any]], context: Context) -> Any:
        rows = [int(row["body"]) for row in data]
        seen.append(rows)
        return answer(rows, context)

    context = Context("m", "/", {}, most, None, "0.12.0", metrics=Recorder("m"))
    service = Service({None: handle}, context, decode=True, max_response_size=1000, split=split)
    return find_together(service, given, most), seen


def scores(rows: Rows, context: Context) -> Any:
    return [{str(digit): 0.9 if digit == row else 0.02 for digit in range(5)} for row in rows]


def test_a_handler_that_answers_together_as_alone_may_have_full_batches() -> None:
    said, seen = found(scores)
    assert said == Together(16)
    assert seen[:10] == [[digit] for digit in range(5)] * 2
    assert seen[10:15] == [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]]
    cycled, mixed, *once = seen[15:]
    assert cycled == [*range(5), *range(5), *range(5), 0]
    assert sorted(mixed) == sorted(cycled)
    assert mixed != cycled
    assert once == [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]], "all that are there, each once"
    assert found(scores)[1] == seen, "all workers do the same"


def test_more_samples_than_a_batch_may_have_are_all_tried_in_twos() -> None:
    said, seen = found(scores, most=4)
    assert said == Together(4)
    assert {row for batch in seen if len(batch) == 2 for row in batch} == set(range(5))
    assert [len(batch) for batch in seen if len(batch) > 2] == [4, 4]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            lambda rows, context: scores([rows[0]] * len(rows), context),
            "1.txt in a batch of 2: the greatest is ",
        ),
        (
            lambda rows, context: scores(rows[::-1], context),
            "0.txt in a batch of 2: the greatest is '1' inst",
        ),
        (
            lambda rows, context: scores(sorted(rows), context),
            "4.txt in a batch of 2: the greatest is '0' inst",
        ),
        (
            lambda rows, context: [row + sum(rows) / 10 for row in rows],
            "0.txt in a batch of 2: the number is 0.",
        ),
        (
            lambda rows, context: [str(row) for row in rows[:7]] + ["0"] * (len(rows) - 7),
            "in a batch of 16: ",
        ),
        (
            lambda rows, context: [rows[0]] if len(rows) == 1 else 1 / 0,
            "a batch of 2 failed: ZeroDivisionError",
        ),
        (lambda rows, context: [rows[0]], "a batch of 2 failed: "),
    ],
)
def test_a_handler_that_is_right_only_for_one_item_says_where_it_is_wrong(
    answer: Callable[[Rows, Context], Any], why: str
) -> None:
    said, _ = found(answer)
    assert said.most == 1
    assert why in said.why


def test_rounding_is_no_difference() -> None:
    assert found(lambda rows, context: [row + 1 + len(rows) * 1e-4 for row in rows])[0] == Together(16)


def test_a_random_handler_is_told_as_such() -> None:
    number = count()
    said, seen = found(lambda rows, context: [next(number) for _ in rows])
    assert said.most == 1
    assert said.why.startswith("0.txt is answered differently each time, even alone: ")
    assert max(map(len, seen)) == 1, "nothing more is tried"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((), "there are no samples: "),
        (DIGITS[:1], "there is one sample: "),
        (DIGITS[:1] * 2, "all samples have"),
    ],
)
def test_samples_that_show_nothing_prove_nothing(given: tuple[SampleFile, ...], why: str) -> None:
    """A handler that answers all with the first row's answer would go unseen."""
    said, _ = found(scores, given)
    assert said.most == 1
    assert said.why.startswith(why)


def test_a_sample_that_fails_alone_fails_the_load() -> None:
    with pytest.raises(WarmUpFailed, match=r"warm-up with 0\.txt, alone, failed: ZeroDivisionError"):
        found(lambda rows, context: [1 / row for row in rows])


def test_a_batch_that_fails_whole_is_no_failed_load() -> None:
    said, _ = found(lambda rows, context: [rows[0]] if len(rows) == 1 else 1 / 0, split=False)
    assert said.why.startswith("warm-up with 0.txt, in a batch of 2, failed: ZeroDivisionError")


def within(memory: int) -> Callable[[Rows, Context], Any]:
    def answer(rows: Rows, context: Context) -> Any:
        if len(rows) > memory:
            raise MemoryError
        return scores(rows, context)

    return answer


@pytest.mark.parametrize(
    ("memory", "split", "most"), [(12, True, 8), (4, True, 4), (3, True, 2), (2, True, 2), (12, False, 8)]
)
def test_as_many_go_together_as_the_memory_suffices_for(memory: int, split: bool, most: int) -> None:
    assert found(within(memory), split=split)[0] == Together(most)


def test_memory_that_does_not_suffice_for_two_is_a_reason() -> None:
    said, _ = found(within(1))
    assert said.most == 1
    assert said.why.startswith("a batch of 2 failed: ")


def test_rows_that_a_handler_keeps_apart_itself_are_answered_rightly() -> None:
    def answer(rows: Rows, context: Context) -> Any:
        if len(set(rows)) > 1:
            raise RowsApart([[place for place, row in enumerate(rows) if row == one] for one in set(rows)])
        return scores(rows, context)

    assert found(answer)[0] == Together(16)


def test_answers_in_parts_are_compared_whole() -> None:
    def streamed(rows: Rows, context: Context) -> Iterator[Any]:
        yield [f"{rows[0]} "] * len(rows)
        yield ["end"] * len(rows)

    said, _ = found(streamed)
    assert "1.txt in a batch of 2: '1 end' became '0 end'" in said.why


def test_a_status_is_part_of_an_answer() -> None:
    def answer(rows: Rows, context: Context) -> Any:
        context.set_response_status(200 + len(rows), idx=0)
        return [str(row) for row in rows]

    said, _ = found(answer)
    assert said.why == "0.txt in a batch of 2: its status is 202 instead of 201"


#: Answers requests as they are; `mixed`: all as the first one.
HANDLER = """
def handle(data, context):
    if data is None:
        context.metrics.add_counter("Loaded", 1)
        return None
    context.metrics.add_counter("Asked", len(data))
    rows = [row["body"] for row in data]
    if "fail" in rows:
        raise ValueError("no such thing")
    return rows[:1] * len(rows) if %r else rows
"""


@pytest.mark.parametrize("mixed", [False, True])
def test_a_worker_says_what_it_found_and_serves(tmp_path: Path, mixed: bool) -> None:
    (tmp_path / "warmup").mkdir()
    for name in ("one", "two", "three"):
        (tmp_path / "warmup" / f"{name}.txt").write_text(name)
    worker = Worker(tmp_path, HANDLER % mixed, auto_batches=True)
    try:
        assert isinstance(worker.loaded, Loaded)
        why = "three.txt in a batch of 2: 'three' became 'one'"
        assert worker.loaded.together == (Together(1, why) if mixed else Together(8))
        assert worker.loaded.execution["warmup"]["batches"] == ([1] if mixed else [1, 2, 8])
        worker.send(encode_batch(1, [request(b"x")]))
        (reply,), recorded, _ = worker.answer()
        assert isinstance(reply, Reply)
        assert {one.name: one.value for one in recorded if one.name in ("Loaded", "Asked")} == {
            "Loaded": 1,
            "Asked": 1,
        }
        assert worker.stop() == 0
    finally:
        worker.close()


def test_a_worker_whose_sample_fails_alone_does_not_serve(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("fail")
    worker = Worker(tmp_path, HANDLER % False, execution=Execution(warmup=("a.txt",)), auto_batches=True)
    try:
        assert isinstance(worker.loaded, LoadFailed)
        assert worker.loaded.cause.startswith("WarmUpFailed: warm-up with a.txt, alone, failed: ValueError")
        worker.process.wait(60)
    finally:
        worker.close()


def test_who_is_not_told_to_find_out_says_nothing(tmp_path: Path) -> None:
    worker = Worker(tmp_path, HANDLER % False)
    try:
        assert isinstance(worker.loaded, Loaded)
        assert worker.loaded.together is None
        assert worker.stop() == 0
    finally:
        worker.close()
