"""In the place of a batch's way to the front: keeps the parts, and knows who left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torchkeeper.wire.messages import Input, Kind, Part, Reply


class Outbox:
    """Keeps what is sent."""

    def __init__(self, left: Iterable[int] = ()) -> None:
        self.left = set(left)
        self.sent: list[list[Reply | None]] = []

    def send(self, parts: Sequence[Reply | None]) -> None:
        self.sent.append([*parts])

    def gone(self) -> set[int]:
        return self.left

    @property
    def bodies(self) -> list[list[bytes | None]]:
        return [[part and part.body for part in parts] for parts in self.sent]


def request(
    *parts: Part | bytes,
    number: int = 0,
    kind: Kind = Kind.PREDICT,
    envelope: str | None = None,
    **headers: str,
) -> Input:
    """One request; bytes are a body."""
    named = tuple(part if isinstance(part, Part) else Part("body", part) for part in parts)
    return Input(f"id-{number}", kind, named, headers, envelope)
