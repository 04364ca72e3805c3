"""The text of the model-config.yaml that was found: each line with what it is worth, as measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from msgspec.structs import replace

from torchkeeper.tune.candidates import Candidate, plainer, splits
from torchkeeper.tune.choosing import FULL, Standing
from torchkeeper.tune.results import Subject, TuneResults, of_final

#: How the text begins, by which it is known again.
MARK = "# Written by torchkeeper tune"
#: Where the comments begin.
_COLUMN = 34


def tuned_for(subject: Subject) -> dict[str, Any]:
    """The machine that the settings are for."""
    features = {"features": list(subject.features)} if subject.features else {}
    return {"cores": subject.cores, **features}


def tuned_text(results: TuneResults, standing: Standing, keys: Mapping[str, Any], told: list[str]) -> str:
    """The text of the file.

    Args:
        results: all that was measured.
        standing: the winner's.
        keys: the winner's, and whatever else the file is to say.
        told: sentences about the whole.
    """
    subject = results.subject
    head = [f"{MARK} (torchkeeper {subject.version}) for {subject.archive}, sha256 {subject.digest}."]
    head += [f"# {sentence}" for sentence in told]
    head += [f"# Measured on {subject.cores} cores of {subject.processor or 'an unnamed processor'}."]
    worth = worths(results, standing.candidate)
    lines = []
    for key, value in keys.items():
        if key == "execution":
            lines.append("execution:")
            lines += [_line(name, value[name], worth.get(name, ""), "  ") for name in value]
        else:
            lines.append(_line(key, value, worth.get(key, ""), ""))
    return "\n".join((*head, *lines, ""))


def worths(results: TuneResults, winner: Candidate) -> dict[str, str]:
    """What each key is worth: the winner's rate over that of the same set-up without the key."""
    rate, threads = _rate(results, winner), winner.execution.threads
    refused = {one.candidate for one in results.outs}
    found = {
        "minWorkers": _workers(results, winner, rate),
        "maxWorkers": "as many as at the start",
        "batchPolicy": _policies(results, winner, rate),
        "threads": f"{winner.workers} x {threads} of {results.subject.cores} cores",
        "tunedFor": "on another machine a warning says so",
    }
    for key, other in plainer(winner).items():
        than = "with batches of one" if key == "batchSize" else "without it"
        found[key] = f"{than} requests fail" if other in refused else _gain(rate, _rate(results, other), than)
    return found


def _policies(results: TuneResults, winner: Candidate, rate: float) -> str:
    """How the best of the other policies did with all else the same."""
    tried = dict.fromkeys(one.candidate for one in results.measurements if one.candidate != winner)
    others = [one for one in tried if replace(one, policy=winner.policy, delay=winner.delay) == winner]
    best = max(others, key=lambda one: _rate(results, one), default=None)
    return _gain(rate, _rate(results, best), f"with {best.batching}") if best else ""


def _workers(results: TuneResults, winner: Candidate, rate: float) -> str:
    """How other divisions of the cores did with all else the same."""
    said = []
    for workers, threads in splits(results.subject.cores):
        other = replace(winner, workers=workers, execution=replace(winner.execution, threads=threads))
        if workers != winner.workers:
            said.append(_gain(rate, _rate(results, other), f"with {workers} x {threads}"))
    return "; ".join(filter(None, said))


def _gain(rate: float, other: float | None, than: str) -> str:
    if not rate or not other:
        return ""
    return f"{rate / other:.2f} times the rate {than} ({rate:,.0f} instead of {other:,.0f} a second)"


def _rate(results: TuneResults, candidate: Candidate) -> float:
    """Answers a second at all connections; of the final if it was in it. 0: never measured."""
    ours = [one for one in results.measurements if one.candidate == candidate and one.load == FULL]
    counted = of_final(ours)
    return sum(one.rate for one in counted) / len(counted) if counted else 0.0


def _line(key: str, value: Any, worth: str, indent: str) -> str:
    written = yaml.safe_dump([value], default_flow_style=True, width=10_000, allow_unicode=True).strip()[1:-1]
    text = f"{indent}{key}: {written}"
    return f"{text:<{_COLUMN - 2}}  # {worth}" if worth else text
