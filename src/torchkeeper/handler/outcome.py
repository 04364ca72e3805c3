"""What a handler gives for a batch: a list with one result per row, at once or in parts.

Shared by the worker's service, whose rows are requests, and by the envelopes, whose rows are instances.
Source of the sentences: TorchServe's error table.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from torchkeeper.handler.context import Context

NO_LIST = "Invalid model predict output"
WRONG_LENGTH = "number of batch response mismatched"


class WrongOutcome(Exception):
    """What a handler gave is no list with one element per row: TorchServe's message, and our cause."""

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(cause)
        self.message = message
        self.cause = cause


def check_one_per_row(gave: str, values: Any, count: int, rows: str = "requests") -> None:
    """Says what is wrong with `values` if they are no list of `count` elements.

    Args:
        gave: how they came, for the sentence: `returned` or `yielded`.
        rows: what the rows are.

    Raises:
        WrongOutcome: they are not.
    """
    if not isinstance(values, list):
        raise WrongOutcome(NO_LIST, f"the handler {gave} {type(values).__name__}, not a list")
    if len(values) != count:
        raise WrongOutcome(WRONG_LENGTH, f"the handler {gave} {len(values)} results for {count} {rows}")


def drained(generator: Generator[Any, None, Any], context: Context, rows: str = "requests") -> Any:
    """Sends what a handler yields to the context's line; returns what it returns, None for nothing.

    When all clients have left, the generator is closed.

    Raises:
        WrongOutcome: it yields anything but lists of one element per row.
    """
    count = len(context.request_processor or ())
    assert context.line is not None
    try:
        while not context.cancelled:
            values = next(generator)
            check_one_per_row("yielded", values, count, rows)
            context.line.send(values)
    except StopIteration as end:
        return end.value
    finally:
        generator.close()
    return None
