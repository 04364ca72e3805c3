"""Rows that cannot be read fail alone, however many they are, and cost their batch few calls: counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchkeeper.testing import Request, run_handler
from torchkeeper.wire.messages import Failure, Reply

ROW_BY_ROW = """
from torchkeeper.handler.errors import UnreadableRow
from pathlib import Path

def handle(data, context):
    if data is None:
        return None
    with Path("calls").open("a") as calls:
        print(len(data), file=calls)
    for place, row in enumerate(data):
        if row["body"] == b"bad":
            raise UnreadableRow(place, "no such thing")
    return [row["body"] for row in data]
"""
AT_ONCE = """
from torchkeeper.handler.errors import UnreadableRows
from pathlib import Path

def handle(data, context):
    if data is None:
        return None
    with Path("calls").open("a") as calls:
        print(len(data), file=calls)
    bad = {place: "no such thing" for place, row in enumerate(data) if row["body"] == b"bad"}
    if bad:
        raise UnreadableRows(bad)
    return [row["body"] for row in data]
"""


def answered(folder: Path, source: str, requests: list[Request]) -> tuple[list[Reply | Failure], list[int]]:
    (folder / "h.py").write_text(source)
    outcomes = run_handler(folder / "h.py", requests)
    return outcomes, [int(line) for line in (folder / "calls").read_text().split()]


@pytest.mark.parametrize(("good", "bad"), [(32, 32), (63, 1), (0, 64), (1, 600)])
@pytest.mark.parametrize(("source", "at_once"), [(ROW_BY_ROW, False), (AT_ONCE, True)])
def test_calls_are_bounded(tmp_path: Path, source: str, at_once: bool, good: int, bad: int) -> None:
    requests: list[Request] = [b"%d" % number for number in range(good)]
    for number in range(bad):
        requests.insert(number * 2, b"bad")
    outcomes, calls = answered(tmp_path, source, requests)
    for request, outcome in zip(requests, outcomes, strict=True):
        if request == b"bad":
            assert outcome == Failure(503, "Prediction failed", "no such thing")
        else:
            assert isinstance(outcome, Reply)
            assert outcome.body == request
    if at_once or bad == 1:
        assert calls == [good + bad, good][: 2 if good else 1]
    assert len(calls) <= good + bad


@pytest.mark.parametrize("place", ["-1", "99", "'first'", "None", "float('nan')"])
def test_a_row_that_is_not_there_is_a_fault_of_the_batch_that_has_it(tmp_path: Path, place: str) -> None:
    source = ROW_BY_ROW.replace("(place, ", f"({place}, ")
    (bad, good), calls = answered(tmp_path, source, [b"bad", b"good"])
    assert len(calls) == 3
    assert isinstance(bad, Failure)
    assert (bad.status, bad.message) == (503, "Prediction failed")
    assert "no such thing" in str(bad.cause)
    assert isinstance(good, Reply)


def test_words_that_cannot_be_sent_are_written_out(tmp_path: Path) -> None:
    (outcome,), _ = answered(tmp_path, ROW_BY_ROW.replace("no such thing", r"\ud800"), [b"bad"])
    assert outcome == Failure(503, "Prediction failed", "\\ud800")
