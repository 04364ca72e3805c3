"""The course of a run of `torchkeeper tune`, and what it prints and writes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import uvloop
from rich.console import Console

from torchkeeper import __version__
from torchkeeper.machine.hardware import cpu_count, features_of_speed, processor_name
from torchkeeper.machine.signals import end_signals
from torchkeeper.machine.torch_release import installed_torch
from torchkeeper.tune.agreement import read_check
from torchkeeper.tune.asker import request
from torchkeeper.tune.budget import Budget, read_time
from torchkeeper.tune.outputs import Outputs, write_outputs
from torchkeeper.tune.refusal import TuneRefused
from torchkeeper.tune.repacking import TunedArchive, open_tuned
from torchkeeper.tune.results import Subject, TuneResults, resumed, save
from torchkeeper.tune.samples import TuneSample, digest_of, read_samples, warmup_files
from torchkeeper.tune.search import TIME_UP, Search
from torchkeeper.tune.show import Progress
from torchkeeper.tune.target import Target, read_target
from torchkeeper.tune.trial_server import ServerGone, TrialServer
from torchkeeper.tune.trials import PERCENTS, Trialled, Trials, routed
from torchkeeper.tune.tuned_file import MARK
from torchkeeper.tune.verdict import conclude
from torchkeeper.wire.agreement import Check

#: Seconds in which a search that was cancelled may take its candidate away, and how often it is told.
_TIDYING, _CANCELS = 5.0, 3
#: Routes whose bodies are what a warm-up gives the handler.
_PLAIN_ROUTES = ("/predictions/", "/invocations", "/models/")


@dataclass(frozen=True)
class TunePlan:
    """What the flags ask for, checked."""

    source: TunedArchive
    samples: tuple[TuneSample, ...]
    warmup: Mapping[str, bytes]
    route: str
    target: Target | None
    check: Check
    seconds: float
    output: Path
    #: The settings' file.
    config: Path
    resume: bool
    write: bool
    #: SHA-256 of the server's configuration; empty where there is none.
    ts_config: str

    @property
    def percentiles(self) -> tuple[str, ...]:
        """Those of latencies that are kept: the target's too."""
        wanted = (f"{self.target.percent:g}",) if self.target else ()
        return tuple(dict.fromkeys((*PERCENTS, *wanted)))

    @property
    def subject(self) -> Subject:
        """What the results are of."""
        return Subject(
            archive=self.source.path.name,
            model=self.source.model_name,
            digest=self.source.digest,
            samples=len(self.samples),
            samples_digest=digest_of(self.samples),
            route=self.route,
            check=str(self.check),
            percentiles=self.percentiles,
            cores=cpu_count(),
            processor=processor_name(),
            features=features_of_speed(),
            version=__version__,
            torch=installed_torch() or "",
            ts_config=self.ts_config,
        )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Tunes; returns the exit code: 1 where there is no winner."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        with tempfile.TemporaryDirectory(prefix="torchkeeper-tune-") as scratch:
            plan = read_plan(arguments, Path(scratch) / "archive")
            results = resumed(plan.output, plan.subject) if plan.resume else TuneResults(plan.subject)
            server = TrialServer(Path(scratch) / "server", arguments.ts_config, environ)
            how = uvloop.run(tune(plan, results, server, console))
            conclusion = conclude(results, plan.target, plan.check, how)
            for one in results.outs:
                console.print(f"out: {one.candidate}: {one.why}", markup=False)
            where = Outputs(plan.output, plan.config, plan.source, plan.warmup, plan.write)
            said = write_outputs(where, results, conclusion)
            for sentence in (*results.remarks, *conclusion.told, *said):
                console.print(sentence, markup=False)
            return 0 if conclusion.standing is not None else 1
    except (TuneRefused, OSError) as error:
        print(f"torchkeeper tune: error: {error}", file=sys.stderr)
        return 1


