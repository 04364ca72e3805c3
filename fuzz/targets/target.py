"""A target: a function that is fed bytes, and the bytes that it begins with.

What a target lets through is what its code documents; anything else that is raised is a finding. Seeds are
what the tests have anyway (pytest's `pythonpath` says where): no file of them is kept here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """Something that reads what others send."""

    #: Takes any bytes; what it raises is a finding.
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    #: Bytes that an input has at most.
    longest: int = 4096


def mutated(seeds: Sequence[bytes], number: int, seed: int = 1) -> Iterator[bytes]:
    """So many inputs like the seeds: with bytes changed, cut, doubled, or of two of them."""
    chance = random.Random(seed)
    for _ in range(number):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 4)):
            begin = chance.randint(0, len(data))
            end = min(begin + chance.choice((0, 1, 1, 4, 40)), len(data))
            other = chance.choice(seeds)
            start = chance.randint(0, len(other))
            data[begin:end] = chance.choice(
                (
                    b"",
                    chance.randbytes(1),
                    bytes(data[begin:end]) * 2,
                    other[start : start + chance.choice((1, 8, 100))],
                    chance.choice((b"\r\n", b"\0", b"\xff\xff\xff\xff", b"%00", b":", b";")),
                )
            )
        yield bytes(data)
