"""Who wins: the highest throughput, of those that meet the target where there is one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torchkeeper.tune.candidates import Candidate
from torchkeeper.tune.latency import spread
from torchkeeper.tune.results import LoadKind, Measurement, of_final
from torchkeeper.tune.target import Target

#: Connections at which throughput counts.
MANY = 64
FULL = LoadKind(MANY)
#: Two medians that differ by less are the same.
_SAME = 0.05
#: Two rates that differ by less are the same, however little rounds have differed.
_LEAST_SPREAD = 0.01


@dataclass(frozen=True)
class Standing:
    """What a candidate came to."""

    candidate: Candidate
    #: Answers a second; where there is a target, at the greatest load that meets it (0: none does).
    rate: float
    spread: float
    #: Seconds, at the least load that was measured.
    p50: float
    #: Bytes of its workers.
    memory: int
    #: Of the final that it was measured in.
    rounds: int
    #: The measurements' own, at the load that counts, by the target's percentile (p99 without one).
    tail: float | None


def standings(measurements: Iterable[Measurement], target: Target | None) -> list[Standing]:
    """What each candidate came to, the best first; of those with rounds of the final only these count."""
    by_candidate: dict[Candidate, list[Measurement]] = {}
    for one in measurements:
        by_candidate.setdefault(one.candidate, []).append(one)
    found = [_standing(candidate, ours, target) for candidate, ours in by_candidate.items()]
    return sorted(found, key=lambda one: -one.rate)


def _standing(candidate: Candidate, ours: Sequence[Measurement], target: Target | None) -> Standing:
    final = of_final(ours)
    counted = _counted(final, target)
    rates = [one.rate for one in counted]
    least = min(final, key=lambda one: (one.load.share > 0, one.load.share or one.load.connections))
    name = f"{target.percent:g}" if target else "99"
    tails = [one.latencies.get(name) for one in counted]
    known = [tail for tail in tails if tail is not None]
    return Standing(
        candidate,
        sum(rates) / len(rates) if rates else 0.0,
        spread(rates),
        least.latencies.get("50") or float("inf"),
        max(one.memory for one in ours),
        len({one.round for one in final} - {0}),
        max(known) if known and len(known) == len(tails) else None,
    )


def _counted(final: Sequence[Measurement], target: Target | None) -> list[Measurement]:
    """The measurements at the load that counts."""
    if target is None:
        return [one for one in final if one.load == FULL]
    by_load: dict[LoadKind, list[Measurement]] = {}
    for one in final:
        by_load.setdefault(one.load, []).append(one)
    opened = {load: ours for load, ours in by_load.items() if load.share}
    meeting = [ours for ours in (opened or by_load).values() if all(meets(one, target) for one in ours)]
    return max(meeting, key=lambda ours: sum(one.rate for one in ours) / len(ours), default=[])


def meets(measurement: Measurement, target: Target) -> bool:
    """Whether a load was answered within the target."""
    found = measurement.latencies.get(f"{target.percent:g}")
    return found is not None and found <= target.seconds


def best(standing: Sequence[Standing]) -> Standing | None:
    """The winner; None where nobody serves anything, or meets the target.

    Those whose rate is the highest one's but for what rounds differ by are alike: of them those with the
    lowest median win, and of those alike in that too the one with the least memory. Who was in the final goes
    before who was not.
    """
    serving = [one for one in standing if one.rate > 0]
    if not serving:
        return None
    serving = [one for one in serving if one.rounds] or serving
    first = max(serving, key=lambda one: one.rate)
    alike = [
        one for one in serving if one.rate >= first.rate * (1 - max(one.spread, first.spread, _LEAST_SPREAD))
    ]
    median = min(one.p50 for one in alike)
    quick = [one for one in alike if one.p50 <= median * (1 + _SAME)]
    return min(quick, key=lambda one: (one.memory, -one.rate))


def nearest(measurements: Iterable[Measurement], target: Target) -> Measurement | None:
    """The measurement that came nearest to a target that nobody meets."""
    name = f"{target.percent:g}"
    known = [one for one in measurements if one.latencies.get(name) is not None]
    return min(known, key=lambda one: one.latencies[name] or 0.0, default=None)
