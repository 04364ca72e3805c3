"""What a set-up must keep to: a percentile of the latency below a bound. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torchkeeper.tune.refusal import TuneRefused

_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Target:
    """That `percent` of all requests are answered within `seconds`."""

    percent: float
    seconds: float

    @property
    def name(self) -> str:
        """Such as p99."""
        return f"p{self.percent:g}"

    def __str__(self) -> str:
        return f"{self.name}={self.seconds * 1e3:g}ms"


def read_target(text: str) -> Target:
    """A target, from "p99=20ms".

    Raises:
        TuneRefused: it is none, or makes no sense.
    """
    found = re.fullmatch(r"p(\d{1,2}(?:\.\d+)?)=(\d+(?:\.\d+)?)(us|µs|ms|s)", text.strip())
    if found is None:
        raise TuneRefused(f"--target {text}: write a percentile and a time, such as p99=20ms")
    target = Target(float(found[1]), float(found[2]) * _UNITS[found[3]])
    if not 0 < target.percent < 100 or target.seconds <= 0:
        raise TuneRefused(f"--target {text}: nobody can be answered in no time, and p0 says nothing")
    return target
