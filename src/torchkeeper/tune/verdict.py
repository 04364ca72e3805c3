"""How a run ended, in sentences: who won, by how much, and what the samples prove. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torchkeeper.tune.agreement import proof
from torchkeeper.tune.candidates import Candidate
from torchkeeper.tune.choosing import MANY, Standing, best, nearest, standings
from torchkeeper.tune.results import Measurement, TuneResults
from torchkeeper.tune.target import Target
from torchkeeper.wire.agreement import Check
from torchkeeper.wire.execution import Execution


@dataclass(frozen=True)
class Conclusion:
    """The winner's standing, None where nobody won, and what is to be said."""

    standing: Standing | None
    told: list[str]


def untuned(cores: int) -> Candidate:
    """What a server does by itself: a worker for each core, batches of one."""
    return Candidate(execution=Execution(threads=1), workers=cores)


def conclude(results: TuneResults, target: Target | None, check: Check, how: str) -> Conclusion:
    """What comes of the results; `how` says why they are not all that was to be, if so."""
    out = {one.candidate for one in results.outs}
    served = [one for one in results.measurements if one.candidate not in out]
    found = standings(served, target)
    winner = best(found)
    how = how[:1].upper() + how[1:]
    if winner is None:
        return Conclusion(None, [*filter(None, [how]), _no_winner(served, target)])
    ended = [f"{how}: what follows is the best so far"] if how else []
    told = [*ended, *_won(winner, found, results.subject.cores, target)]
    if not any(one.round for one in served if one.candidate == winner.candidate):
        told.append("It was measured in the race only, once and shortly")
    count = results.samples_of(winner.candidate)
    told.append(
        f"Answers as eager float32's ({check.told}): {proof(count)}"
        if check.kind != "none" and count
        else "Answers were not compared"
    )
    shares = [one.generator for one in served if one.candidate == winner.candidate]
    told.append(f"The load itself took up to {max(shares):.0%} of one core of {results.subject.cores}")
    return Conclusion(winner, told)


def _no_winner(served: Sequence[Measurement], target: Target | None) -> str:
    if not served:
        return "No winner: nothing was measured to the end"
    if target is None:
        return "No winner: nothing serves"
    near = nearest(served, target)
    if near is None:
        return f"No winner: nobody meets {target}"
    reached = (near.latencies[f"{target.percent:g}"] or 0.0) * 1e3
    return (
        f"No winner: nobody meets {target}; the nearest was {near.candidate} with "
        f"{target.name}={reached:.3g}ms at {near.load}"
    )


def _won(winner: Standing, found: Sequence[Standing], cores: int, target: Target | None) -> list[str]:
    where = f"at {MANY} connections" if target is None else f"that meet {target}"
    tail = "" if winner.tail is None else f", {target.name if target else 'p99'} {winner.tail * 1e3:.3g} ms"
    said = f"{winner.candidate}: {winner.rate:,.0f} requests a second {where}{tail}"
    plain = next((one for one in found if one.candidate == untuned(cores)), None)
    if plain is None or winner is plain:
        return [said]
    if not plain.rate:
        return [f"{said}; untuned ({plain.candidate}) none do"]
    return [
        f"{said}; untuned ({plain.candidate}) {plain.rate:,.0f}: {winner.rate / plain.rate:.2f} times as many"
    ]
