"""The ledger of requests: every accepted request has exactly one terminal event.

`accepted == answered + refused + failed + gone` once nothing is in flight. The API layer is its only
writer; it is what tests and operators check for lost requests.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Ledger:
    """Counts since the server started."""

    accepted: int = 0
    #: The handler's own answer was sent, whatever its status.
    answered: int = 0
    #: Turned away without reaching a handler: no such model, bad request, queue full.
    refused: int = 0
    #: The handler or its worker failed.
    failed: int = 0
    #: The client left before its answer.
    gone: int = 0

    @property
    def in_flight(self) -> int:
        """Requests whose terminal event has not come yet."""
        return self.accepted - self.answered - self.refused - self.failed - self.gone

    def __str__(self) -> str:
        return (
            f"accepted={self.accepted} answered={self.answered} refused={self.refused} "
            f"failed={self.failed} gone={self.gone}"
        )
