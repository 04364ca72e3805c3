"""Pictures that are too large, on a real server: 413 for their own requests, and no memory of the worker."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from bombs import TOO_LARGE, bombs, png  # type: ignore[import-not-found]  # pytest finds it
from conftest import Start  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nmaxBatchDelay: 20000\nbatchPolicy: delay\n"
#: Names no model of its own: a channel's mean is all that it says.
BUILT_ON = """
import torch
from ts.torch_handler.vision_handler import VisionHandler
from torchkeeper.handler.transforms import ToTensor


class Means(VisionHandler):
    image_processing = ToTensor()

    def initialize(self, context):
        self.device = torch.device("cpu")

    def inference(self, data):
        return data.mean((1, 2, 3))

    def postprocess(self, data):
        return data.tolist()
"""
#: Knows nothing of torchkeeper, and does not want to hear warnings.
OWN = """
import io
import warnings

from PIL import Image

warnings.filterwarnings("ignore")


def handle(data, context):
    return data and [list(Image.open(io.BytesIO(row.get("body"))).convert("RGB").size) for row in data]
"""


def together(post: Any, bodies: list[bytes]) -> list[Any]:
    with ThreadPoolExecutor(len(bodies)) as threads:
        return list(threads.map(lambda body: post(content=body), bodies))


def peak(worker: psutil.Process) -> int:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


def test_a_bomb_fails_alone_in_its_batch(serve: Start) -> None:
    server = serve({"means": BUILT_ON}, CONFIG)
    good, bomb = png(8, 8), bombs()["png"][0]

    def post(content: bytes) -> Any:
        return server.client.post(
            "/predictions/means", content=content, headers={"Content-Type": "image/png"}
        )

    together(post, [good] * 4)
    (worker,) = server.workers()
    before = peak(worker)
    found = together(post, [good, bomb, good, bomb])
    assert [answer.status_code for answer in found] == [200, 413, 200, 413]
    assert [answer.json() for answer in found[::2]] == [0, 0]
    said = found[1].json()
    assert said["code"] == 413
    assert said["message"] == "the picture has 81000000 pixels, more than the 50000000 of max_image_pixels"
    assert peak(worker) - before < 50 << 20


def test_of_a_handlers_own_batch_only_those_fail(serve: Start) -> None:
    server = serve({"own": OWN}, CONFIG)
    good, bomb = png(8, 8), bombs()["gif"][0]
    found = together(
        lambda content: server.client.post("/predictions/own", content=content), [good, bomb, bomb, good]
    )
    assert [answer.status_code for answer in found] == [200, 413, 413, 200]
    assert [answer.json() for answer in found[::3]] == [[8, 8]] * 2


def test_every_picture_that_a_handler_opens_is_judged(serve: Start) -> None:
    server = serve({"own": OWN}, max_image_pixels=10_000)

    def ask(picture: bytes) -> Any:
        return server.client.post("/predictions/own", content=picture)

    assert ask(png(100, 100)).json() == [100, 100]
    (worker,) = server.workers()
    before = peak(worker)
    for name, (picture, said) in bombs().items():
        answer = ask(picture)
        assert answer.status_code == (413 if said == TOO_LARGE else 503), name
    assert peak(worker) - before < 50 << 20
    assert ask(png(101, 100)).json()["message"].endswith("more than the 10000 of max_image_pixels")
    assert ask(png(100, 100)).json() == [100, 100]
    assert server.workers() == [worker]


def test_without_the_limit_large_pictures_are_read(serve: Start) -> None:
    target = io.BytesIO()
    Image.new("1", (9000, 9000)).save(target, "png")
    server = serve({"own": OWN}, limit_max_image_pixels=False, max_image_pixels=10_000)
    assert server.client.post("/predictions/own", content=target.getvalue()).json() == [9000, 9000]
