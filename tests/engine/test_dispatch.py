"""The dispatcher by itself: who is taken, who goes where, and that each request gets one answer."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from stand_ins import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    DEATH,
    Dispatching,
    in_loop,
    read,
    request,
    stream_of,
    turns,
    until,
)

from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.engine.batching.greedy import PREPARE_BELOW
from torchkeeper.engine.batching.policies import make_policy
from torchkeeper.engine.batching.policy import Arrived, Done, Left, Lost, Send, Sent
from torchkeeper.engine.stream import FULL, OVERFULL, Closed
from torchkeeper.errors import (
    BadRequest,
    PredictionFailed,
    Quarantined,
    QueueFull,
    ServiceUnavailable,
    WorkerDied,
)
from torchkeeper.pool.worker import NOBODY, Loss, Refusal
from torchkeeper.wire.frames import WireError, encode_parts, encode_replies
from torchkeeper.wire.messages import Failure, Kind, Reply, Sample

# --- who is taken ----------------------------------------------------------------------------------------


@in_loop
async def test_an_idle_worker_takes_what_waits_and_the_answers_find_their_askers() -> None:
    at_work = Dispatching(batch_size=4)
    tickets = [at_work.ask(name) for name in "abc"]
    await turns()
    assert at_work.batches() == [["a", "b", "c"]]
    at_work.answer()
    assert [(await ticket).body for ticket in tickets] == [b"a", b"b", b"c"]


@in_loop
async def test_kinds_and_envelopes_are_not_mixed() -> None:
    at_work = Dispatching(batch_size=4)
    at_work.ask("a")
    at_work.ask("b", Kind.EXPLAIN)
    at_work.ask("c", envelope="kserve")
    at_work.ask("d")
    for _ in range(3):
        await turns()
        at_work.answer()
    assert at_work.batches() == [["a", "d"], ["b"], ["c"]]


@in_loop
async def test_descriptions_go_one_by_one() -> None:
    at_work = Dispatching(batch_size=4)
    for name in "ab":
        at_work.ask(name, Kind.DESCRIBE)
    await turns()
    assert at_work.batches()[0] == ["a"]


@in_loop
async def test_a_batch_costs_no_more_than_it_may() -> None:
    at_work = Dispatching(batch_size=4, batch_cost="bytes", max_batch_cost=6.0)
    at_work.ask("first")
    await turns()
    for name in ("aa", "bbbb", "c", "0123456789", "d", "e"):
        at_work.ask(name)
    for _ in range(5):
        await turns()
        at_work.answer()
    assert at_work.batches() == [["first"], ["aa", "bbbb"], ["c"], ["0123456789"], ["d", "e"]]


@in_loop
async def test_a_request_whose_cost_is_not_known_is_refused_and_leaves_nothing() -> None:
    at_work = Dispatching(batch_size=4, batch_cost="X-Tokens", max_batch_cost=6.0)
    with pytest.raises(BadRequest, match="needs a header X-Tokens"):
        at_work.ask("a")
    assert at_work.dispatcher.waiting == 0
    assert at_work.policy.events == []


@in_loop
async def test_what_was_put_back_costs_what_it_did() -> None:
    at_work = Dispatching(workers=2, batch_size=4, batch_cost="bytes", max_batch_cost=2.0)
    for name in "abcd":
        at_work.ask(name)
    await turns()
    assert (at_work.batches(0), at_work.batches(1)) == ([["a", "b"]], [["c", "d"]])
    at_work.ask("e")
    at_work.die(0)
    at_work.answer(place=1)
    for _ in range(3):
        await turns()
        at_work.answer(place=1)
    assert at_work.batches(1) == [["c", "d"], ["a"], ["b"], ["e"]]


@in_loop
async def test_who_waits_for_small_batches_is_expected_late(clock: Clock) -> None:
    """Of four that may be in a batch two fit: those ahead take twice as many batches."""
    at_work = Dispatching(batch_size=4, limit=200, batch_cost="bytes", max_batch_cost=2.0)
    for _ in range(160):
        at_work.ask("x")
    await turns()
    for _ in range(76):
        clock.now += 1.0
        at_work.answer()
        await turns()
    assert at_work.dispatcher.waiting == 4, "behind one batch that runs and one that is prepared"
    with pytest.raises(QueueFull) as refused:
        at_work.ask("y", patience=5.0)
    assert "would be answered in about 5 s" in str(refused.value.cause)
    at_work.ask("y", patience=6.0)


@in_loop
async def test_a_full_queue_refuses() -> None:
    at_work = Dispatching(workers=1, limit=1)
    at_work.ask("runs")
    await turns()
    at_work.ask("waits")
    assert (at_work.dispatcher.waiting, at_work.dispatcher.room) == (1, 0)
    with pytest.raises(QueueFull, match="No worker is available") as refused:
        at_work.ask("refused")
    assert "job_queue_size" in str(refused.value.cause)


@in_loop
async def test_bytes_that_wait_are_bounded() -> None:
    at_work = Dispatching(workers=0, limit_bytes=1000)
    at_work.ask("x" * 600)
    with pytest.raises(QueueFull) as refused:
        at_work.ask("y" * 600)
    assert "job_queue_bytes" in str(refused.value.cause)
    assert at_work.dispatcher.waiting == 1


class Clock:
    """In the place of `time`, for what dispatches: it goes on when a test says so."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("dispatch", "in_hand"):
        monkeypatch.setattr(f"torchkeeper.engine.{module}.time", clock)
    return clock


