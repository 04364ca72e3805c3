"""Who serves, who leaves, who holds what."""

from __future__ import annotations

import asyncio
import logging

import pytest
from stand_ins import in_loop, serving_worker  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.engine.batch_bound import PATIENCE
from torchkeeper.engine.crew import Crew
from torchkeeper.engine.in_hand import Hands, InHand
from torchkeeper.engine.queue import Entry
from torchkeeper.wire.messages import Input, Kind, Together


def hands_of(worker_id: int, together: Together | None = None) -> Hands:
    worker, _ = serving_worker(worker_id)
    worker.together = together
    return Hands(worker, 60.0, lambda hands: None, lambda hands, entry: None)


def entry() -> Entry:
    ticket: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    return Entry(Input("r", Kind.PREDICT, (), {}), ticket, 0, 0, "lane")


@in_loop
async def test_a_worker_joins_serves_is_dismissed_and_lost() -> None:
    crew = Crew(4)
    first, second = hands_of(1), hands_of(2)
    crew.join(first)
    crew.join(second)
    assert (len(crew.serving), crew.serving[1], list(crew.idle())) == (2, first, [first, second])
    crew.dismiss(1)
    assert (len(crew.serving), crew.find(1), [view.worker_id for view in crew.views()]) == (1, first, [2])
    assert crew.lose(1) is first
    assert crew.find(1) is None
    assert crew.lose(1) is None
    crew.dismiss(1)
    assert crew.find(1) is None


@in_loop
async def test_who_leaves_still_holds_what_it_has() -> None:
    crew = Crew(4)
    hands = hands_of(1)
    crew.join(hands)
    held, other = entry(), entry()
    batch = InHand(7, [other, held])
    hands.take(batch)
    crew.dismiss(1)
    assert crew.busy
    assert crew.holder(held.ticket) == (hands, batch, 1)
    assert crew.holder(entry().ticket) is None
    hands.drop()
    assert not crew.busy


@in_loop
async def test_places_are_free_in_batches_that_run_and_for_those_who_idle() -> None:
    crew = Crew(4)
    assert crew.free_places() == 0, "nobody serves"
    first, second = hands_of(1), hands_of(2)
    crew.join(first)
    crew.join(second)
    assert crew.free_places() == 8
    first.take(InHand(1, [entry()]))
    assert crew.free_places() == 7
    first.take(InHand(2, [entry() for _ in range(4)]))
    assert crew.free_places() == 7
    crew.dismiss(2)
    assert crew.free_places() == 3


@in_loop
async def test_what_memory_suffices_for_holds_for_a_device_and_rises_again() -> None:
    crew = Crew(8)
    first, second = hands_of(1), hands_of(2)
    crew.join(first)
    crew.finished(first.worker, 8, too_large=4)
    assert first.view.most == 3
    crew.join(second)
    assert second.view.most == 3, "who comes later has the same device"
    for _ in range(PATIENCE):
        crew.finished(second.worker, 3, too_large=0)
    assert (first.view.most, second.view.most) == (4, 4)
    assert crew.most == 4


@in_loop
async def test_a_batch_whose_memory_did_not_suffice_even_for_one_has_not_fitted() -> None:
    crew = Crew(8)
    hands = hands_of(1)
    crew.join(hands)
    assert crew.most == 8
    crew.finished(hands.worker, 8, too_large=2)
    for _ in range(PATIENCE):
        crew.finished(hands.worker, 1, too_large=1)
    assert hands.view.most == crew.most == 1
    for _ in range(PATIENCE):
        crew.finished(hands.worker, 1, too_large=0)
    assert hands.view.most == crew.most == 2


@in_loop
async def test_batches_that_leave_others_waiting_say_how_many_go_together() -> None:
    crew = Crew(8)
    crew.join(hands_of(1))
    crew.took(1, more=False)
    assert crew.usual == crew.most == 8, "nobody else was there"
    for _ in range(60):
        crew.took(3, more=True)
    assert crew.usual == crew.most == 3
    crew.took(1, more=False)
    assert crew.usual == 3
    for _ in range(60):
        crew.took(8, more=False)
    assert crew.usual == 8, "so many went together"


