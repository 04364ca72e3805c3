"""What a worker holds: when a batch began, when it must have spoken, and which readers hold it back."""

from __future__ import annotations

import asyncio
import time

import pytest
from stand_ins import Channel, in_loop, serving_worker, turns, until  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.engine.in_hand import Hands, InHand
from torchkeeper.engine.queue import Entry
from torchkeeper.engine.stream import FULL, OVERFULL, ROOM
from torchkeeper.pool.life import State
from torchkeeper.wire.messages import Input, Kind, Reply


class Held:
    """A worker's hands and what they said."""

    def __init__(self, timeout: float = 60.0) -> None:
        self.worker, self.channel = serving_worker()
        self.late: list[Hands] = []
        self.slow: list[str] = []
        self.hands = Hands(self.worker, timeout, self.late.append, self._on_slow)

    def _on_slow(self, hands: Hands, entry: Entry) -> None:
        assert hands is self.hands
        assert entry.stream is not None
        self.slow.append(entry.input.request_id)
        entry.stream.close()

    def take(self, names: str, *, in_parts: bool = True) -> list[Entry]:
        loop = asyncio.get_running_loop()
        entries = [
            Entry(Input(name, Kind.PREDICT, (), {}), loop.create_future(), 0, 0, "lane", in_parts=in_parts)
            for name in names
        ]
        self.hands.take(InHand(1, entries))
        return entries

    def fill(self, entry: Entry, size: int = FULL + 1) -> None:
        """A part of that size, as the dispatcher passes it on."""
        entry.add(Reply(bytes(size)))
        assert entry.stream is not None
        entry.stream.on_room = self.hands.regulate
        self.hands.regulate()

    async def drain(self, entry: Entry, count: int = 1) -> None:
        assert entry.stream is not None
        for _ in range(count):
            await anext(entry.stream)


@in_loop
async def test_a_batch_begins_when_it_is_the_first() -> None:
    held = Held()
    before = time.monotonic()
    held.take("a")
    held.take("b")
    after = time.monotonic()
    running, prepared = held.hands.batches
    assert before <= running.begun <= after
    assert (held.worker.life.state, held.hands.view.batches) == (State.BUSY, 2)
    held.hands.arm()
    assert held.hands.finish(after + 1) is running
    assert before <= running.begun <= after, "parts move the deadline, not the beginning"
    assert prepared.begun == after + 1
    held.hands.finish(after + 2)
    assert (held.worker.life.state, held.hands.view.idle_since) == (State.READY, after + 2)


@in_loop
async def test_who_says_nothing_in_time_is_reported() -> None:
    held = Held(timeout=0.01)
    held.take("a")
    await until(lambda: held.late == [held.hands])


@in_loop
async def test_nothing_is_awaited_of_who_has_nothing_or_is_gone() -> None:
    idle, gone, late = Held(timeout=0.01), Held(timeout=0.01), Held(timeout=0.02)
    idle.take("a")
    idle.hands.finish(time.monotonic())
    gone.take("b")
    assert [batch.entries[0].input.request_id for batch in gone.hands.drop()] == ["b"]
    late.take("c")
    await until(lambda: bool(late.late))
    assert (idle.late, gone.late) == ([], [])


@in_loop
async def test_the_only_reader_holds_its_worker_until_it_has_caught_up() -> None:
    held = Held()
    (entry,) = held.take("a")
    held.fill(entry, FULL)
    assert not held.channel.held
    held.fill(entry, ROOM)
    held.fill(entry, 1)
    assert held.channel.held
    await held.drain(entry)
    assert held.channel.held, "a little more than ROOM waits"
    await held.drain(entry)
    assert not held.channel.held


@in_loop
async def test_one_slow_reader_does_not_hold_the_others() -> None:
    held = Held()
    slow, quick = held.take("sq")
    held.fill(slow)
    assert not held.channel.held, "nothing has come for the other one yet"
    held.fill(quick)
    assert held.channel.held, "both have to catch up"
    await held.drain(quick)
    assert not held.channel.held
    held.fill(slow, OVERFULL)
    assert held.channel.held, "its parts would fill the memory"
    await held.drain(slow, 2)
    assert not held.channel.held, "it came back in time"


@in_loop
async def test_an_answer_that_is_wanted_whole_is_not_held_by_a_slow_reader() -> None:
    held = Held()
    (slow,) = held.take("s")
    whole = Entry(Input("w", Kind.PREDICT, (), {}), asyncio.get_running_loop().create_future(), 0, 0, "lane")
    held.hands.batches[0].entries.append(whole)
    held.fill(slow)
    assert not held.channel.held
    whole.ticket.cancel()
    held.fill(slow, 1)
    assert held.channel.held, "the slow one is alone now"


@pytest.mark.parametrize("others", ["", "q"])
@in_loop
async def test_who_does_not_catch_up_gets_no_more(others: str) -> None:
    held = Held(timeout=0.02)
    slow, *quick = held.take("s" + others)
    for entry in quick:
        entry.add(Reply(b"x"))
    held.fill(slow, OVERFULL + 1)
    assert held.channel.held
    await until(lambda: held.slow == ["s"])
    assert not held.channel.held
    assert held.late == [], "the worker was not late meanwhile"
    await until(lambda: bool(held.late))


@in_loop
async def test_a_worker_is_not_late_while_its_reader_is() -> None:
    held = Held(timeout=0.02)
    (entry,) = held.take("s")
    held.fill(entry)
    held.hands.arm()
    await until(lambda: held.slow == ["s"])
    assert held.late == []


@in_loop
async def test_all_who_are_behind_together_wait_as_long_as_one_alone() -> None:
    held = Held(timeout=0.02)
    entries = held.take("abc")
    for entry in entries:
        held.fill(entry)
    await until(lambda: held.slow == ["a", "b", "c"])
    assert not held.channel.held


@in_loop
async def test_what_is_answered_holds_nobody() -> None:
    held = Held()
    (entry,) = held.take("a")
    held.take("b")
    held.fill(entry)
    held.hands.finish(time.monotonic())
    assert not held.channel.held
    await held.drain(entry)
    assert not held.channel.held


@in_loop
async def test_readers_of_a_dead_worker_do_not_touch_its_successor() -> None:
    held = Held(timeout=0.01)
    (entry,) = held.take("a")
    held.fill(entry)
    held.hands.drop()
    successor = held.worker.process = Channel()
    await held.drain(entry)
    held.hands.regulate()
    await turns()
    assert not successor.held
    assert held.slow == []
