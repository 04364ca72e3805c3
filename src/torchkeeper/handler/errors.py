"""The one exception that a handler raises to choose what its clients see.

Knows nothing of HTTP beyond the status number; `worker.service` turns it into a failure of the batch.
"""

from __future__ import annotations


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
