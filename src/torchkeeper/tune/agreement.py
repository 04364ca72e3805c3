"""Whether an answer is the one that eager float32 gives, and what so many equal ones prove. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torchkeeper.tune.refusal import TuneRefused
from torchkeeper.wire.agreement import Check, differs, shown

#: Different bodies of one sample's answers whose verdicts are kept.
_KEPT = 1000
_CONFIDENCE = 0.95


def read_check(text: str) -> Check:
    """The check that a flag names: exact, top1, none, rel=NUMBER, or same.

    Raises:
        TuneRefused: it names none.
    """
    kind, equals, number = text.partition("=")
    if kind == "rel" and equals:
        try:
            relative = float(number)
        except ValueError:
            relative = math.nan
        if 0 <= relative < 1:
            return Check("rel", relative)
        raise TuneRefused(f"--check {text}: rel is a number from 0 to 1, such as rel=1e-3")
    if text not in ("same", "exact", "top1", "none"):
        raise TuneRefused(f"--check {text}: there are same, exact, top1, rel=NUMBER and none")
    return Check(text)


def at_most(samples: int) -> float:
    """The share of all requests that may differ where none of so many samples did, with 95 % confidence.

    The exact bound, of which 3 / samples is the well-known approximation (the rule of three).
    """
    return 1 - math.pow(1 - _CONFIDENCE, 1 / samples)


def proof(samples: int) -> str:
    """What so many samples without a difference prove."""
    which = "1 sample" if samples == 1 else f"{samples} samples"
    return (
        f"none of {which} was answered differently: with 95 % confidence at most {at_most(samples):.2%} of "
        f"requests like them are"
    )


@dataclass
class Judge:
    """Compares answers, as they come, with the expected ones; one body of a sample is compared once."""

    expected: dict[int, bytes]
    check: Check
    #: Of the samples, for people.
    names: Sequence[str]
    #: Whether the first answer to a sample is what others are compared with.
    learns: bool = False
    #: Answers that came, and the first one that was no success or another one.
    answers: int = 0
    failure: str = ""
    difference: str = ""
    _known: dict[int, set[bytes]] = field(default_factory=dict)

    def take(self, sample: int, status: int, body: bytes) -> None:
        """An answer to the sample of that number; status 0: there is none, and the body says why."""
        self.answers += 1
        if status != 200:
            self.failure = self.failure or f"{self.names[sample]} was answered with {status}: {shown(body)}"
            return
        if self.learns:
            self.expected.setdefault(sample, body)
        known = self._known.setdefault(sample, set())
        if body in known or self.difference or sample not in self.expected:
            return
        if why := differs(self.expected[sample], body, self.check):
            self.difference = f"{self.names[sample]}: {why}"
        elif len(known) < _KEPT:
            known.add(body)

    @property
    def samples(self) -> int:
        """Different samples that were answered."""
        return len(self._known)