async def busy_for(at_work: Dispatching, clock: Clock, seconds: float, waiting: int) -> None:
    """One worker, whose batches of one take so long, is at it; so many others wait."""
    for number in range(3):
        at_work.ask(f"before {number}")
        await turns()
        clock.now += seconds
        at_work.answer()
    at_work.ask("runs")
    await turns()
    while at_work.dispatcher.waiting < waiting:
        at_work.ask("waits")
        await turns()


@in_loop
async def test_who_is_refused_hears_when_those_who_wait_will_have_been_served(clock: Clock) -> None:
    at_work = Dispatching(limit=30)
    await busy_for(at_work, clock, 0.2, waiting=30)
    with pytest.raises(QueueFull) as refused:
        at_work.ask("refused")
    assert refused.value.headers["Retry-After"] == "6"


@in_loop
async def test_whose_client_would_not_wait_for_it_is_refused_at_once(clock: Clock) -> None:
    at_work = Dispatching()
    await busy_for(at_work, clock, 0.2, waiting=30)
    at_work.ask("has time", patience=60.0)
    at_work.ask("does not say")
    with pytest.raises(QueueFull) as refused:
        at_work.ask("has no time", patience=6.0)
    told = "32 requests wait already, one more would be answered in about 7 s; the client waits for 6 s"
    assert refused.value.cause == told


@in_loop
async def test_the_rest_of_the_running_batch_and_its_own_count_for_who_waits(clock: Clock) -> None:
    at_work = Dispatching()
    await busy_for(at_work, clock, 0.2, waiting=0)
    with pytest.raises(QueueFull, match="No worker"):
        at_work.ask("two batches are too long", patience=0.4)
    clock.now += 0.1
    at_work.ask("one and a half are not", patience=0.4)
    clock.now += 9.0
    at_work.ask("what is late may be over any moment", patience=0.45)


@in_loop
async def test_batches_that_were_not_full_refuse_nobody_whom_full_ones_would_serve(clock: Clock) -> None:
    at_work = Dispatching(batch_size=8)
    await busy_for(at_work, clock, 0.5, waiting=0)
    for number in range(63):
        at_work.ask(f"{number}", patience=5.01)


@in_loop
async def test_what_was_long_ago_refuses_nobody(clock: Clock) -> None:
    at_work = Dispatching()
    await busy_for(at_work, clock, 0.5, waiting=0)
    with pytest.raises(QueueFull, match="No worker"):
        at_work.ask("refused", patience=0.5)
    at_work.answer()
    clock.now += 3600.0
    at_work.ask("runs")
    await turns()
    at_work.ask("taken", patience=0.5)


@in_loop
async def test_who_has_left_is_ahead_of_nobody(clock: Clock) -> None:
    at_work = Dispatching(limit=30)
    await busy_for(at_work, clock, 0.2, waiting=0)
    at_work.ask("is prepared")
    await turns()
    stays, *leaving = [at_work.ask(f"{number}") for number in range(30)]
    with pytest.raises(QueueFull) as refused:
        at_work.ask("too many wait", patience=60.0)
    assert refused.value.headers["Retry-After"] == "6"
    for ticket in leaving:
        at_work.dispatcher.cancel(ticket)
    assert (at_work.dispatcher.waiting, at_work.dispatcher.room) == (1, 29)
    has_time = at_work.ask("has time", patience=1.0)
    with pytest.raises(QueueFull) as refused:
        at_work.ask("has none", patience=0.5)
    assert "2 requests wait already" in str(refused.value.cause)
    assert refused.value.headers["Retry-After"] == "1"
    for _ in range(4):
        at_work.answer()
        await turns()
    assert [(await ticket).body for ticket in (stays, has_time)] == [b"0", b"has time"]


