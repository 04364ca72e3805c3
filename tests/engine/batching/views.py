"""What policies are asked to decide upon, in few words."""

from __future__ import annotations

from torchkeeper.engine.batching.policy import LaneView, View, WorkerView


def lanes(waiting: int, oldest: float = 0.0) -> list[LaneView]:
    """One lane, if somebody waits in it."""
    return [LaneView("lane", waiting, oldest)] if waiting else []


def view(waiting: int, *batches: int) -> View:
    """So many requests in one lane, and workers that hold so many batches each."""
    return View(lanes(waiting), [WorkerView(number, held) for number, held in enumerate(batches)])
