"""The queue: bounds, order, and clients that left."""

import asyncio
from collections.abc import Iterator

import pytest

from torchkeeper.engine.admission import Full
from torchkeeper.engine.batching.policy import Lane, lane_of
from torchkeeper.engine.queue import FEW, Entry, EntryQueue, size_of
from torchkeeper.errors import TorchkeeperError
from torchkeeper.wire.messages import Input, Kind, Part, Reply


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def entry(
    loop: asyncio.AbstractEventLoop,
    name: str,
    arrived: float = 0,
    kind: Kind = Kind.PREDICT,
    size: int = 1,
    envelope: str | None = None,
) -> Entry:
    request = Input(name, kind, (), {}, envelope)
    return Entry(request, loop.create_future(), arrived, size, lane_of(request))


def names(entries: list[Entry]) -> list[str]:
    return [taken.input.request_id for taken in entries]


def take(queue: EntryQueue, limit: int = 9) -> list[str]:
    """The names of what goes next."""
    if queue.again:
        return names([queue.take_again()])
    lanes = queue.lanes()
    return names(queue.take(lanes[0].lane, limit)) if lanes else []


def test_first_come_first_served_up_to_the_limit(loop: asyncio.AbstractEventLoop) -> None:
    queue = EntryQueue(10, 1000)
    for name in "abcde":
        queue.put(entry(loop, name))
    assert take(queue, 3) == ["a", "b", "c"]
    assert take(queue, 3) == ["d", "e"]
    assert len(queue) == 0


def test_a_full_queue_says_so_at_once(loop: asyncio.AbstractEventLoop) -> None:
    queue = EntryQueue(2, 1000)
    queue.put(entry(loop, "a"))
    queue.put(entry(loop, "b"))
    with pytest.raises(Full, match="2 requests wait already"):
        queue.put(entry(loop, "c"))


def test_bytes_are_bounded_but_one_request_always_fits(loop: asyncio.AbstractEventLoop) -> None:
    queue = EntryQueue(10, max_bytes=100)
    queue.put(entry(loop, "big", size=500))
    with pytest.raises(Full, match=r"500 bytes already \(job_queue_bytes\)"):
        queue.put(entry(loop, "small"))


def test_a_request_is_as_large_as_its_parameters_with_their_names() -> None:
    parts = (Part("data", b"12345"), Part("n" * 1000, b""), Part("x", b"1", "t" * 100))
    assert size_of(Input("r", Kind.PREDICT, parts, {})) == 9 + 1000 + 102


def test_a_client_that_left_makes_room(loop: asyncio.AbstractEventLoop) -> None:
    queue = EntryQueue(2, 1000)
    left = entry(loop, "left")
    queue.put(left)
    queue.put(entry(loop, "stays"))
    left.ticket.cancel()
    queue.left(left.ticket)
    assert len(queue) == 1
    queue.left(left.ticket)
    assert len(queue) == 1, "it has left once"
    queue.put(entry(loop, "next"))
    assert take(queue, 9) == ["stays", "next"]
    assert len(queue) == 0


class Watched(Entry):
    """Counts how often it is looked at."""

    looks: int = 0

    @property
    def gone(self) -> bool:
        self.looks += 1
        return super().gone


def test_a_full_queue_is_never_looked_through(loop: asyncio.AbstractEventLoop) -> None:
    """Else those who are refused would cost the more the more wait."""
    queue = EntryQueue(2, 1000)
    request = Input("a", Kind.PREDICT, (), {}, None)
    waits, leaves = (Watched(request, loop.create_future(), 0, 1, lane_of(request)) for _ in range(2))
    queue.put(waits)
    queue.put(leaves)
    leaves.ticket.cancel()
    queue.left(leaves.ticket)
    queue.put(entry(loop, "b"))
    for _ in range(3):
        with pytest.raises(Full):
            queue.put(entry(loop, "c"))
    assert waits.looks == leaves.looks == 0


def test_who_leaves_takes_along_what_it_sent_and_many_do_not_stay_in_line(
    loop: asyncio.AbstractEventLoop,
) -> None:
    told: list[Lane] = []
    queue = EntryQueue(10_000, 10_000, told.append)
    entries = [entry(loop, str(number)) for number in range(1000)]
    for one in entries:
        one.input = Input("r", Kind.PREDICT, (Part("body", b"x"),), {})
        queue.put(one)
    for number, one in enumerate(entries[1:], 1):
        one.ticket.cancel()
        queue.left(one.ticket)
        in_line = sum(map(len, queue._lanes.values()))
        assert (len(queue), len(told), one.input.parts) == (1000 - number, number, ())
        assert in_line <= max(2 * len(queue), len(queue) + FEW)
    assert queue.take(entries[0].lane, 9) == entries[:1]
    assert (len(queue), len(told)) == (0, 999), "the policy hears of each once"