@in_loop
async def test_bytes_that_idle_workers_would_take_at_once_are_no_reason_to_refuse() -> None:
    at_work = Dispatching(workers=2, limit_bytes=1000)
    for name in "xyz":
        at_work.ask(name * 600)
    with pytest.raises(QueueFull) as refused:
        at_work.ask("w" * 600)
    assert "job_queue_bytes" in str(refused.value.cause)
    assert [at_work.batches(place) for place in (0, 1)] == [[["x" * 600]], [["y" * 600]]]


@in_loop
async def test_an_idle_worker_gets_a_request_however_little_time_its_client_has(clock: Clock) -> None:
    at_work = Dispatching()
    await busy_for(at_work, clock, 0.2, waiting=0)
    at_work.answer()
    ticket = at_work.ask("a", patience=0.001)
    other = at_work.ask("b", patience=0.001)
    await turns()
    at_work.answer()
    at_work.answer()
    assert (await ticket).body + (await other).body == b"ab"


@pytest.mark.parametrize("policy", ["adaptive", "greedy", "delay"])
def test_a_batch_may_be_larger_than_the_queue(policy: str) -> None:
    """As in TorchServe, whose workers take requests out of the queue while they wait for a full batch."""

    @in_loop
    async def ask() -> None:
        settings = ModelSettings(batch_policy=policy, batch_size=50, max_batch_delay=60_000)
        at_work = Dispatching(workers=1, batch_size=50, limit=10, policy=make_policy(settings))
        for number in range(60):
            at_work.ask(f"{number}")
            if number < 5:
                await turns()
        with pytest.raises(QueueFull):
            at_work.ask("refused")
        assert sum(map(len, at_work.batches())) + at_work.dispatcher.waiting == 60
        assert at_work.dispatcher.room == 0

    ask()


@in_loop
async def test_those_who_come_at_once_go_to_idle_workers_first() -> None:
    at_work = Dispatching(workers=2, limit=1)
    for name in "abc":
        at_work.ask(name)
    with pytest.raises(QueueFull):
        at_work.ask("d")
    assert at_work.batches(0) + at_work.batches(1) == [["a"], ["b"]]


@in_loop
async def test_behind_a_full_batch_the_queue_is_as_long_as_it_is_said_to_be() -> None:
    at_work = Dispatching(workers=1, batch_size=4, limit=2)
    for name in "abcd":
        at_work.ask(name)
    await turns()
    at_work.ask("e")
    at_work.ask("f")
    with pytest.raises(QueueFull):
        at_work.ask("g")


@in_loop
async def test_job_tickets_are_as_many_as_idle_workers() -> None:
    at_work = Dispatching(workers=2, job_ticket=True)
    assert at_work.dispatcher.idle() == 2
    at_work.ask("a")
    at_work.ask("b")
    with pytest.raises(QueueFull) as refused:
        at_work.ask("c")
    assert "useJobTicket" in str(refused.value.cause)
    await turns()
    assert at_work.dispatcher.idle() == 0
    at_work.answer(place=1)
    at_work.ask("d")


@in_loop
async def test_where_nobody_can_be_expected_requests_are_refused_and_those_that_wait_are_told() -> None:
    at_work = Dispatching(workers=0)
    waits = at_work.ask("waits for a first worker")
    at_work.dispatcher.on_availability(Refusal("no worker could be started: why", time.monotonic() + 6.5))
    with pytest.raises(ServiceUnavailable) as refused:
        at_work.ask("refused")
    assert refused.value.cause == "no worker could be started: why"
    assert refused.value.headers == {"Retry-After": "7"}
    with pytest.raises(ServiceUnavailable) as told:
        await waits
    assert told.value.headers == {"Retry-After": "7"}


@in_loop
async def test_what_waits_goes_to_the_first_worker_that_is_ready() -> None:
    at_work = Dispatching(workers=0)
    ticket = at_work.ask("a")
    await turns()
    at_work.hire()
    at_work.answer()
    assert (await ticket).body == b"a"


# --- in hand ---------------------------------------------------------------------------------------------


def short_batches(at_work: Dispatching) -> None:
    """Teaches the policy that a second batch may be prepared."""
    at_work.policy.observe(Done(0, 1, PREPARE_BELOW / 2, "lane"), 0.0)


