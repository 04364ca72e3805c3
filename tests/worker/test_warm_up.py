"""Warm-up: which samples, in which batches, through the whole handler; and what becomes of failures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stand_in_outbox import request  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.handler.door import NotRunnable
from torchkeeper.testing import run_handler
from torchkeeper.wire.execution import Execution
from torchkeeper.wire.frames import Loaded, LoadFailed, encode_batch
from torchkeeper.wire.messages import Reply
from torchkeeper.worker.main import EXIT_LOAD_FAILED
from torchkeeper.worker.warm_up import WarmUpFailed
from workers import Worker

#: Answers each request with all batches that it has seen, and what they were.
SEES = """
seen = []

def handle(data, context):
    if data is None:
        context.metrics.add_counter("Loaded", 1)
        return None
    context.metrics.add_counter("Asked", 1)
    header = context.get_request_header(0, "content-type")
    rows = [row["body"] if isinstance(row["body"], (str, dict)) else row["body"].hex() for row in data]
    seen.append([header, *rows])
    if "fail" in rows:
        raise ValueError("no such thing")
    if "status" in rows:
        context.set_response_status(422, "No", 0)
    if "alone" in rows and len(rows) > 1:
        return [1]
    return [seen] * len(data)
"""


def answered(folder: Path, files: dict[str, bytes], **spec: Any) -> Any:
    (folder / "sees.py").write_text(SEES)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    (reply,) = run_handler(folder / "sees.py", [b"x"], **spec)
    assert isinstance(reply, Reply)
    return json.loads(reply.body)


def test_each_alone_then_two_then_a_full_batch(tmp_path: Path) -> None:
    files = {"a.txt": b"one", "b.json": b'{"two": 2}', "c.bin": b"\x03"}
    wanted = Execution(warmup=("a.txt", "b.json", "c.bin"))
    *warm, last = answered(tmp_path, files, execution=wanted, batch_size=4)
    assert warm == [
        ["text/plain", "one"],
        ["application/json", {"two": 2}],
        ["application/octet-stream", "03"],
        ["text/plain", "one", {"two": 2}],
        ["text/plain", "one", {"two": 2}, "03", "one"],
    ]
    assert last[1:] == ["78"]


@pytest.mark.parametrize(("size", "batches"), [(1, [1]), (2, [1, 2])])
def test_no_batch_is_larger_than_it_may_be(tmp_path: Path, size: int, batches: list[int]) -> None:
    *warm, _ = answered(tmp_path, {"a.txt": b"one"}, execution=Execution(warmup=("a.txt",)), batch_size=size)
    assert [len(batch) - 1 for batch in warm] == batches


@pytest.mark.parametrize(
    ("execution", "samples"),
    [(Execution(), 0), (Execution(hint="latency"), 2), (Execution(warmup=("x.txt",)), 1)],
)
def test_a_folder_of_samples_counts_where_execution_is_asked_for(
    tmp_path: Path, execution: Execution, samples: int
) -> None:
    files = {"warmup/a.txt": b"one", "warmup/b.txt": b"two", "warmup/.hidden": b"", "x.txt": b"three"}
    *warm, _ = answered(tmp_path, files, execution=execution)
    assert len(warm) == samples


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"fail", r"warm-up with a.txt, alone, failed: ValueError: no such thing"),
        (b"status", r"warm-up with a.txt, alone, failed: it was answered with 422"),
        (b"alone", r"warm-up with a.txt, in a batch of 2, failed: "),
    ],
)
def test_a_warm_up_that_fails_is_a_load_that_fails(tmp_path: Path, content: bytes, why: str) -> None:
    wanted = Execution(warmup=("a.txt",))
    with pytest.raises(WarmUpFailed, match=why):
        answered(tmp_path, {"a.txt": content}, execution=wanted, batch_size=2, split_failed_batches=False)


#: Has a model that it does not use, or uses with gradients.
UNUSED = """
import torch

class Handler:
    def initialize(self, context):
        self.model = torch.nn.Conv2d(1, 1, 1)
        self.other = torch.nn.Conv2d(1, 1, 1)

    def handle(self, data, context):
        return self.%s(torch.zeros(len(data), 1, 1, 1)).flatten().tolist()
"""


@pytest.mark.parametrize(
    ("used", "why"), [("model", "with gradients"), ("other", "no sample came through the handler's Conv2d")]
)
def test_a_variant_that_serves_nobody_is_refused(tmp_path: Path, used: str, why: str) -> None:
    (tmp_path / "unused.py").write_text(UNUSED % used)
    (tmp_path / "a.txt").write_text("one")
    wanted = Execution(memory_format="channels_last", warmup=("a.txt",))
    with pytest.raises(NotRunnable, match=why):
        run_handler(tmp_path / "unused.py", [b"x"], execution=wanted)


def test_a_worker_says_how_it_warmed_up_and_what_was_recorded_meanwhile_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    worker = Worker(tmp_path, SEES, execution=Execution(warmup=("a.txt",)))
    try:
        assert isinstance(worker.loaded, Loaded)
        warm = worker.loaded.execution["warmup"]
        assert (warm["samples"], warm["batches"]) == (1, [1, 2, 8])
        assert 0 <= warm["seconds"] <= worker.loaded.seconds
        worker.send(encode_batch(1, [request(b"x")]))
        _, recorded, _ = worker.answer()
        assert [sample.name for sample in recorded if sample.name in ("Loaded", "Asked")] == [
            "Loaded",
            "Asked",
        ]
        assert worker.stop() == 0
    finally:
        worker.close()


def test_a_worker_that_cannot_warm_up_says_why_and_ends(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("fail")
    worker = Worker(tmp_path, SEES, execution=Execution(warmup=("a.txt",)))
    try:
        assert isinstance(worker.loaded, LoadFailed)
        why = "WarmUpFailed: warm-up with a.txt, alone, failed: ValueError: no such thing"
        assert worker.loaded.cause.startswith(why)
        assert worker.process.wait(60) == EXIT_LOAD_FAILED
    finally:
        worker.close()
