"""The exceptions by which a handler chooses what its clients see, and which of them.

Knows nothing of HTTP beyond the status number; `worker.service` turns them into failures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torchkeeper.handler.safe_text import safe_str


class PredictionException(Exception):
    """A failure with a message and a status for the client.

    Args:
        message: sent to the client as it is.
        error_code: HTTP status of the answer.
    """

    def __init__(self, message: str, error_code: int = 500) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code

    def __str__(self) -> str:
        return f"{self.message} : {self.error_code}"


def is_prediction_exception(error: BaseException) -> bool:
    """Whether it is ours, or Multi Model Server's, whose handlers import theirs from `mms.service`."""
    names = {(kind.__module__, kind.__name__) for kind in type(error).__mro__}
    return isinstance(error, PredictionException) or ("mms.service", "PredictionException") in names


def is_too_many_pixels(error: BaseException) -> bool:
    """Whether it is Pillow's error about a picture that is too large, which many handlers never import."""
    names = {(kind.__module__, kind.__name__) for kind in type(error).__mro__}
    return ("PIL.Image", "DecompressionBombError") in names


class UnreadableRows(ValueError):
    """Rows cannot be read: their requests fail alone, and the handler is asked again without them.

    Raise it before anything has been done that must not be done twice.

    Args:
        rows: number of each row -> what is wrong with it, sent to the client; or the exception that is its
            request's own, with the answer that it would be for a batch (PredictionException: its status).
    """

    def __init__(self, rows: Mapping[int, str | Exception]) -> None:
        super().__init__(
            "; ".join(f"request {place} of the batch: {safe_str(wrong)}" for place, wrong in rows.items())
        )
        self.rows = dict(rows)


class RowsApart(Exception):
    """Rows cannot be answered together: the handler is asked again, for each group of them by itself.

    Raise it before anything has been done that must not be done twice.

    Args:
        groups: the numbers of the rows, each in one of two groups or more.
    """

    def __init__(self, groups: Sequence[Sequence[int]]) -> None:
        super().__init__(f"the batch's rows must be asked for in {len(groups)} groups")
        self.groups = [list(group) for group in groups]

    def are_of(self, count: int) -> bool:
        """Whether the groups are all of so many rows, each in one of them, and smaller than the whole."""
        places = sorted(place for group in self.groups for place in group)
        return places == list(range(count)) and all(0 < len(group) < count for group in self.groups)


class UnreadableRow(UnreadableRows):
    """One row cannot be read. A handler that can name all of them spares its batch further passes.

    Args:
        place: number of the row.
        text: what is wrong with it, sent to the client.
    """

    def __init__(self, place: int, text: str) -> None:
        super().__init__({place: text})
        self.place = place
        self.text = text