def test_who_left_without_a_word_is_not_taken_and_the_policy_hears_of_it_once(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """A task that is cancelled cancels its ticket a moment before it says so."""
    told: list[Lane] = []
    queue = EntryQueue(9, 1000, told.append)
    leaves = entry(loop, "leaves")
    queue.put(leaves)
    leaves.ticket.cancel()
    assert (queue.lanes(), len(queue), len(told)) == ([], 0, 1)
    queue.left(leaves.ticket)
    assert (len(queue), len(told)) == (0, 1)


@pytest.mark.parametrize("bounds", [(1, 1000), (9, 6)], ids=["by count", "by bytes"])
def test_who_came_a_moment_ago_may_go_to_an_idle_worker_first(
    bounds: tuple[int, int], loop: asyncio.AbstractEventLoop
) -> None:
    def beyond() -> int:
        take(queue)
        return 0

    queue = EntryQueue(*bounds, beyond=beyond)
    queue.put(entry(loop, "a", size=6))
    queue.put(entry(loop, "b", size=6))
    assert take(queue) == ["b"]


def test_a_batch_holds_one_kind_and_the_oldest_head_goes_first(loop: asyncio.AbstractEventLoop) -> None:
    queue = EntryQueue(10, 1000)
    queue.put(entry(loop, "p1", 1))
    queue.put(entry(loop, "e2", 2, Kind.EXPLAIN))
    queue.put(entry(loop, "p3", 3))
    queue.put(entry(loop, "e4", 4, Kind.EXPLAIN))
    assert take(queue, 9) == ["p1", "p3"]
    assert take(queue, 9) == ["e2", "e4"]


def test_what_comes_back_goes_first_and_what_was_tried_goes_alone(loop: asyncio.AbstractEventLoop) -> None:
    queue = EntryQueue(2, 1000)
    queue.put(entry(loop, "later", 5))
    queue.put_back([entry(loop, "one", 1), entry(loop, "two", 2)])
    tried = entry(loop, "tried", 0)
    tried.retried = True
    queue.put_back([tried])
    assert take(queue, 9) == ["tried"]
    assert take(queue, 9) == ["one", "two", "later"]


def test_what_comes_back_keeps_the_order_of_what_came_back_before(loop: asyncio.AbstractEventLoop) -> None:
    queue = EntryQueue(9, 1000)
    queue.put(entry(loop, "last", 9))
    queue.put_back([entry(loop, "two", 2)])
    queue.put_back([entry(loop, "one", 1), entry(loop, "three", 3), entry(loop, "four", 4)])
    assert take(queue, 9) == ["one", "two", "three", "four", "last"]


def test_old_entries_are_found(loop: asyncio.AbstractEventLoop) -> None:
    queue = EntryQueue(10, 1000)
    for moment in range(4):
        queue.put(entry(loop, str(moment), moment))
    assert names(queue.older_than(2)) == ["0", "1"]
    assert len(queue) == 2


def test_what_is_to_be_sent_again_grows_old_like_the_rest(loop: asyncio.AbstractEventLoop) -> None:
    queue = EntryQueue(10, 1000)
    for name, arrived in (("new", 3), ("old", 1)):
        again = entry(loop, name, arrived)
        again.retried = True
        queue.put_back([again])
    queue.put(entry(loop, "explained", 1, Kind.EXPLAIN))
    assert names(queue.older_than(2)) == ["old", "explained"]
    assert take(queue) == ["new"]
    assert queue.lanes() == []


def test_drain_empties_all_lanes(loop: asyncio.AbstractEventLoop) -> None:
    queue = EntryQueue(10, 1000)
    queue.put(entry(loop, "p"))
    queue.put(entry(loop, "e", kind=Kind.EXPLAIN))
    assert sorted(names(queue.drain())) == ["e", "p"]
    assert len(queue) == 0
    assert queue.lanes() == []


def test_an_answered_ticket_counts_as_gone(loop: asyncio.AbstractEventLoop) -> None:
    answered = entry(loop, "a")
    answered.ticket.set_result(Reply(b""))
    assert answered.gone


def test_a_batch_holds_one_envelope(loop: asyncio.AbstractEventLoop) -> None:
    queue = EntryQueue(10, 1000)
    for place, envelope in enumerate(("kserve", None, "kserve", "kservev2", None)):
        queue.put(entry(loop, f"{envelope}{place}", arrived=place, envelope=envelope))
    assert [take(queue, 9) for _ in range(3)] == [
        ["kserve0", "kserve2"],
        ["None1", "None4"],
        ["kservev23"],
    ]


def test_bytes_of_clients_that_left_make_room(loop: asyncio.AbstractEventLoop) -> None:
    queue = EntryQueue(9, 10)
    gone = entry(loop, "a", size=6)
    queue.put(gone)
    with pytest.raises(Full):
        queue.put(entry(loop, "b", size=6))
    gone.ticket.cancel()
    queue.left(gone.ticket)
    queue.put(entry(loop, "b", size=6))
    assert take(queue) == ["b"]


def test_what_came_at_the_same_moment_keeps_its_order(loop: asyncio.AbstractEventLoop) -> None:
    queue = EntryQueue(9, 1000)
    entries = [entry(loop, name) for name in "ab"]
    queue.put_back(entries)
    assert take(queue) == ["a", "b"]


def test_the_oldest_of_one_and_of_none(loop: asyncio.AbstractEventLoop) -> None:
    queue = EntryQueue(9, 1000)
    assert queue.oldest() is None
    queue.put(entry(loop, "a", arrived=3))
    assert queue.oldest() == 3


def test_who_left_before_the_queue_was_emptied_is_told_of(loop: asyncio.AbstractEventLoop) -> None:
    told: list[Lane] = []
    queue = EntryQueue(9, 1000, told.append)
    entries = [entry(loop, "a"), entry(loop, "b", kind=Kind.EXPLAIN)]
    for one in entries:
        queue.put(one)
    entries[1].ticket.cancel()
    assert queue.drain() == entries[:1]
    assert told == [entries[1].lane]


def test_who_has_left_or_been_answered_is_not_failed(loop: asyncio.AbstractEventLoop) -> None:
    left, answered = entry(loop, "a"), entry(loop, "b")
    left.ticket.cancel()
    answered.answer(Reply(b"b"))
    for one in (left, answered):
        one.fail(TorchkeeperError("too late"))
    assert left.ticket.cancelled()
    assert answered.ticket.result() == Reply(b"b")
