"""A worker as its users see it: what they may do to it, and what is said of it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.pool.life import Event, IllegalTransition, Life, State
from torchkeeper.pool.process import WorkerProcess
from torchkeeper.pool.worker import NOBODY, Refusal, Worker
from torchkeeper.wire.messages import ModelSpec

SPEC = ModelSpec("m", "1.0", "/nowhere", {}, "h.py", None, None, 1, None)


@pytest.mark.parametrize(
    ("due", "now", "seconds"), [(None, 5.0, 1), (5.0, 5.0, 1), (3.0, 5.0, 1), (7.2, 5.0, 3), (65.0, 5.0, 60)]
)
def test_when_to_come_again(due: float | None, now: float, seconds: int) -> None:
    assert Refusal("why", due).retry_after(now) == seconds


@given(st.none() | st.floats(0, 1e6), st.floats(0, 1e6))
def test_who_comes_again_when_told_to_is_neither_early_nor_at_once(due: float | None, now: float) -> None:
    seconds = Refusal("why", due).retry_after(now)
    assert seconds >= 1
    assert due is None or now + seconds >= due


def test_nobody_to_serve_has_a_reason() -> None:
    assert "scaled to 0" in NOBODY.cause


def worker_of(killed: list[tuple[Worker, str]]) -> Worker:
    return Worker(3, SPEC, Life(300), lambda worker, why: killed.append((worker, why)))


def test_what_its_user_does_moves_its_life_and_no_more() -> None:
    async def work() -> None:
        killed: list[tuple[Worker, str]] = []
        worker = worker_of(killed)
        worker.name = "W-9000-m_1.0"
        assert worker.known == {"worker": "W-9000-m_1.0", "model": "m"}
        with pytest.raises(IllegalTransition):
            worker.took()  # it has not loaded
        for event in (Event.SPAWNED, Event.LOADED):
            worker.life.on(event, 0)
        worker.took()
        assert worker.life.state is State.BUSY
        worker.freed()
        assert worker.life.state is State.READY
        worker.kill("no answer")
        assert killed == [(worker, "no answer")]
        assert worker.life.state is State.READY, "its end is told by its process"

    asyncio.run(work())


def test_a_place_without_a_process_takes_what_comes_too_late() -> None:
    async def work() -> None:
        worker = worker_of([])
        for process in (None, WorkerProcess(1, None)):  # type: ignore[arg-type]  # it has nobody to tell
            worker.process = process
            worker.send(b"frame")
            worker.hold()
            worker.let_on()

    asyncio.run(work())


def test_the_last_lines_of_standard_error_are_kept() -> None:
    async def work() -> None:
        worker = worker_of([])
        worker.printed("stdout", "not this")
        for number in range(60):
            worker.printed("stderr", f"{number} " + "x" * 1000)
        assert [line.split()[0] for line in worker.stderr] == [str(number) for number in range(10, 60)]
        assert {len(line) for line in worker.stderr} == {500}

    asyncio.run(work())
