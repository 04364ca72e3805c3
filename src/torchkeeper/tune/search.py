"""The search: what variants cost, a race of set-ups, a final of the best; each until its share of the time.

Owns the order of what is tried and why; what is measured stands in the results, from which it also goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from torchkeeper.tune.budget import COMPILED, COSTS, FINAL, RACE, Budget, OutOfTime
from torchkeeper.tune.candidates import (
    BATCHES,
    Candidate,
    best_variants,
    entrants,
    is_compiled,
    needs,
    neighbours,
    plainer,
    splits,
    variant_name,
    variants,
    worth_compiling,
)
from torchkeeper.tune.choosing import FULL, MANY, Standing, best, meets, standings
from torchkeeper.tune.cost import fitted
from torchkeeper.tune.results import LoadKind, Measurement, TuneResults, VariantCost
from torchkeeper.tune.target import Target
from torchkeeper.tune.trials import Out, Trials
from torchkeeper.tune.verdict import untuned
from torchkeeper.wire.execution import AS_IT_IS, Execution

#: What is said where it was.
TIME_UP = "The time was up before all was tried"
#: Closed loops and open ones that the finalists stand, and those of further rounds, which decide.
AGAIN = (FULL, LoadKind(1))
LOADS = (FULL, LoadKind(16), LoadKind(4), LoadKind(1), LoadKind(MANY, 0.5), LoadKind(MANY, 0.8))
#: Shares of a candidate's rate at which a target is looked for, one after the other until it is met.
SHARES = (0.95, 0.85, 0.7, 0.5, 0.3, 0.1)
#: How many variants are raced, set-ups come into the final, and rounds the final has.
_RACED, _FINALISTS, _ROUNDS = 5, 3, 3
#: What the best of a variant that is not among these must have of the best rate to come into it as well.
_ALSO = 0.8
#: Of how many the neighbours are tried too, and how many are compiled once more for the race.
_VARIED, _RECOMPILED = 2, 2
#: Of the best plain rate foretold, what another one must have to be raced; and a compiled one.
_HOPEFUL, _HOPEFUL_COMPILED = 0.6, 0.95
#: Milliseconds that batches are waited for where the cost of a full one is measured.
_GATHER = 10
#: Seconds of a row below which compiling does not pay, and of the whole time below which nobody waits for it.
_FLOOR, _PATIENT = 1e-4, 240.0


@dataclass
class Search:
    """A search; `run` it, and read the results."""

    trials: Trials
    results: TuneResults
    budget: Budget
    cores: int
    target: Target | None
    #: Whether the model is TorchScript, and whether samples can warm it up.
    scripted: bool | None
    samples_fit: bool
    say: Callable[[str], None]
    #: Keeps what is known.
    keep: Callable[[], None]

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes in which the eager model answers as it does alone."""
        return (1,) if any(one.alone_only for one in self.results.costs) else BATCHES

    async def run(self) -> None:
        """All of it, or as much as there is time for.

        Raises:
            TuneRefused: the archive or the samples cannot be used.
        """
        self.say("eager float32 answers the samples")
        try:
            await self.trials.learn(Candidate(), self.budget.seconds / 20)
        except OutOfTime:  # and nothing could be compared
            self.results.remark(TIME_UP)
            return
        for phase in (self._costs, self._race, self._compiled, self._final, self._worths):
            try:
                await phase()
            except OutOfTime:
                self.results.remark(TIME_UP)
            self.keep()

    # --- what variants cost --------------------------------------------------------------------------------

    async def _costs(self) -> None:
        threads = sorted({threads for _, threads in splits(self.cores)})
        for variant in self._variants(compiled=False):
            for count in threads:
                if not await self._costed(msgspec.structs.replace(variant, threads=count), COSTS):
                    break

    def _variants(self, *, compiled: bool) -> list[Execution]:
        found = variants(scripted=self.scripted, samples_fit=self.samples_fit)
        return [one for one in found if is_compiled(one) == compiled]

    async def _costed(self, execution: Execution, share: float) -> bool:
        """Whether it is known what a variant costs; it is measured if there is time for it by then."""
        name = variant_name(execution)
        if self._passed_over(execution):
            return False
        if self.results.cost_of(execution) is None:
            if self.results.costs and not self.budget.until(share):
                self.results.remark(
                    f"{name} with threads: {execution.threads} was not tried: there was no time for it"
                )
                return False
            self.say(f"what a batch costs: {name}, threads: {execution.threads}")
            found = await self._cost(execution, share)
            self.results.costs.append(found)
            if found.out:
                self.say(f"out: {name}: {found.out}")
            self.keep()
        self._tell_alone(self.results.cost_of(execution))
        return True

    def _tell_alone(self, known: VariantCost | None) -> None:
        if known is not None and known.alone_only:
            self.results.remark(
                "The handler itself answers otherwise in batches than alone, so that only batches of one "
                f"were tried: {known.alone_only}"
            )

    def _passed_over(self, execution: Execution) -> bool:
        """Whether a variant is not tried; said why."""
        name = variant_name(execution)
        for part in (*needs(execution), execution):
            known = self._refused(part)
            if known is not None:
                if known.execution.threads == execution.threads and part is not execution:
                    self.results.remark(f"{name} was not tried: {variant_name(part)} is out")
                return True
        if not is_compiled(execution):
            return False
        if execution.compile and not self._refused(Execution(aot=True)):
            return True  # what can be exported is as fast so, and starts sooner
        plain = self.results.cost_of(Execution(threads=1))
        why = None if plain is None or plain.cost is None else worth_compiling(plain.cost, 16, _FLOOR)
        if self.budget.seconds < _PATIENT:
            why = f"compiling takes most of a time below {_PATIENT:.0f} s"
        if why:
            self.results.remark(f"{name} was not tried: {why}")
        return bool(why)

    def _refused(self, part: Execution) -> VariantCost | None:
        """The variant's cost where it is out, whatever the threads."""
        name = variant_name(part)
        return next(
            (one for one in self.results.costs if one.out and variant_name(one.execution) == name), None
        )

    async def _cost(self, execution: Execution, share: float) -> VariantCost:
        candidate = Candidate(execution=execution, batch_size=BATCHES[-1], policy="delay", delay=_GATHER)
        points: list[tuple[float, float]] = []
        alone_only = ""
        try:
            async with self.trials.placing(candidate, max(share, RACE)) as placed:
                await self.trials.warm(candidate, placed, self.batches[-1])
                for rows in self.batches:
                    point, difference = await self.trials.batches(candidate, placed, rows)
                    if difference and rows > 1 and _is_eager(execution):
                        alone_only = difference
                        break
                    if difference:
                        raise self.trials.out(candidate, _told(rows, difference))
                    points += [point] if point[0] else []
                    if point[0] and point[1] / point[0] * rows * 4 > self.budget.each:
                        break  # the next larger batch would take too long
        except Out as out:
            return VariantCost(execution, out=str(out))
        cost = fitted(points) if points else None
        return VariantCost(
            execution, cost, tuple(points), placed.load_seconds, placed.memory, alone_only=alone_only
        )

    # --- the race ------------------------------------------------------------------------------------------

    async def _race(self) -> None:
        await self._try((untuned(self.cores), *self._hopeful(compiled=False)), RACE)
        for one in self._standings()[:_VARIED]:
            near = (each for each in neighbours(one.candidate) if self._right(each.batch_size))
            await self._try(near, RACE)

    async def _compiled(self) -> None:
        """What compiles comes last: it loads long, and the others' figures tell what it has to beat."""
        for variant in self._variants(compiled=True):
            await self._costed(msgspec.structs.replace(variant, threads=1), COMPILED)
        hopeful = self._hopeful(compiled=True)
        if not hopeful:
            for rate, one in self._foretold(compiled=True)[:1]:
                self.results.remark(
                    f"{variant_name(one.execution)} was not raced: by a + b n it comes to {rate:,.0f} rows a "
                    f"second at best, what is not compiled to {self._plain_rate():,.0f}"
                )
        await self._try(hopeful[:_RECOMPILED], COMPILED)

    def _hopeful(self, *, compiled: bool) -> list[Candidate]:
        """Those that may win by what was foretold, the best first."""
        least = self._plain_rate() * (_HOPEFUL_COMPILED if compiled else _HOPEFUL)
        return [one for rate, one in self._foretold(compiled=compiled) if rate >= least]

    def _plain_rate(self) -> float:
        return max((rate for rate, _ in self._foretold(compiled=False)), default=0.0)

    def _foretold(self, *, compiled: bool) -> list[tuple[float, Candidate]]:
        """Set-ups of the best variants and the rates that their costs foretell, the best first."""
        costs = [(one.execution, one.cost) for one in self.results.costs if one.cost is not None]
        found = [pair for pair in entrants(costs, self.cores, MANY) if pair[1].batch_size in self.batches]
        return [pair for pair in best_variants(found, _RACED) if is_compiled(pair[1].execution) == compiled]

    def _right(self, rows: int) -> bool:
        return rows == 1 or len(self.batches) > 1

    async def _try(self, candidates: Iterable[Candidate], share: float) -> None:
        """Measures each of them shortly, as long as there is time for it by then."""
        for candidate in candidates:
            if not self.budget.fits(self._needed(candidate), share):
                self.results.remark("The race was over before all set-ups were tried")
                return
            self.say(f"race: {candidate}")
            await self._out_or(self._probe(candidate))
            self.keep()

    async def _probe(self, candidate: Candidate) -> None:
        if is_compiled(candidate.execution):
            await self.trials.place(candidate, COMPILED)  # and there it stays: loading takes it long
        for connections in (MANY, 16, 4, 1):
            found = await self.trials.measure(candidate, LoadKind(connections), 0)
            if self.target is None or meets(found, self.target):
                return

    def _needed(self, candidate: Candidate) -> float:
        """Seconds that a candidate takes to load and to be measured, by its variant's own."""
        name = variant_name(candidate.execution)
        loads = [one.load_seconds for one in self.results.costs if variant_name(one.execution) == name]
        compiles = candidate.workers if is_compiled(candidate.execution) else 1
        return max(loads, default=1.0) * compiles + self.budget.each * 1.5

    async def _out_or(self, work: Awaitable[object]) -> None:
        try:
            await work
        except Out as out:
            self.say(f"out: {out}")

    def _standings(self) -> list[Standing]:
        return [
            one for one in standings(self.results.measurements, self.target) if self._still(one.candidate)
        ]

    def _still(self, candidate: Candidate) -> bool:
        return not self.results.is_out(candidate)

    # --- the final -----------------------------------------------------------------------------------------

    async def _final(self) -> None:
        finalists = list(dict.fromkeys((*_finalists(self._standings()), untuned(self.cores))))
        for round_ in range(1, _ROUNDS + 1):
            begin = self.budget.spent
            for candidate in finalists:
                if self._still(candidate):
                    self.say(f"final, round {round_} of {_ROUNDS}: {candidate}")
                    await self._out_or(self._placed_round(candidate, round_))
                    self.keep()
            if not self.budget.fits(self.budget.spent - begin, FINAL):
                return

    async def _placed_round(self, candidate: Candidate, round_: int) -> None:
        """A round; who is in the final stays placed until its end."""
        await self.trials.place(candidate)
        if self.target is None:
            await self._all_loads(candidate, round_)
        else:
            await self._until_met(candidate, round_, self.target)

    async def _all_loads(self, candidate: Candidate, round_: int) -> None:
        full = 0.0
        for kind in LOADS if round_ == 1 else AGAIN:
            found = await self.trials.measure(candidate, kind, round_, full * kind.share)
            full = found.rate if kind == FULL else full

    async def _until_met(self, candidate: Candidate, round_: int, target: Target) -> None:
        """The greatest load, of those tried, that is answered within the target."""
        full = await self.trials.measure(candidate, FULL, round_)
        await self.trials.measure(candidate, LoadKind(1), round_)
        for share in SHARES:
            kind = LoadKind(MANY, share)
            if any(not meets(one, target) for one in self._earlier(candidate, kind, round_)):
                continue
            if meets(await self.trials.measure(candidate, kind, round_, full.rate * share), target):
                return

    def _earlier(self, candidate: Candidate, kind: LoadKind, round_: int) -> list[Measurement]:
        found = (self.results.measured(candidate, kind, each) for each in range(1, round_))
        return [one for one in found if one is not None]

    # --- what each line is worth ---------------------------------------------------------------------------

    async def _worths(self) -> None:
        winner = best(self._standings())
        if winner is None:
            return
        for key, candidate in plainer(winner.candidate).items():
            if self.budget.fits(self._needed(candidate)):
                self.say(f"what {key} is worth: {candidate}")
                await self._out_or(self.trials.measure(candidate, FULL, 0))


def _finalists(found: Sequence[Standing]) -> list[Candidate]:
    """The first ones of the race, and the best of the next variant if it is near: races are short."""
    first = [one.candidate for one in found[:_FINALISTS]]
    names = {variant_name(one.execution) for one in first}
    near = (one for one in found if found and one.rate >= found[0].rate * _ALSO)
    others = [one.candidate for one in near if variant_name(one.candidate.execution) not in names]
    return first + others[:1]


def _told(rows: int, difference: str) -> str:
    return difference if rows == 1 else f"in mixed batches of {rows}: {difference}"


def _is_eager(execution: Execution) -> bool:
    return variant_name(execution) == variant_name(AS_IT_IS)