def read_plan(arguments: argparse.Namespace, scratch: Path) -> TunePlan:
    """The flags, checked; the archive is unpacked into the folder `scratch`.

    Raises:
        TuneRefused: something named is missing or makes no sense; one sentence.
    """
    path = arguments.archive.absolute()
    target = read_target(arguments.target) if arguments.target else None
    check, seconds = read_check(arguments.check), read_time(arguments.time)
    samples = read_samples(arguments.sample)
    source = open_tuned(path, scratch)
    if arguments.write and not (path.is_file() and zipfile.is_zipfile(path)):
        raise TuneRefused(f"--write needs an archive that is a zip file (.mar), which {path} is not")
    stem = path.name.removesuffix(".mar").removesuffix(".tar.gz")
    config = path.with_name(f"{stem}.model-config.yaml")
    _check_writable(config)
    route = arguments.route or f"/predictions/{source.model_name}"
    routed(route, source.model_name, source.model_name)
    _check_requests(route, samples)
    warmup = warmup_files(samples) if route.startswith(_PLAIN_ROUTES) else {}
    return TunePlan(
        *(source, samples, warmup, route, target, check, seconds),
        output=arguments.output or Path(f"tune-{stem}"),
        config=config,
        resume=arguments.resume,
        write=arguments.write,
        ts_config=_digest(arguments.ts_config),
    )


def _digest(ts_config: Path | None) -> str:
    try:
        return "" if ts_config is None else hashlib.sha256(ts_config.read_bytes()).hexdigest()
    except OSError as error:
        raise TuneRefused(f"--ts-config {ts_config}: {error.strerror}") from None


def _check_requests(route: str, samples: Iterable[TuneSample]) -> None:
    for content_type in {one.content_type for one in samples}:
        try:
            request("POST", route, b"", content_type)
        except ValueError as error:
            raise TuneRefused(str(error)) from None


def _check_writable(config: Path) -> None:
    if config.exists() and not config.read_text(errors="replace").startswith(MARK):
        raise TuneRefused(f"{config} is there and not of tune's making: move it, it would be overwritten")
    if not os.access(config.parent, os.W_OK):
        raise TuneRefused(f"{config.parent} cannot be written to, and {config.name} is to lie there")


async def tune(plan: TunePlan, results: TuneResults, server: TrialServer, console: Console) -> str:
    """Searches until the time is up or somebody ends it; returns how it ended, empty where it is done.

    Raises:
        TuneRefused: the archive or the samples cannot be used.
    """
    budget = Budget(plan.seconds)
    what = Trialled(plan.source, plan.samples, plan.warmup, plan.route, plan.check, plan.percentiles)
    with Progress(console, budget) as progress:
        search = Search(
            Trials(what, server, results, budget),
            results,
            budget,
            results.subject.cores,
            plan.target,
            plan.source.scripted,
            samples_fit=bool(plan.warmup) or plan.source.brings_samples,
            say=progress.say,
            keep=lambda: save(results, plan.output),
        )
        task = asyncio.create_task(_searched(search, server, progress))
        # Where nobody reads what is said, rich leaves by a SystemExit, which the loop raises already.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        interrupted = False

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = interrupted or (not task.done() and budget.left > 0)
            if task.done():
                server.kill()
            else:
                task.cancel()

        with _signals(interrupt):
            try:
                await asyncio.wait({task}, timeout=budget.left)
                for _ in range(_CANCELS):  # what it tidies up may hang as well
                    task.cancel()
                    await asyncio.wait({task}, timeout=_TIDYING)
                progress.say("the server ends")
            finally:  # also where nobody reads any more what is said
                await server.stop()
    return _ended(task, results, interrupted=interrupted)


def _ended(task: asyncio.Task[None], results: TuneResults, *, interrupted: bool) -> str:
    """How the search ended, empty where it is done or the time was up."""
    if not task.done() or task.cancelled():
        if interrupted:
            return "it was interrupted"
        results.remark(TIME_UP)
        return ""
    error = task.exception()
    if isinstance(error, ServerGone):
        return str(error)
    if error is not None:
        raise error
    return ""


async def _searched(search: Search, server: TrialServer, progress: Progress) -> None:
    progress.say("a server starts")
    await server.start()
    await search.run()


@contextlib.contextmanager
def _signals(interrupt: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a terminal that is closed mean that, and nothing else."""
    loop = asyncio.get_running_loop()
    numbers = end_signals()
    for number in numbers:
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