@in_loop
async def test_how_long_workers_are_busy_is_said_of_what_runs_and_of_what_is_prepared() -> None:
    crew = Crew(4)
    first, second, idle = hands_of(1), hands_of(2), hands_of(3)
    for hands in (first, second, idle):
        crew.join(hands)
    for number, size in enumerate((3, 2)):
        first.take(InHand(number, [entry() for _ in range(size)]))
    second.take(InHand(2, [entry()]))
    begun = second.view.begun = first.view.begun
    assert crew.busy_for(begun + 0.5, float) == [], "one has nothing in hand"
    crew.dismiss(3)
    assert crew.busy_for(begun + 0.5, float) == pytest.approx([0.5, 2.5 + 2.0])
    assert crew.busy_for(begun + 2.0, float) == pytest.approx([0.0, 1.0 + 2.0]), "one is late"


@in_loop
async def test_a_crew_is_full_when_nobody_takes_another_batch() -> None:
    crew = Crew(4)
    assert not crew.full, "nobody serves"
    first, second = hands_of(1), hands_of(2)
    crew.join(first)
    crew.join(second)
    for hands in (first, second):
        hands.take(InHand(1, [entry()]))
        assert not crew.full
        hands.take(InHand(2, [entry()]))
    assert crew.full
    first.finish(0.0)
    assert not crew.full


@in_loop
async def test_each_worker_has_as_many_in_a_batch_as_its_own_warm_up_has_shown() -> None:
    crew = Crew(8, auto=True)
    assert crew.most == 1, "nobody has said anything"
    silent, few, all_of_them = hands_of(1), hands_of(2, Together(3)), hands_of(3, Together(9))
    crew.join(silent)
    assert (silent.view.most, crew.most, crew.free_places()) == (1, 1, 1)
    crew.join(few)
    assert (few.view.most, crew.most, crew.free_places()) == (3, 3, 4)
    crew.join(all_of_them)
    assert (all_of_them.view.most, crew.most) == (8, 8), "never more than the model's bound"
    crew.dismiss(3)
    assert crew.most == 3
    crew.lose(2)
    crew.join(hands_of(2, Together(1, "rows are mixed up")))
    assert crew.most == 1, "who comes in its place speaks for itself"


@in_loop
async def test_the_least_of_a_workers_bounds_holds() -> None:
    crew = Crew(8, auto=True)
    one, few, all_of_them = hands_of(1, Together(1, "no")), hands_of(2, Together(3)), hands_of(3, Together(8))
    for hands in (one, few, all_of_them):
        crew.join(hands)
    crew.finished(all_of_them.worker, 8, too_large=7)
    assert [hands.view.most for hands in (one, few, all_of_them)] == [1, 3, 6]
    crew.finished(all_of_them.worker, 6, too_large=3)
    assert [hands.view.most for hands in (one, few, all_of_them)] == [1, 2, 2]
    for _ in range(20 * PATIENCE):
        crew.finished(all_of_them.worker, 8, too_large=0)
    assert [hands.view.most for hands in (one, few, all_of_them)] == [1, 3, 8]


@in_loop
async def test_why_a_batch_has_one_request_is_in_the_log_once() -> None:
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("torchkeeper.engine.crew")
    log.addHandler(handler)
    try:
        crew = Crew(8, auto=True)
        crew.join(hands_of(1, Together(8)))
        for number in (2, 3):
            crew.join(hands_of(number, Together(1, f"7.png is mixed up by worker {number}")))
    finally:
        log.removeHandler(handler)
    assert said == ["W-9002-m_1.0: batchSize: auto stays at 1: 7.png is mixed up by worker 2"]
