"""What clients count of their own requests, to be compared with the server's ledger."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Tally:
    """Requests of clients, by what became of them as they saw it."""

    #: Answered by what they asked, as they should be.
    answered: int = 0
    #: Answered with a refusal.
    refused: int = 0
    #: Left or torn on the way: to the server they may be any of these, gone, or nothing at all.
    left: int = 0

    def take(self, status: int) -> None:
        """An answer came, with this status."""
        if status < 400:
            self.answered += 1
        else:
            self.refused += 1

    def agrees(self, ledger: dict[str, int]) -> bool:
        """Whether the server's ledger says the same; what clients have left may be anywhere in it."""
        spare = (
            ledger["answered"] - self.answered,
            ledger["refused"] - self.refused,
            ledger["gone"],
            ledger["failed"],
        )
        return min(spare) >= 0 and sum(spare) <= self.left and ledger["failed"] == 0