@in_loop
async def test_one_batch_runs_one_is_prepared_and_the_rest_waits() -> None:
    at_work = Dispatching(batch_size=2)
    short_batches(at_work)
    tickets = [at_work.ask(name) for name in "abcdefg"]
    await turns()
    assert at_work.batches() == [["a", "b"], ["c", "d"]]
    assert at_work.dispatcher.waiting == 3
    for _ in range(4):
        at_work.answer()
    assert [(await ticket).body.decode() for ticket in tickets] == list("abcdefg")
    assert at_work.batches() == [["a", "b"], ["c", "d"], ["e", "f"], ["g"]]


@in_loop
async def test_a_failure_is_its_own_requests_error() -> None:
    at_work = Dispatching(batch_size=2)
    good, bad = at_work.ask("good"), at_work.ask("bad")
    await turns()
    at_work.answer(b"fine", Failure(507, "Out of memory", "why"))
    assert (await good).body == b"fine"
    with pytest.raises(PredictionFailed, match="Out of memory") as failed:
        await bad
    assert (failed.value.status, failed.value.cause) == (507, "why")


@in_loop
async def test_samples_are_passed_on_before_anybody_hears_the_answer() -> None:
    at_work = Dispatching()
    ticket = at_work.ask("a")
    heard_first: list[int] = []
    ticket.add_done_callback(lambda ticket: heard_first.append(len(at_work.samples)))
    await turns()
    sample = Sample("n", 1.0, "ms", "GAUGE", ())
    at_work.answer(samples=(sample,))
    await turns()
    assert (at_work.samples, heard_first) == ([sample], [1])


@in_loop
async def test_queue_time_ends_where_the_batch_begins_though_its_answer_comes_in_parts() -> None:
    at_work = Dispatching()
    before = time.monotonic()
    at_work.ask("a", in_parts=True)
    await turns()
    begun = time.monotonic()
    for _ in range(3):
        at_work.parts(b"part")
    last = time.monotonic()
    at_work.answer(b"end")
    (queued,), (total,), (overhead,) = at_work.times.queued, at_work.times.totals, at_work.times.overheads
    assert queued <= begun - before
    assert overhead >= last - begun
    assert queued + overhead == pytest.approx(total)


# --- workers that are lost -------------------------------------------------------------------------------


@in_loop
async def test_what_ran_is_sent_again_once_alone_and_what_was_prepared_goes_elsewhere() -> None:
    at_work = Dispatching(batch_size=2)
    short_batches(at_work)
    a, b, c, d = (at_work.ask(name) for name in "abcd")
    await turns()
    at_work.die()
    assert not any(ticket.done() for ticket in (a, b, c, d))
    at_work.hire()
    for _ in range(3):
        at_work.answer(place=1)
    assert at_work.batches(1) == [["a"], ["b"], ["c", "d"]]
    assert [(await ticket).body.decode() for ticket in (a, b, c, d)] == list("abcd")


@in_loop
async def test_a_second_death_is_the_answer() -> None:
    at_work = Dispatching(batch_size=2)
    guilty, bystander = at_work.ask("guilty"), at_work.ask("bystander")
    await turns()
    at_work.die()
    at_work.hire()
    at_work.die(1)
    with pytest.raises(WorkerDied) as died:
        await guilty
    assert died.value.cause == DEATH.cause
    at_work.hire()
    at_work.answer(place=2)
    assert (await bystander).body == b"bystander"


CRASH = Loss("the worker process was killed by SIGSEGV", killed=False, timed_out=False, crashed=True)


@in_loop
async def test_who_ends_two_workers_is_quarantined_and_nobody_of_its_batch() -> None:
    at_work = Dispatching(batch_size=2)
    guilty, bystander = at_work.ask("guilty"), at_work.ask("bystander")
    await turns()
    at_work.die(loss=CRASH)
    for place in (1, 2):
        at_work.hire()
        if place == 1:
            at_work.die(1, loss=CRASH)
        else:
            at_work.answer(place=2)
    with pytest.raises(WorkerDied) as died:
        await guilty
    assert died.value.status == 500
    assert (await bystander).body == b"bystander"
    (held,) = at_work.dispatcher.quarantined().values()
    assert held.cause == CRASH.cause
    with pytest.raises(Quarantined):
        at_work.ask("guilty")
    assert held.refused == 1
    again = at_work.ask("bystander")
    await turns()
    at_work.answer(place=2)
    assert (await again).body == b"bystander"


