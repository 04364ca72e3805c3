"""Candidates on the server: placed there, asked under a load, checked, taken away again.

Owns what is placed. A candidate that is refused, fails or answers differently is out, and the reason kept.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from torchkeeper.tune import load
from torchkeeper.tune.agreement import Judge
from torchkeeper.tune.asker import request
from torchkeeper.tune.budget import Budget, OutOfTime
from torchkeeper.tune.candidates import Candidate
from torchkeeper.tune.latency import arrivals
from torchkeeper.tune.load import LoadRun, Questions
from torchkeeper.tune.refusal import TuneRefused
from torchkeeper.tune.repacking import TunedArchive, config_text, write_tuned
from torchkeeper.tune.results import CandidateOut, LoadKind, Measurement, TuneResults
from torchkeeper.tune.samples import TuneSample
from torchkeeper.tune.trial_server import BatchFigures, TrialServer, VariantRefused
from torchkeeper.wire.agreement import Check

#: Percentiles that are kept of latencies.
PERCENTS = ("50", "90", "95", "99")
#: The most answers for which a short load waits, as a multiple of its connections.
_LEAST = 3
#: Samples that are compared before a variant is raced, which compares them all.
_AT_FIRST = 100
#: How much longer than a measurement a load may go on until all samples were answered.
_PATIENCE = 4


class Out(Exception):
    """A candidate is out; the message says why."""


@dataclass
class Placed:
    """A candidate on the server."""

    name: str
    requests: list[bytes]
    load_seconds: float
    #: The most bytes of its workers, of those that were seen after a load.
    memory: int = 0


@dataclass(frozen=True)
class Trialled:
    """What all candidates are tried with."""

    source: TunedArchive
    samples: Sequence[TuneSample]
    #: Names and contents of the folder `warmup`.
    warmup: Mapping[str, bytes]
    #: The path of requests, with the model's name in it.
    route: str
    check: Check
    percents: Sequence[str] = PERCENTS


def routed(route: str, model: str, name: str) -> str:
    """The path of a model's requests with another name in the place of the model's.

    Raises:
        TuneRefused: the path does not name the model.
    """
    path, found = re.subn(rf"(?<=/){re.escape(model)}(?=[/:?]|$)", name, route, count=1)
    if not found or not route.startswith("/"):
        raise TuneRefused(f"--route {route} must name the model: /predictions/{model}, say")
    return path


class Trials:
    """Places candidates and measures them."""

    def __init__(self, what: Trialled, server: TrialServer, results: TuneResults, budget: Budget) -> None:
        self._what, self._server, self._results, self._budget = what, server, results, budget
        self._placed: dict[Candidate, Placed] = {}
        self._count = 0
        #: What eager float32 answers, by the samples' numbers.
        self.expected: dict[int, bytes] = {}
        #: How many of the samples are asked with.
        self.samples = len(what.samples)

    # --- placing -------------------------------------------------------------------------------------------

    async def place(self, candidate: Candidate, share: float = 1.0) -> Placed:
        """A candidate's model on the server, ready; it stays until `remove`.

        Raises:
            Out: the server refuses it.
            OutOfTime: it is not loaded before that share of the time is over.
        """
        if candidate in self._placed:
            return self._placed[candidate]
        what = self._what
        self._count += 1
        name = f"{what.source.model_name}-trial{self._count}"
        archive = self._server.store / f"{name}.mar"
        text = config_text(what.source.on_trial(candidate.config()))
        seconds = self._seconds(share)
        write_tuned(what.source, archive, text, what.warmup, packed=False)
        begin = time.monotonic()
        try:
            await self._server.register(archive, name, candidate.workers, seconds)
        except VariantRefused as error:
            if time.monotonic() - begin >= int(seconds):
                self._results.remark(f"{candidate} was not loaded within {seconds:.0f} s")
                raise OutOfTime from None
            raise self.out(candidate, str(error)) from None
        finally:
            archive.unlink()
        path = routed(what.route, what.source.model_name, name)
        requests = [request("POST", path, one.content, one.content_type) for one in what.samples]
        self._placed[candidate] = Placed(name, requests, time.monotonic() - begin)
        return self._placed[candidate]

    async def remove(self, candidate: Candidate) -> None:
        """Takes it away, if it is there."""
        placed = self._placed.pop(candidate, None)
        if placed is not None:
            await self._server.unregister(placed.name)

    @asynccontextmanager
    async def placing(self, candidate: Candidate, share: float = 1.0) -> AsyncIterator[Placed]:
        """A candidate while it is measured; one that was placed before stays.

        Raises:
            Out: the server refuses it.
        """
        stays = candidate in self._placed
        try:
            yield await self.place(candidate, share)
        finally:
            if not stays:
                await self.remove(candidate)

    def out(self, candidate: Candidate, why: str) -> Out:
        """The candidate is out; kept, and to be raised."""
        self._results.outs.append(CandidateOut(candidate, why))
        return Out(why)

    # --- asking --------------------------------------------------------------------------------------------

    async def learn(self, candidate: Candidate, seconds: float) -> None:
        """Learns what the samples are answered with, and that it is the same again.

        Of so many samples that they take longer than `seconds` only the first ones are taken.

        Raises:
            TuneRefused: a sample is no request, or the answers differ from one time to the next.
        """
        judge = Judge(self.expected, self._what.check, self._names, learns=True)
        try:
            async with self.placing(candidate) as placed:
                await self._closed(placed, judge, 1, 0.0, len(placed.requests), seconds)
                if judge.failure:
                    raise TuneRefused(f"--sample {judge.failure}")
                self.samples = len(self.expected)
                await self._closed(placed, judge, 1, 0.0, self.samples, seconds)
        except Out as out:
            raise TuneRefused(f"the archive is not served: {out}") from None
        if judge.failure:
            raise TuneRefused(f"--sample {judge.failure}")
        if judge.difference:
            raise TuneRefused(
                f"asked twice, the eager model itself answers differently ({judge.difference}); --check none "
                "compares nothing, --check rel=0.1 less strictly"
            )

    async def warm(self, candidate: Candidate, placed: Placed, connections: int) -> str:
        """Asks for a moment, since what is slow at first is not measured; a difference, if there is one.

        Raises:
            Out: requests fail.
        """
        each, judge = self._budget.each, self._judge()
        await self._closed(placed, judge, connections, each / 5, connections, each)
        if judge.failure:
            raise self.out(candidate, judge.failure)
        return judge.difference

    async def batches(
        self, candidate: Candidate, placed: Placed, connections: int
    ) -> tuple[tuple[float, float], str]:
        """Rows and seconds of the batches that so many connections make of one worker; and a difference.

        Raises:
            Out: requests fail.
        """
        each, judge = self._budget.each, self._judge()
        before = await self._server.figures(placed.name)
        least = max(_LEAST * connections, min(self.samples, _AT_FIRST))
        await self._closed(placed, judge, connections, each / 4, least, each * 2)
        after = await self._server.figures(placed.name)
        if judge.failure:
            raise self.out(candidate, judge.failure)
        await self._weigh(placed)
        return mean_batch(before, after), judge.difference

    async def measure(
        self, candidate: Candidate, kind: LoadKind, round_: int, rate: float = 0.0
    ) -> Measurement:
        """What it comes to under a load, `rate` requests a second of an open one; measured once a round.

        Raises:
            Out: it is refused, fails, or answers otherwise than the eager model.
        """
        known = self._results.measured(candidate, kind, round_)
        if known is not None:
            return known
        if self._results.is_out(candidate):
            raise Out("it is out")
        async with self.placing(candidate) as placed:
            if not kind.share and (why := await self.warm(candidate, placed, kind.connections)):
                raise self.out(candidate, why)
            judge = self._judge()
            run = await self._run((placed, judge), kind, rate, round_)
            if why := judge.failure or judge.difference:
                raise self.out(candidate, why)
            await self._weigh(placed)
            found = self._measurement(candidate, kind, round_, rate, (placed, judge, run))
        self._results.measurements.append(found)
        return found

    async def _weigh(self, placed: Placed) -> None:
        placed.memory = max(placed.memory, await self._server.memory(placed.name))

    async def _run(self, asked: tuple[Placed, Judge], kind: LoadKind, rate: float, round_: int) -> LoadRun:
        """All candidates of a round are asked at the same moments, for the same rate."""
        each, (placed, judge) = self._budget.each, asked
        if not kind.share:
            least = max(_LEAST * kind.connections, self.samples)
            return await self._closed(placed, judge, kind.connections, each, least, each * _PATIENCE)
        moments = list(arrivals(rate, each, seed=round_)) or [0.0]
        return await self._bounded(load.opened(self._questions(placed, judge), moments))

    def _measurement(
        self,
        candidate: Candidate,
        kind: LoadKind,
        round_: int,
        rate: float,
        done: tuple[Placed, Judge, LoadRun],
    ) -> Measurement:
        placed, judge, run = done
        found = {percent: run.percentile(float(percent) / 100) for percent in self._what.percents}
        return Measurement(
            candidate,
            kind,
            round_,
            run.rate,
            rate,
            {percent: value if math.isfinite(value) else None for percent, value in found.items()},
            placed.memory,
            run.generator,
            run.lag,
            judge.samples,
        )

    async def _closed(
        self, placed: Placed, judge: Judge, connections: int, seconds: float, least: int, longest: float
    ) -> LoadRun:
        questions = self._questions(placed, judge)
        return await self._bounded(load.closed(questions, connections, seconds, least, longest))

    async def _bounded(self, run: Awaitable[LoadRun]) -> LoadRun:
        """The run, which ends with the whole time at the latest.

        Raises:
            OutOfTime: it did.
            ServerGone: nobody listens any more.
        """
        try:
            async with asyncio.timeout(self._budget.left):
                return await run
        except TimeoutError:
            raise OutOfTime from None
        except OSError as error:
            raise self._server.gone(error) from None

    def _questions(self, placed: Placed, judge: Judge) -> Questions:
        return Questions(self._server.inference, placed.requests[: self.samples], judge)

    def _judge(self) -> Judge:
        return Judge(self.expected, self._what.check, self._names)

    @property
    def _names(self) -> list[str]:
        return [one.name for one in self._what.samples]

    def _seconds(self, share: float) -> float:
        """How long a model may load.

        Raises:
            OutOfTime: not at all.
        """
        seconds = self._budget.until(share)
        if seconds < 1:
            raise OutOfTime
        return seconds


def mean_batch(before: BatchFigures, after: BatchFigures) -> tuple[float, float]:
    """Rows and seconds of a batch, of those that came between; (0, 0) where none did."""
    batches = after.batches - before.batches
    if batches <= 0:
        return 0.0, 0.0
    return (after.rows - before.rows) / batches, (after.seconds - before.seconds) / batches
