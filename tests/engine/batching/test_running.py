"""When a worker is free again, by what was sent and came back."""

from __future__ import annotations

from torchkeeper.engine.batching.running import Running


def seconds(count: int) -> float:
    return 1.0 + count


def test_those_at_work_are_free_the_soonest_first() -> None:
    running = Running()
    assert running.left(seconds, 0.0) == []
    running.sent(0, "lane", 4, now=0.0)
    running.sent(1, "lane", 2, now=1.0)
    assert running.left(seconds, 1.5) == [2.5, 3.5]
    assert running.done(1, now=4.0) == "lane"
    assert running.left(seconds, 4.0) == [1.0]
    assert running.left(seconds, 9.0) == [0.0], "it is late, and may be free any moment"


def test_what_is_prepared_runs_when_the_first_is_done() -> None:
    running = Running()
    running.sent(0, "first", 1, now=0.0)
    running.sent(0, "second", 2, now=0.5)
    assert running.left(seconds, 0.5) == [4.5]
    assert running.done(0, now=2.0) == "first"
    assert running.left(seconds, 2.0) == [3.0]
    assert running.done(0, now=5.0) == "second"
    assert running.left(seconds, 5.0) == []


def test_a_lost_worker_is_not_waited_for() -> None:
    running = Running()
    running.sent(0, "lane", 4, now=0.0)
    running.lost(0)
    assert running.left(seconds, 0.0) == []
    assert running.done(0, now=1.0) is None