@in_loop
async def test_copies_that_wait_already_end_no_further_workers() -> None:
    at_work = Dispatching()
    first, second, good = at_work.ask("guilty"), at_work.ask("guilty"), at_work.ask("good")
    await turns()
    at_work.die(loss=CRASH)
    at_work.hire()
    at_work.die(1, loss=CRASH)
    at_work.hire()
    with pytest.raises(WorkerDied):
        await first
    with pytest.raises(Quarantined):
        await second
    assert at_work.batches(2) == [["good"]]
    at_work.answer(place=2)
    assert (await good).body == b"good"


@pytest.mark.parametrize(
    "second",
    [
        Loss("the worker process was killed by SIGKILL", killed=True, timed_out=False),
        Loss("no answer within 1 s (response timeout)", killed=False, timed_out=True),
    ],
    ids=["from outside", "a hang"],
)
@in_loop
async def test_whose_second_worker_was_ended_by_others_is_not_quarantined(second: Loss) -> None:
    at_work = Dispatching()
    ticket = at_work.ask("a")
    await turns()
    at_work.die(loss=CRASH)
    at_work.hire()
    at_work.die(1, loss=second)
    with pytest.raises(WorkerDied):
        await ticket
    assert not at_work.dispatcher.quarantined()


@in_loop
async def test_batches_stay_below_the_size_for_which_the_memory_did_not_suffice() -> None:
    at_work = Dispatching(batch_size=4)
    tickets = [at_work.ask(name) for name in "abcd"]
    await turns()
    at_work.answer(too_large=4)
    at_work.hire()
    tickets += [at_work.ask(name) for name in "efghij"]
    await turns()
    assert at_work.batches(0)[1:] == [["e", "f", "g"]]
    assert at_work.batches(1) == [["h", "i", "j"]], "who is hired later has the same device"
    at_work.answer(too_large=3)
    at_work.answer(place=1, too_large=4)
    tickets += [at_work.ask(name) for name in "klm"]
    await turns()
    assert at_work.batches(0)[2] == ["k", "l"], "the least of all sizes counts"
    at_work.answer()
    at_work.answer(place=1)
    assert [(await ticket).body.decode() for ticket in tickets] == list("abcdefghijklm")


@pytest.mark.parametrize(
    ("retry", "loss"),
    [(False, DEATH), (True, Loss("no answer within 1 s (response timeout)", killed=False, timed_out=True))],
    ids=["not wanted", "a hang"],
)
@in_loop
async def test_some_deaths_are_final_at_once(retry: bool, loss: Loss) -> None:
    at_work = Dispatching(retry=retry)
    ticket = at_work.ask("a")
    await turns()
    at_work.die(loss=loss)
    with pytest.raises(WorkerDied):
        await ticket
    assert at_work.dispatcher.waiting == 0


@in_loop
async def test_a_stream_that_has_begun_ends_with_its_worker() -> None:
    at_work = Dispatching(batch_size=2)
    begun, waits = at_work.ask("begun", in_parts=True), at_work.ask("waits", in_parts=True)
    await turns()
    at_work.parts(b"one", None)
    at_work.die()
    stream = await stream_of(begun)
    assert (await anext(stream)).body == b"one"
    with pytest.raises(WorkerDied):
        await anext(stream)
    at_work.hire()
    at_work.answer(place=1)
    assert (await waits) is not None
    assert at_work.batches(1) == [["waits"]]


@in_loop
async def test_what_a_dead_worker_had_sent_of_an_answer_is_not_sent_twice() -> None:
    at_work = Dispatching()
    ticket = at_work.ask("a")
    await turns()
    at_work.parts(b"one ")
    at_work.die()
    at_work.hire()
    at_work.parts(b"one ", place=1)
    at_work.answer(b"end", place=1)
    assert (await ticket).body == b"one end"


@in_loop
async def test_who_is_dismissed_answers_what_it_holds_and_gets_no_more() -> None:
    at_work = Dispatching(workers=2)
    first, second = at_work.ask("a"), at_work.ask("b")
    await turns()
    at_work.dismiss(0)
    third = at_work.ask("c")
    at_work.answer(place=0)
    at_work.answer(place=1)
    await turns()
    at_work.answer(place=1)
    assert [(await ticket).body for ticket in (first, second, third)] == [b"a", b"b", b"c"]
    assert (at_work.batches(0), at_work.batches(1)) == ([["a"]], [["b"], ["c"]])


# --- time ------------------------------------------------------------------------------------------------


