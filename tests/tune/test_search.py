"""Whole runs: real servers, real models, real loads. How far one gets in its time decides no test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from servers import BIN, EXAMPLE, Program, Server, make_archive  # type: ignore[import-not-found]  # on pytest's path

pytestmark = pytest.mark.slow

#: A model of convolutions whose answer tells in which layout its input came.
LAYOUT = """
import os
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(2, 2, 1)

    def forward(self, x):
        if not x.is_contiguous():
            CHANGED
        return x

class Handler:
    def initialize(self, context):
        self.model = Net()

    def handle(self, data, context):
        with torch.inference_mode():
            found = self.model(torch.ones(len(data), 2, 2, 2))
        return ["one" if row.sum() == 8 else "two" for row in found]
"""


class Tuning(Program):
    """`torchkeeper tune` as a child process, with a temporary folder of its own."""

    def __init__(self, folder: Path, *flags: str | Path) -> None:
        temp = folder / "temp"
        temp.mkdir(exist_ok=True)
        environ = {**os.environ, "TMPDIR": str(temp), "TEMP": str(temp)}
        super().__init__([BIN / "torchkeeper", "tune", *flags], folder, environ)

    def race(self) -> None:
        """Returns when at least one set-up was measured in the race."""
        for step in ("eager float32 answers", "what a batch costs: channels_last", "race: "):
            self.wait_for(step)
        self.wait_for(r"race: .*\n(.*\n)*?race: ")

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code, once it has ended and left nothing behind."""
        family = []
        if self.process.poll() is None:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.send_signal(signal.SIGINT)
        return self.over(family)

    def over(self, family: list[psutil.Process]) -> int:
        """The exit code, once it has ended and of its descendants none is left."""
        code = self.process.wait(timeout=120)
        self._reader.join(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        _, left = psutil.wait_procs(family, timeout=60)
        assert not left, "orphans"
        return code


@pytest.fixture
def tunings() -> Iterator[list[Tuning]]:
    """Those that were begun; they end with the test, however it ends."""
    found: list[Tuning] = []
    yield found
    for one in found:
        if one.process.returncode is None:
            one.interrupt()


def begun(tunings: list[Tuning], folder: Path, *flags: str | Path) -> Tuning:
    tunings.append(Tuning(folder, *flags))
    return tunings[-1]


@pytest.fixture
def mnist(tmp_path: Path) -> Iterator[Path]:
    subprocess.run(
        [
            *(BIN / "torch-model-archiver", "--model-name", "mnist", "--export-path", tmp_path),
            *("--model-file", EXAMPLE / "mnist.py", "--serialized-file", EXAMPLE / "mnist_cnn.pt"),
            *("--handler", EXAMPLE / "mnist_handler.py", "--version", "1.0"),
        ],
        check=True,
    )
    yield tmp_path / "mnist.mar"
    assert not list((tmp_path / "temp").glob("torchkeeper*")), "temporary folders are left"


def test_an_interrupted_run_keeps_the_best_so_far_and_is_gone_on_with(
    mnist: Path, tmp_path: Path, tunings: list[Tuning]
) -> None:
    flags = (mnist, "--sample", EXAMPLE / "test_data", "--time", "3m", "--output", "out")
    tuning = begun(tunings, tmp_path, *flags)
    tuning.race()
    assert tuning.interrupt() == 0
    assert "It was interrupted: what follows is the best so far" in tuning.output
    config = tmp_path / "mnist.model-config.yaml"
    written = yaml.safe_load(config.read_text())
    assert written["minWorkers"] == written["maxWorkers"] >= 1
    assert written["tunedFor"]["cores"] >= 1
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(kept["costs"]) >= 2
    assert len(kept["measurements"]) >= 1
    assert kept["winner"]["candidate"] == kept["measurements"][0]["candidate"]

    again = begun(tunings, tmp_path, *flags, "--resume")
    again.wait_for("eager float32 answers")
    again.wait_for(r"race: .*\n(.*\n)*?race: ")
    assert again.interrupt() == 0
    assert "what a batch costs" not in again.output
    more = json.loads((tmp_path / "out" / "results.json").read_text())
    assert more["costs"] == kept["costs"]
    assert more["measurements"][: len(kept["measurements"])] == kept["measurements"]

    other = begun(tunings, tmp_path, *flags, "--resume", "--check", "exact")
    other.wait_for("is of another check: 'same', now 'exact'")
    assert other.process.wait(timeout=60) == 1
    other.kill()


def test_what_a_whole_run_finds_is_served_and_goes_into_the_archive(
    mnist: Path, tmp_path: Path, tunings: list[Tuning]
) -> None:
    (tmp_path / "model_store").mkdir()
    archive = mnist.rename(tmp_path / "model_store" / "mnist.mar")
    shutil.copy(archive, tmp_path / "model_store" / "plain.mar")
    flags = (archive, "--sample", EXAMPLE / "test_data", "--time", "45s", "--write")
    tuning = begun(tunings, tmp_path, *flags)
    tuning.wait_for(r"race: |final, ")
    tuning.wait_for("model-config.yaml has the settings")
    tuning.wait_for("samples in warmup/; its sha256 was ")
    tuning.process.wait(timeout=60)
    assert tuning.interrupt() == 0
    assert "interrupted" not in tuning.output
    found = yaml.safe_load((tmp_path / "model_store" / "mnist.model-config.yaml").read_text())
    given = ("--disable-token-auth", "--model-config", "plain=model_store/mnist.model-config.yaml")
    server = Server(tmp_path, ("plain=plain.mar", "mnist=mnist.mar"), {}, given)
    for model in ("plain", "mnist"):
        answer = server.client.put(
            f"/predictions/{model}", content=(EXAMPLE / "test_data" / "7.png").read_bytes()
        )
        assert answer.text == "7"
        (told,) = server.manage.get(f"/models/{model}").json()
        assert (told["batchSize"], len(told["workers"])) == (found["batchSize"], found["minWorkers"])
        assert told["execution"]["threads"] == found["execution"]["threads"]
    (told,) = server.manage.get("/models/mnist").json()
    assert told["execution"]["warmup"]["samples"] == 10
    assert "settings were found for" not in server.output
    server.stop()


def test_without_a_measurement_nothing_is_written(mnist: Path, tmp_path: Path, tunings: list[Tuning]) -> None:
    tuning = begun(tunings, tmp_path, mnist, "--sample", EXAMPLE / "test_data")
    tuning.wait_for("eager float32 answers")
    assert tuning.interrupt() == 1
    assert "No winner: nothing was measured to the end" in tuning.output
    assert not (tmp_path / "mnist.model-config.yaml").exists()


#: What would have the server refuse most of a load.
REFUSES = "useJobTicket: true\njobQueueSize: 1\njobQueueBytes: 1\nlatencyTarget: 1\nclientTimeoutInMills: 1\n"


def layout(folder: Path, changed: str) -> Path:
    """An archive whose model does that where its input is channels_last; and a sample beside it."""
    (folder / "store").mkdir()
    (folder / "one.txt").write_bytes(b"1")
    return make_archive(folder / "store", "layout", LAYOUT.replace("CHANGED", changed), config=REFUSES)


def test_a_variant_that_answers_otherwise_is_out(tmp_path: Path, tunings: list[Tuning]) -> None:
    made = layout(tmp_path, "x = x * 2")
    tuning = begun(tunings, tmp_path, made, "--sample", "one.txt", "--time", "2m")
    tuning.wait_for(r"out: channels_last: one.txt: .*'one' became 'two'")
    tuning.race()
    assert tuning.interrupt() == 0
    assert "channels_last" not in (tmp_path / "store" / "layout-1.0.model-config.yaml").read_text()


@pytest.mark.parametrize("end", [signal.SIGHUP, signal.SIGKILL])
def test_no_server_is_left_by_a_terminal_that_is_closed_or_a_memory_that_is_full(
    tmp_path: Path, tunings: list[Tuning], end: signal.Signals
) -> None:
    tuning = begun(tunings, tmp_path, layout(tmp_path, "pass"), "--sample", "one.txt", "--time", "2m")
    tuning.wait_for("what a batch costs: ")
    family = psutil.Process(tuning.process.pid).children(recursive=True)
    assert family
    tuning.process.send_signal(end)
    code = tuning.over(family)
    assert (code == -signal.SIGKILL) == (end == signal.SIGKILL)
    assert ("It was interrupted" in tuning.output) == (end == signal.SIGHUP)


def test_no_server_is_left_where_nobody_reads_on(tmp_path: Path) -> None:
    command = [BIN / "torchkeeper", "tune", layout(tmp_path, "pass"), "--sample", "one.txt", "--time", "2m"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert any(b"what a batch costs: " in line for line in process.stdout)
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
        process.stdout.close()
        assert process.stderr is not None
        assert not process.stderr.read()
        assert process.wait(timeout=120) == 1
    assert not psutil.wait_procs(family, timeout=60)[1], "orphans"


def test_a_variant_that_crashes_is_out_with_the_servers_reason(tmp_path: Path, tunings: list[Tuning]) -> None:
    made = layout(tmp_path, "os._exit(3)")
    tuning = begun(tunings, tmp_path, made, "--sample", "one.txt", "--time", "2m")
    tuning.wait_for("what a batch costs: channels_last")
    tuning.wait_for(r"out: channels_last: the worker process left with exit code 3")
    tuning.interrupt()


def test_a_sample_that_the_model_refuses_is_named(mnist: Path, tmp_path: Path, tunings: list[Tuning]) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    tuning = begun(tunings, tmp_path, mnist, "--sample", "bad.png", EXAMPLE / "test_data" / "3.png")
    tuning.wait_for(r"torchkeeper tune: error: --sample bad.png was answered with \d+")
    assert tuning.process.wait(timeout=60) == 1
    tuning.kill()
    assert not (tmp_path / "mnist.model-config.yaml").exists()
