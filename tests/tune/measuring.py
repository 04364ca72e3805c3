"""Results that a test makes up."""

from __future__ import annotations

from torchkeeper.tune.candidates import Candidate
from torchkeeper.tune.results import LoadKind, Measurement, Subject

SUBJECT = Subject(
    *("m.mar", "m", "abc", 3, "def", "/predictions/m", "same", ("50", "99"), 2, "a processor", ("avx2",)),
    *("0.1", "2.13.0", "ghi"),
)


def measured(candidate: Candidate, connections: int, samples: int, round_: int = 0) -> Measurement:
    return Measurement(
        candidate, LoadKind(connections), round_, 100.0, 0.0, {"99": None}, 5, 0.1, 0.0, samples
    )