@in_loop
async def test_a_worker_that_does_not_answer_is_killed() -> None:
    at_work = Dispatching(response_timeout=0.01)
    at_work.ask("a")
    await until(lambda: bool(at_work.killed))
    worker, why = at_work.killed[0]
    assert worker is at_work.workers[0][0]
    assert why == "no answer within 0.01 s (response timeout, set by responseTimeout)"


@in_loop
async def test_who_waits_too_long_is_told_so() -> None:
    at_work = Dispatching(client_timeout=10)
    runs = at_work.ask("runs")
    await turns()
    waits = at_work.ask("waits")
    with pytest.raises(ServiceUnavailable) as late:
        await waits
    assert "clientTimeoutInMills (10 ms)" in str(late.value.cause)
    at_work.answer()
    assert (await runs).body == b"runs"


@in_loop
async def test_who_waits_too_long_to_be_sent_again_is_told_so() -> None:
    at_work = Dispatching(client_timeout=10)
    again = at_work.ask("again")
    await turns()
    at_work.die()
    with pytest.raises(ServiceUnavailable) as late:
        await again
    assert "clientTimeoutInMills (10 ms)" in str(late.value.cause)
    assert at_work.dispatcher.waiting == 0
    lane = at_work.policy.lane(request("again"))
    assert at_work.policy.events[-2:] == [Arrived(lane), Left(lane)]


