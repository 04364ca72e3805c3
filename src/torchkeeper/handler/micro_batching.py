"""A batch cut into small ones that pass a handler's steps side by side, each step with threads of its own.

Source of names and parameters: TorchServe's `ts.handler_utils.micro_batching`. Unlike there, what a step
raises fails the batch instead of leaving it without an answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from torchkeeper.handler import profile
from torchkeeper.handler.base import BaseHandler
from torchkeeper.handler.context import Context
from torchkeeper.handler.errors import RowsApart, UnreadableRows
from torchkeeper.handler.outcome import check_one_per_row

#: The steps, in order.
HANDLER_METHODS = ["preprocess", "inference", "postprocess"]


@dataclass
class _Piece:
    """One small batch on its way."""

    place: int
    #: Number of its first row in the whole batch.
    offset: int
    done: Future[Any] = field(default_factory=Future)


class MicroBatching:
    """What a handler may put in place of its `handle`: `self.handle = MicroBatching(self)`.

    Args:
        parent_handler: has the steps `preprocess`, `inference` and `postprocess`.
        micro_batch_size: rows in a small batch.
        parallelism: step -> its threads; 1 unless given.
    """

    def __init__(
        self, parent_handler: Any, micro_batch_size: int = 1, parallelism: Mapping[str, int] | None = None
    ) -> None:
        self.handler = parent_handler
        self.micro_batch_size = micro_batch_size
        self._parallelism: dict[str, int] = {}
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._current = threading.local()
        self.parallelism = parallelism or {}

    @property
    def parallelism(self) -> Mapping[str, int]:
        """Step -> its threads, as far as given; what is assigned is added to that.

        Raises:
            ValueError: there is no such step, or it would have no thread.
        """
        return dict(self._parallelism)

    @parallelism.setter
    def parallelism(self, parallelism: Mapping[str, int]) -> None:
        for step, threads in parallelism.items():
            if step not in HANDLER_METHODS:
                raise ValueError(f"{step} is no step of a handler: {', '.join(HANDLER_METHODS)}")
            if threads < 1:
                raise ValueError(f"{step} needs at least one thread, not {threads}")
        self.shutdown()
        self._parallelism.update(parallelism)

    def shutdown(self) -> None:
        """Ends the threads; the next batch starts new ones."""
        for pool in self._pools.values():
            pool.shutdown()
        self._pools = {}

    def get_micro_batch_idx(self) -> int | None:
        """Inside a step: the number of the small batch."""
        return getattr(self._current, "place", None)

    def handle(self, data: Sequence[Any]) -> list[Any]:
        """The outcome of every row.

        Raises:
            UnreadableRows: some rows cannot be read; those of all small batches are named.
            RowsApart: rows of a small batch cannot be answered together.
            WrongOutcome: a small batch has more or fewer results than rows.
            Exception: what a step raised, the first small batch's first.
        """
        self._pools = self._pools or {
            step: ThreadPoolExecutor(self._parallelism.get(step, 1), step) for step in HANDLER_METHODS
        }
        starts = range(0, len(data), self.micro_batch_size)
        pieces = [_Piece(place, offset) for place, offset in enumerate(starts)]
        for piece in pieces:
            self._send(piece, 0, data[piece.offset : piece.offset + self.micro_batch_size])
        rows = range(len(data))
        parts = [rows[piece.offset : piece.offset + self.micro_batch_size] for piece in pieces]
        errors = [piece.done.exception() for piece in pieces]  # waits for all
        _raise_any(list(zip(parts, errors, strict=True)))
        results = [list(piece.done.result()) for piece in pieces]
        for part, result in zip(parts, results, strict=True):
            check_one_per_row("returned", result, len(part), "requests of a small batch")
        return [row for result in results for row in result]

    def _send(self, piece: _Piece, step: int, value: Any) -> None:
        name = HANDLER_METHODS[step]
        self._pools[name].submit(self._take, piece, step, value, getattr(self.handler, name))

    def _take(self, piece: _Piece, step: int, value: Any, call: Callable[[Any], Any]) -> None:
        self._current.place = piece.place
        try:
            outcome = call(value)
            if step + 1 < len(HANDLER_METHODS):
                self._send(piece, step + 1, outcome)
            else:
                piece.done.set_result(outcome)
        except BaseException as error:  # noqa: BLE001 - raised again where the batch is waited for
            piece.done.set_exception(error)

    def __call__(self, data: Any, context: Context) -> Any:
        """Answers a batch as `BaseHandler.handle` does; predictions go in small batches."""
        handler = self.handler
        handler.context = context
        if handler._is_describe() or handler._is_explain() or profile.wanted():
            return BaseHandler.handle(handler, data, context)
        begin = time.perf_counter()
        output = self.handle(data)
        context.metrics.add_time("HandlerTime", round((time.perf_counter() - begin) * 1000, 2), None, "ms")
        return output


def _raise_any(errors: Sequence[tuple[range, BaseException | None]]) -> None:
    """Raises what small batches raised; their rows are renumbered as the batch's."""
    unreadable: dict[int, str | Exception] = {}
    groups: list[list[int]] = []
    for rows, error in errors:
        if isinstance(error, UnreadableRows):
            unreadable |= {rows.start + row: text for row, text in error.rows.items()}
        elif isinstance(error, RowsApart):
            groups += [[rows.start + row for row in group] for group in error.groups]
        elif error is not None:
            raise error
        else:
            groups.append(list(rows))
    if unreadable:
        raise UnreadableRows(unreadable)
    if any(isinstance(error, RowsApart) for _, error in errors):
        raise RowsApart(groups)
