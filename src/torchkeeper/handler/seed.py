"""A seed of torch's generator: whether somebody chose it. Must not import torch."""

from __future__ import annotations

#: A seed below is one that somebody chose; torch's own have 64 bits.
_CHOSEN = 1 << 32


def is_chosen(seed: int) -> bool:
    """Whether draws are to be the same wherever this seed is given."""
    return seed < _CHOSEN