@pytest.mark.parametrize("policy", ["adaptive", "greedy", "delay"])
@in_loop
async def test_how_long_a_request_may_wait_counts_from_its_arrival(
    policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a later request nor a batch that is waited for makes it longer."""
    loop, moments = asyncio.get_running_loop(), list[float]()
    call_at = loop.call_at

    def note(when: float, *args: Any, **context: Any) -> asyncio.TimerHandle:
        if when > time.monotonic() + 500.0:
            moments.append(when)
        return call_at(when, *args, **context)

    monkeypatch.setattr(loop, "call_at", note)
    settings = ModelSettings(batch_policy=policy, batch_size=9, max_batch_delay=5_000_000)
    at_work = Dispatching(client_timeout=1_000_000, policy=make_policy(settings))
    at_work.ask("runs, if nothing is waited for")
    await turns()
    at_work.ask("waits")
    latest = time.monotonic() + 1000.0
    await turns()
    await until(lambda: time.monotonic() > latest - 1000.0)
    at_work.ask("later")
    await turns()
    assert moments
    assert moments[-1] <= latest


# --- clients that leave ----------------------------------------------------------------------------------


@in_loop
async def test_a_client_that_leaves_while_it_waits_is_never_sent() -> None:
    at_work = Dispatching()
    at_work.ask("runs")
    await turns()
    left, stays = at_work.ask("left"), at_work.ask("stays")
    at_work.dispatcher.cancel(left)
    at_work.answer()
    assert at_work.batches() == [["runs"], ["stays"]]
    at_work.answer()
    assert (await stays).body == b"stays"
    assert at_work.channel().cancelled == []


@in_loop
async def test_a_worker_is_told_of_clients_that_leave_while_it_holds_their_requests() -> None:
    at_work = Dispatching(batch_size=2)
    short_batches(at_work)
    tickets = [at_work.ask(name) for name in "abcd"]
    await turns()
    for ticket in (tickets[1], tickets[2]):
        at_work.dispatcher.cancel(ticket)
    assert at_work.channel().cancelled == [(1, (1,)), (2, (0,))]
    at_work.answer(b"a", None)
    at_work.answer(None, b"d")
    assert [ticket.cancelled() for ticket in tickets] == [False, True, True, False]


@in_loop
async def test_leaving_after_the_answer_changes_nothing() -> None:
    at_work = Dispatching()
    ticket = at_work.ask("a")
    await turns()
    at_work.answer()
    at_work.dispatcher.cancel(ticket)
    assert (await ticket).body == b"a"
    assert at_work.channel().cancelled == []


@in_loop
async def test_a_client_that_left_is_not_sent_again() -> None:
    at_work = Dispatching(batch_size=2)
    short_batches(at_work)
    tickets = [at_work.ask(name) for name in "abcd"]
    await turns()
    for ticket in (tickets[0], tickets[3]):
        at_work.dispatcher.cancel(ticket)
    at_work.die()
    at_work.hire()
    at_work.answer(place=1)
    assert at_work.batches(1) == [["b"], ["c"]]


# --- answers in parts ------------------------------------------------------------------------------------


@in_loop
async def test_parts_come_one_by_one_to_who_asked_for_them_and_joined_to_others() -> None:
    at_work = Dispatching(batch_size=3)
    streamed, joined, silent = (
        at_work.ask("s", in_parts=True),
        at_work.ask("j"),
        at_work.ask("n", in_parts=True),
    )
    await turns()
    at_work.parts(b"s1 ", b"j1 ", None)
    at_work.parts(b"s2 ", b"j2 ", None)
    at_work.answer(b"", b"j3", b"whole")
    assert await read(await stream_of(streamed)) == [b"s1 ", b"s2 "]
    assert (await joined).body == b"j1 j2 j3"
    whole = await silent
    assert not hasattr(whole, "closed"), "an answer in one piece is no stream"


@in_loop
async def test_joined_parts_are_bounded_streams_are_not() -> None:
    at_work = Dispatching(batch_size=2, max_response_size=10)
    joined, streamed = at_work.ask("j"), at_work.ask("s", in_parts=True)
    await turns()
    for _ in range(3):
        at_work.parts(b"four", b"four")
    with pytest.raises(PredictionFailed) as failed:
        await joined
    assert "max_response_size (10 bytes)" in str(failed.value.cause)
    assert at_work.channel().cancelled == [(1, (0,))]
    at_work.answer(b"", b"end")
    assert await read(await stream_of(streamed)) == [b"four", b"four", b"four", b"end"]


@in_loop
async def test_one_reader_holds_its_worker_and_one_of_two_does_not() -> None:
    at_work = Dispatching(batch_size=2)
    slow, quick = at_work.ask("s", in_parts=True), at_work.ask("q", in_parts=True)
    await turns()
    at_work.parts(bytes(FULL + 1), b"q")
    assert not at_work.channel().held
    (await stream_of(quick)).close()
    at_work.dispatcher.cancel(quick)
    at_work.parts(b"more", None)
    assert at_work.channel().held
    reading = asyncio.create_task(read(await stream_of(slow)))
    await until(lambda: not at_work.channel().held)
    at_work.answer(b"end", b"")
    assert len(await reading) == 3


@in_loop
async def test_a_slow_reader_whose_company_has_left_has_the_time_of_one_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torchkeeper.engine.in_hand.GRACE", 0.0)
    at_work = Dispatching(batch_size=2)
    slow, quick = at_work.ask("s", in_parts=True), at_work.ask("q", in_parts=True)
    await turns()
    at_work.parts(bytes(OVERFULL + 1), b"q")
    assert at_work.channel().held
    at_work.dispatcher.cancel(quick)
    await turns()
    assert at_work.channel().held
    assert not (await stream_of(slow)).closed


@in_loop
async def test_a_reader_that_does_not_catch_up_is_cut_off_and_the_worker_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    at_work = Dispatching(response_timeout=0.02)
    ticket = at_work.ask("s", in_parts=True)
    await turns()
    at_work.parts(bytes(FULL + 1))
    await until(lambda: at_work.channel().cancelled == [(1, (0,))])
    with pytest.raises(Closed):
        await read(await stream_of(ticket))
    assert "request s: its answer is read too slowly" in caplog.text


# --- closing ---------------------------------------------------------------------------------------------


@in_loop
async def test_who_closes_refuses_at_once_and_waits_for_all_that_were_taken() -> None:
    at_work = Dispatching()
    runs = at_work.ask("runs")
    await turns()
    waits = at_work.ask("waits")
    closing = asyncio.create_task(at_work.dispatcher.close())
    await turns()
    with pytest.raises(ServiceUnavailable) as refused:
        at_work.ask("refused")
    assert "unregistered" in str(refused.value.cause)
    at_work.answer()
    await turns()
    assert not closing.done()
    at_work.answer()
    await closing
    assert [(await ticket).body for ticket in (runs, waits)] == [b"runs", b"waits"]
    at_work.dispatcher.open()
    at_work.ask("again")


@in_loop
async def test_closing_ends_when_the_last_client_leaves() -> None:
    at_work = Dispatching(workers=0)
    ticket = at_work.ask("a")
    closing = asyncio.create_task(at_work.dispatcher.close())
    await turns()
    at_work.dispatcher.cancel(ticket)
    await closing


@in_loop
async def test_nothing_is_sent_again_where_all_workers_were_sent_away() -> None:
    at_work = Dispatching()
    ticket = at_work.ask("a")
    await turns()
    closing = asyncio.create_task(at_work.dispatcher.close())
    await turns()
    at_work.dismiss()
    at_work.die()
    at_work.dispatcher.on_availability(NOBODY)
    with pytest.raises(WorkerDied):
        await ticket
    await closing


@in_loop
async def test_what_belongs_to_no_running_batch_is_ignored() -> None:
    at_work = Dispatching()
    first, second = at_work.ask("a"), at_work.ask("b")
    await turns()
    at_work.say(encode_replies(2, [Reply(b"too early")], (), 0.0))
    at_work.answer()
    await turns()
    at_work.say(encode_parts(1, [Reply(b"too late")]))
    at_work.answer()
    at_work.say(encode_replies(2, [Reply(b"twice")], (), 0.0))
    assert [(await ticket).body for ticket in (first, second)] == [b"a", b"b"]


@pytest.mark.parametrize(
    "replies",
    [[Reply(b"a")], [Reply(b"a"), None], [Reply(b"a"), Reply(b"b"), Reply(b"c")]],
    ids=["too few", "none for one", "too many"],
)
@in_loop
async def test_answers_that_are_not_those_of_the_batch_answer_nobody(replies: list[Reply | None]) -> None:
    at_work = Dispatching(batch_size=2)
    tickets = [at_work.ask("a"), at_work.ask("b")]
    await turns()
    with pytest.raises(WireError):
        at_work.say(encode_replies(1, replies, (), 0.0))
    if len(replies) != 2:
        with pytest.raises(WireError):
            at_work.say(encode_parts(1, replies))
    at_work.die()  # who hears of such frames sees to it
    at_work.hire()
    for _ in tickets:
        await turns()
        at_work.answer(place=1)
    assert [(await ticket).body for ticket in tickets] == [b"a", b"b"]


@pytest.mark.parametrize("too_large", [1, -5])
@in_loop
async def test_a_worker_cannot_say_that_no_batch_is_small_enough(too_large: int) -> None:
    at_work = Dispatching()
    first = at_work.ask("a")
    await turns()
    at_work.answer(too_large=too_large)
    second = at_work.ask("b")
    await turns()
    at_work.answer()
    assert [(await ticket).body for ticket in (first, second)] == [b"a", b"b"]


@in_loop
async def test_the_oldest_wait_is_that_of_the_head() -> None:
    at_work = Dispatching(workers=0)
    assert at_work.dispatcher.oldest_wait() == 0
    at_work.ask("a")
    assert at_work.dispatcher.oldest_wait() > 0


# --- what the policy is told, and how it is obeyed --------------------------------------------------------


@in_loop
async def test_the_policy_hears_of_each_request_and_batch() -> None:
    at_work = Dispatching(workers=0, batch_size=2)
    lane = at_work.policy.lane(request("a"))
    leaves = at_work.ask("leaves")
    for name in "ab":
        at_work.ask(name)
    at_work.dispatcher.cancel(leaves)
    at_work.hire()
    at_work.answer()
    assert at_work.policy.events == [
        *[Arrived(lane)] * 3,
        Left(lane),
        Sent(0, lane, 2),
        Done(0, 2, 0.0, lane),
    ]
    at_work.policy.events.clear()
    at_work.ask("c")
    await turns()
    at_work.die()
    assert at_work.policy.events == [Arrived(lane), Sent(0, lane, 1), Lost(0, 1), Arrived(lane)]
    at_work.dispatcher.on_availability(NOBODY)
    assert at_work.policy.events[4:] == [Left(lane)]


@in_loop
async def test_a_policy_may_name_the_lane() -> None:
    at_work = Dispatching(workers=0, batch_size=4)
    at_work.ask("first")
    at_work.ask("second", envelope="kserve")
    at_work.policy.wants.append(Send(0, 4, at_work.policy.lane(request("x", envelope="kserve"))))
    at_work.hire()
    assert at_work.batches() == [["second"]]


@pytest.mark.parametrize(
    "wanted",
    [Send(0, 0), Send(0, -1), Send(7, 1), Send(0, 1, "no lane"), 0.0, float("nan"), float("inf")],
    ids=str,
)
@in_loop
async def test_a_decision_that_cannot_be_obeyed_holds_nobody_up(
    wanted: Send | float, caplog: pytest.LogCaptureFixture
) -> None:
    at_work = Dispatching(batch_size=4)
    at_work.policy.wants = [wanted]
    ticket = at_work.ask("a")
    await turns()
    at_work.answer()
    assert (await ticket).body == b"a"
    assert len([line for line in caplog.records if "the batching policy Told wanted to" in line.message]) == 1
