"""The books: every request once, under the right heading, and no request without its key."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.engine.stream import Closed
from torchkeeper.errors import BadRequest, InvalidKey, PredictionFailed, QueueFull, TorchkeeperError
from torchkeeper.keys.key import Key
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.serving.ask import ClientGone
from torchkeeper.serving.books import Books

OUTCOMES: list[tuple[BaseException | None, str]] = [
    (None, "answered"),
    (BadRequest("what"), "refused"),
    (QueueFull("full"), "refused"),
    (PredictionFailed("no"), "failed"),
    (TorchkeeperError("fault"), "failed"),
    (ValueError("fault"), "failed"),
    (ClientGone(), "gone"),
    (Closed(), "gone"),
    (asyncio.CancelledError(), "gone"),
]


def counts(ledger: Ledger) -> dict[str, int]:
    names = ("accepted", "answered", "refused", "failed", "gone")
    return {name: getattr(ledger, name) for name in names if getattr(ledger, name)}


@pytest.mark.parametrize(("error", "heading"), OUTCOMES)
def test_what_becomes_of_a_request(error: BaseException | None, heading: str) -> None:
    ledger = Ledger()
    record = Books(ledger).record()
    record.enter()
    assert ledger.in_flight == 1
    record.close(error)
    assert counts(ledger) == {"accepted": 1, heading: 1}


def test_what_is_never_entered_is_never_closed() -> None:
    ledger = Ledger()
    Books(ledger).record().close(BadRequest("what"))
    assert counts(ledger) == {}


@given(st.lists(st.sampled_from(["enter", *OUTCOMES]), max_size=8))
def test_a_request_is_entered_and_closed_once_whatever_a_protocol_does(
    steps: list[str | tuple[BaseException | None, str]],
) -> None:
    ledger, told = Ledger(), list[int]()
    record = Books(ledger, responded=told.append).record()
    for step in steps:
        if isinstance(step, str):
            record.enter()
        else:
            record.close(step[0], status=200)
    entered = "enter" in steps
    closed = entered and any(not isinstance(step, str) for step in steps[steps.index("enter") :])
    assert ledger.accepted == entered
    assert ledger.in_flight == (entered and not closed)
    assert told == [200] * closed


def test_a_request_may_do_without_a_page_or_get_one_late() -> None:
    ledger, told = Ledger(), list[int]()
    books = Books(ledger, responded=told.append)
    books.accept()
    assert (ledger.accepted, ledger.in_flight) == (1, 1)
    books.answer(201)
    assert (ledger.answered, ledger.in_flight, told) == (1, 0, [201])
    books.accept()
    page = books.entered()
    page.enter()
    page.close(BadRequest("what"))
    assert (ledger.accepted, ledger.answered, ledger.in_flight) == (2, 1, 0)


class Doorkeeper:
    """Lets `Bearer good` in, at once or after a while."""

    def __init__(self, delay: float = 0.0) -> None:
        self._delay = delay
        self.asked: list[tuple[Key, str | None, str]] = []

    def check(self, need: Key, authorization: str | None, client: str) -> float:
        self.asked.append((need, authorization, client))
        if authorization != "Bearer good":
            raise InvalidKey(delay=self._delay)
        return self._delay


@pytest.mark.parametrize("delay", [0.0, 0.001])
def test_keys_are_asked_for(delay: float) -> None:
    keeper = Doorkeeper(delay)
    books = Books(Ledger(), keeper)
    asyncio.run(books.admit(Key.INFERENCE, "Bearer good", "127.0.0.1"))
    with pytest.raises(InvalidKey):
        asyncio.run(books.admit(Key.MANAGEMENT, None, "127.0.0.1"))
    assert keeper.asked == [
        (Key.INFERENCE, "Bearer good", "127.0.0.1"),
        (Key.MANAGEMENT, None, "127.0.0.1"),
    ]


def test_without_tokens_nobody_is_asked() -> None:
    asyncio.run(Books(Ledger()).admit(Key.MANAGEMENT, None, ""))
