"""Variants of execution on a real server: right answers, the same explanations, what is told and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from conftest import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    EXAMPLE,
    Server,
    eventually,
    make_archive,
    mnist_server,
)

pytestmark = pytest.mark.slow

CHANNELS_LAST = "batchSize: 16\nexecution: {threads: 1, memoryFormat: channels_last}\n"

#: A handler whose model has no convolution.
LINEAR = """
import torch

class Rows:
    def initialize(self, context):
        self.model = torch.nn.Linear(2, 2)

    def handle(self, data, context):
        with torch.inference_mode():
            return self.model(torch.zeros(len(data), 2)).tolist()
"""


def digit(number: int) -> bytes:
    return (EXAMPLE / "test_data" / f"{number}.png").read_bytes()


def described(server: Server, name: str = "mnist") -> dict[str, Any]:
    (found,) = server.manage.get(f"/models/{name}").json()
    return dict(found)


def test_answers_agree_and_explanations_are_those_of_the_eager_model(tmp_path: Path) -> None:
    explanations = []
    for config in (CHANNELS_LAST, ""):
        folder = tmp_path / f"server{len(explanations)}"
        folder.mkdir()
        server = mnist_server(folder, config, default_workers_per_model=1)
        for number in range(10):
            assert server.client.put("/predictions/mnist", content=digit(number)).text == str(number)
        expected = {"threads": 1, "memoryFormat": "channels_last"} if config else None
        assert described(server).get("execution") == expected
        explanations.append(server.client.put("/explanations/mnist", content=digit(3)).json())
        server.stop()
    np.testing.assert_allclose(*map(np.array, explanations), rtol=0, atol=1e-6)


def test_what_cannot_be_is_refused_at_registration_or_at_load_with_the_reason(tmp_path: Path) -> None:
    server = mnist_server(tmp_path, default_workers_per_model=1, enable_model_api="true")
    store = tmp_path / "model_store"
    for name, config, why in (
        ("typo", "execution: {thread: 2}\n", "execution.thread is no key of it; did you mean threads?"),
        ("both", "execution: {threads: 2}\npt2: inductor\n", "execution and pt2 both say how"),
        (
            "sampleless",
            "execution: {compile: true}\n",
            "execution.compile needs a sample",
        ),
        (
            "linear",
            "execution: {memoryFormat: channels_last}\n",
            "memoryFormat: channels_last is not possible",
        ),
    ):
        make_archive(store, name, LINEAR, config=config)
        url = f"/models?url={name}-1.0.mar&initial_workers=1&synchronous=true"
        answer = server.manage.post(url)
        assert answer.status_code >= 400
        assert why in answer.text
    assert server.client.put("/predictions/mnist", content=digit(4)).text == "4"
    server.stop()


#: Loads at once and never answers.
SLOW = """
import threading

def handle(data, context):
    return data and threading.Event().wait()
"""


def test_a_worker_is_ready_once_it_is_warm_also_the_one_that_replaces_another(tmp_path: Path) -> None:
    (tmp_path / "extra" / "warmup").mkdir(parents=True)
    (tmp_path / "extra" / "warmup" / "3.png").write_bytes(digit(3))
    config = (
        "batchSize: 4\nmaxRequestsPerWorker: 3\nexecution: {memoryFormat: channels_last, hint: latency}\n"
    )
    server = mnist_server(tmp_path, config, extra=tmp_path / "extra", default_workers_per_model=0)
    for number in range(10):
        assert server.client.put("/predictions/mnist", content=digit(number)).text == str(number)
    told = described(server)["execution"]
    assert (told["warmup"]["samples"], told["warmup"]["batches"]) == (1, [1, 2, 4])
    assert (told["hint"]["for"], told["hint"]["workers"]) == ("latency", 1)
    assert len(described(server)["workers"]) == 1
    server.wait_for(r"\(maxRequestsPerWorker: 3\)")
    eventually(lambda: server.output.count("model loaded in") > 2)  # both models', and the one in its place
    assert server.client.put("/predictions/mnist", content=digit(7)).text == "7"
    server.stop()


def test_a_warm_up_that_takes_too_long_is_a_load_that_takes_too_long(tmp_path: Path) -> None:
    server = mnist_server(tmp_path, default_workers_per_model=1, enable_model_api="true")
    config = "startupTimeout: 2\nexecution: {warmup: [slow_handler.py]}\n"
    make_archive(tmp_path / "model_store", "slow", SLOW, config=config)
    answer = server.manage.post("/models?url=slow-1.0.mar&initial_workers=1&synchronous=true")
    assert answer.status_code >= 400
    assert "2 s" in answer.text or "startup" in answer.text, answer.text
    server.stop()


def test_intels_settings_are_wishes_and_workers_keep_to_their_cores(tmp_path: Path) -> None:
    server = mnist_server(
        tmp_path,
        default_workers_per_model=1,
        ipex_enable="true",
        cpu_launcher_enable="true",
        cpu_launcher_args="--ncores_per_instance 1 --use_logical_core",
    )
    server.wait_for(
        r"ipex_enable: models without a section execution run .*; cpu_launcher_enable: workers are pinned "
        r"to 1 cores each; of its arguments --use_logical_core mean nothing here"
    )
    for number in range(10):
        assert server.client.put("/predictions/mnist", content=digit(number)).text == str(number)
    assert described(server)["execution"]["memoryFormat"] == "channels_last"
    pids = [worker["pid"] for worker in described(server)["workers"]]
    assert [len(psutil.Process(pid).cpu_affinity()) for pid in pids] == [1]
    server.stop()
