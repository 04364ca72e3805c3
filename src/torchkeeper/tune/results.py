"""What was measured, as it is kept in a JSON file; from there `--resume` goes on. Pure but for that file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from torchkeeper.tune.candidates import Candidate
from torchkeeper.tune.cost import BatchCost
from torchkeeper.tune.refusal import TuneRefused
from torchkeeper.wire.execution import Execution

#: The file's name in the output folder.
FILE = "results.json"


class LoadKind(msgspec.Struct, frozen=True):
    """A load: so many connections that ask again and again, or a share of what those come to, by itself."""

    connections: int = 0
    #: Of the rate at `connections` of a closed loop; 0: it is a closed loop.
    share: float = 0.0

    def __str__(self) -> str:
        return f"open at {self.share:.0%}" if self.share else f"{self.connections} connections"


class Subject(msgspec.Struct, frozen=True, rename="camel"):
    """What was tuned, where, and by which rules: what other results must have alike to go on with."""

    archive: str
    model: str
    digest: str
    samples: int
    samples_digest: str
    route: str
    check: str
    percentiles: tuple[str, ...]
    cores: int
    processor: str
    features: tuple[str, ...]
    version: str
    #: Torch's version, and the SHA-256 of `--ts-config`; empty where there is none.
    torch: str
    ts_config: str


class VariantCost(msgspec.Struct, frozen=True, rename="camel"):
    """What one worker of a variant takes, or why there is none."""

    execution: Execution
    cost: BatchCost | None = None
    #: Rows of a batch and seconds that it took, measured.
    points: tuple[tuple[float, float], ...] = ()
    load_seconds: float = 0.0
    #: Bytes of the worker.
    memory: int = 0
    #: The server's reason, or a difference.
    out: str = ""
    #: How the eager model's answers change in batches, if they do.
    alone_only: str = ""


class Measurement(msgspec.Struct, frozen=True, rename="camel"):
    """A candidate under a load. Seconds; rates a second; bytes. Latencies by percent ("50", "99", …)."""

    candidate: Candidate
    load: LoadKind
    #: 0: the race; from 1 on the rounds of the finalists.
    round: int
    rate: float
    offered: float
    #: By percent; None: later than anybody waited.
    latencies: dict[str, float | None]
    memory: int
    #: Of one core.
    generator: float
    lag: float
    #: Different samples that were answered.
    samples: int


def of_final(ours: Sequence[Measurement]) -> Sequence[Measurement]:
    """Of a candidate's measurements those of the final; all where it was not in it."""
    return [one for one in ours if one.round] or ours


class CandidateOut(msgspec.Struct, frozen=True):
    """A candidate that is out, and why."""

    candidate: Candidate
    why: str


class Winner(msgspec.Struct, frozen=True):
    """Who was chosen, and what is said of that."""

    candidate: Candidate
    told: tuple[str, ...] = ()


class TuneResults(msgspec.Struct, rename="camel"):
    """All that is known so far."""

    subject: Subject
    costs: list[VariantCost] = msgspec.field(default_factory=list)
    measurements: list[Measurement] = msgspec.field(default_factory=list)
    outs: list[CandidateOut] = msgspec.field(default_factory=list)
    #: Sentences about what was not tried.
    remarks: list[str] = msgspec.field(default_factory=list)
    winner: Winner | None = None

    def cost_of(self, execution: Execution) -> VariantCost | None:
        """What is known of a variant's cost."""
        return next((one for one in self.costs if one.execution == execution), None)

    def measured(self, candidate: Candidate, load: LoadKind, round_: int) -> Measurement | None:
        """A measurement that was made."""
        wanted = (candidate, load, round_)
        return next(
            (one for one in self.measurements if (one.candidate, one.load, one.round) == wanted), None
        )

    def is_out(self, candidate: Candidate) -> bool:
        """Whether it was found wrong, refused or failing."""
        return any(one.candidate == candidate for one in self.outs)

    def remark(self, sentence: str) -> None:
        """Says something once."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)

    def samples_of(self, candidate: Candidate) -> int:
        """Different samples that a candidate answered alike, alone and in mixed batches."""
        ours = [one for one in self.measurements if one.candidate == candidate and not one.load.share]
        alone = [one.samples for one in ours if one.load.connections == 1]
        mixed = [one.samples for one in ours if one.load.connections > 1]
        return min(max(alone, default=0), max(mixed, default=0)) or max((*alone, *mixed), default=0)


def save(results: TuneResults, folder: Path) -> None:
    """Writes the results, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / FILE, msgspec.json.format(msgspec.json.encode(results)))


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file, whole or not at all; a link stays one.

    Raises:
        OSError: it cannot be written; what was there still is.
    """
    place = path.resolve()
    part = place.with_name(f".{place.name}.part")
    try:
        part.write_bytes(data)
        os.replace(part, place)
    finally:
        part.unlink(missing_ok=True)


def resumed(folder: Path, subject: Subject) -> TuneResults:
    """The results of an earlier run, to go on with; new ones where there are none.

    Raises:
        TuneRefused: they cannot be read, or are of something else.
    """
    path = folder / FILE
    if not path.exists():
        return TuneResults(subject)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=TuneResults)
    except (OSError, msgspec.DecodeError) as error:
        raise TuneRefused(f"{path} cannot be read: {error}; without --resume it is written anew") from None
    for name in Subject.__struct_fields__:
        before, now = getattr(found.subject, name), getattr(subject, name)
        if before != now:
            raise TuneRefused(
                f"{path} is of another {name.replace('_', ' ')}: {before!r}, now {now!r}; "
                "without --resume it is written anew"
            )
    found.winner = None
    found.remarks.clear()  # they were about the run before
    return found
