"""A server for trials: what it is told, what it counts, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import psutil
import pytest
from answering import answering  # type: ignore[import-not-found]  # pytest puts this folder on the path
from measuring import SUBJECT  # type: ignore[import-not-found]  # pytest puts this folder on the path

from servers import make_archive  # type: ignore[import-not-found]  # pytest puts the tests' folder on the path
from torchkeeper.tune.asker import ask, request
from torchkeeper.tune.budget import Budget
from torchkeeper.tune.candidates import Candidate
from torchkeeper.tune.refusal import TuneRefused
from torchkeeper.tune.repacking import open_tuned
from torchkeeper.tune.results import LoadKind, TuneResults
from torchkeeper.tune.samples import TuneSample
from torchkeeper.tune.trial_server import BatchFigures, ServerGone, TrialServer, VariantRefused, read_figures
from torchkeeper.tune.trials import Out, Trialled, Trials
from torchkeeper.wire.agreement import Check

PAGE = """\
# HELP torchkeeper_handler_seconds Seconds that a worker took for a batch, the handler in it
torchkeeper_handler_seconds_bucket{model_name="m",model_version="1.0",le="0.001",} 1.0
torchkeeper_handler_seconds_count{model_name="m",model_version="1.0",} 4.0
torchkeeper_handler_seconds_sum{model_name="m",model_version="1.0",} 2.5E-4
torchkeeper_batch_size_count{model_name="m",model_version="1.0",} 4.0
torchkeeper_batch_size_sum{model_name="m",model_version="1.0",} 64.0
torchkeeper_batch_size_sum{model_name="m2",model_version="1.0",} 1.0
"""

HANDLER = """
def handle(data, context):
    return data and [bytes(row.get("body") or row.get("data")) for row in data]
"""
GROWING = """
kept = []

def handle(data, context):
    if data and not kept:
        kept.append(b"1" * (1 << 28))
        return [b"the first"]
    return data and [bytes(row.get("body") or row.get("data")) for row in data]
"""
FAILING = """
def handle(data, context):
    raise ValueError("no such thing")
"""


def test_figures_are_read_of_the_metrics_page() -> None:
    assert read_figures(PAGE, "m") == BatchFigures(4.0, 64.0, 2.5e-4)
    assert read_figures(PAGE, "m2") == BatchFigures(0.0, 1.0, 0.0)
    assert read_figures(PAGE, "gone") == BatchFigures(0.0, 0.0, 0.0)


@pytest.mark.slow
def test_a_model_is_placed_asked_and_taken_away_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    good, bad = (make_archive(tmp_path / "made", *pair) for pair in (("good", HANDLER), ("bad", FAILING)))
    config = tmp_path / "user.properties"
    config.write_text(
        "inference_address=http://0.0.0.0:80\nload_models=all\nmetrics_mode=legacy\nmax_request_size=7\n"
    )
    environ = {**os.environ, "TS_CONFIG_FILE": "/gone", "LOG_LOCATION": "/gone"}

    async def run() -> psutil.Process:
        server = TrialServer(tmp_path / "server", config, environ)
        await server.start()
        assert server._process is not None
        process = psutil.Process(server._process.pid)
        try:
            for archive in (good, bad):
                archive.rename(server.store / archive.name)
            await server.register(server.store / good.name, "m", 1, 60)
            assert await ask(server.inference, request("POST", "/predictions/m", b"1"), 60) == (200, b"1")
            too_long = await ask(server.inference, request("POST", "/predictions/m", b"12345678"), 60)
            assert too_long[0] == 413
            found = await server.figures("m")
            assert (found.batches, found.rows) == (1.0, 1.0)
            assert found.seconds > 0
            assert await server.memory("m") > 1 << 20
            with pytest.raises(VariantRefused, match="no such thing"):
                await server.register(server.store / bad.name, "bad", 1, 60)
            await server.unregister("m")
            status, _ = await ask(server.inference, request("POST", "/predictions/m", b"1"), 60)
            assert status == 404
        finally:
            await server.stop()
        with pytest.raises(ServerGone, match="it said: "):
            await server.unregister("m")
        return process

    process = asyncio.run(run())
    assert not process.is_running()
    assert not list((tmp_path / "server" / "temp").glob("torchkeeper*"))


def test_who_does_not_answer_is_named() -> None:
    async def never(body: bytes) -> bytes:
        await asyncio.Event().wait()
        return body

    async def run() -> None:
        server = TrialServer(Path("unused"), None, {})
        async with answering(never) as place:
            server._ports = {"Management": place.port}
            await server._manage("GET", "/models/m", 0.05)

    with pytest.raises(ServerGone, match=r"did not answer GET /models/m within 0\.05 s"):
        asyncio.run(run())


@pytest.mark.slow
def test_what_a_load_tells_and_that_a_server_that_dies_is_nobodys_fault(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    archive = make_archive(tmp_path / "store", "good", GROWING)
    source = open_tuned(archive, tmp_path / "unpacked")
    samples = (TuneSample("1.bin", b"1", "application/octet-stream"),)
    what = Trialled(source, samples, {}, "/predictions/good", Check())
    results = TuneResults(SUBJECT)

    async def run() -> None:
        server = TrialServer(tmp_path / "server", None, os.environ)
        trials = Trials(what, server, results, Budget(75))
        try:
            await server.start()
            await trials.place(Candidate())
            found = await trials.measure(Candidate(), LoadKind(1), 0)
            assert found.memory > 256 << 20  # which the model has since its first request
            trials.expected[0] = b"1"
            with pytest.raises(Out, match="'1' became 'the first'"):  # before anything was measured
                await trials.measure(Candidate(batch_size=2), LoadKind(1), 0)
            server.kill()
            assert server._process is not None
            await server._process.wait()
            await trials.measure(Candidate(), LoadKind(1), 1)
        finally:
            await server.stop()

    with pytest.raises(ServerGone, match="it said: "):
        asyncio.run(run())
    assert [one.candidate.batch_size for one in results.outs] == [2]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has workers of another user")
def test_workers_of_another_user_get_at_their_model(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    good = make_archive(tmp_path / "made", "good", HANDLER)
    config = tmp_path / "user.properties"
    config.write_text("worker_user=65534:65534\n")

    async def run(folder: Path) -> tuple[int, bytes]:
        server = TrialServer(folder / "server", config, os.environ)
        try:
            await server.start()
            good.rename(server.store / good.name)
            await server.register(server.store / good.name, "m", 1, 60)
            return await ask(server.inference, request("POST", "/predictions/m", b"1"), 60)
        finally:
            await server.stop()

    with tempfile.TemporaryDirectory() as folder:
        assert asyncio.run(run(Path(folder))) == (200, b"1")


@pytest.mark.slow
def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    config = tmp_path / "user.properties"
    config.write_text("max_header_size=none\n")

    async def run(ts_config: Path) -> None:
        server = TrialServer(tmp_path / f"of-{ts_config.name}", ts_config, os.environ)
        try:
            await server.start()
        finally:
            await server.stop()

    with pytest.raises(TuneRefused, match="max_header_size=none"):
        asyncio.run(run(config))
    with pytest.raises(TuneRefused, match="No such file"):
        asyncio.run(run(tmp_path / "gone"))
