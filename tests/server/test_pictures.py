"""Built-in handlers for pictures on a real server: archives without code of their own, mixed batches."""

from __future__ import annotations

import base64
import io
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from conftest import BIN, Server  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

#: Weights and shapes of a classifier, a detector and a segmenter that see how red a picture is.
MODELS = {
    "image_classifier": "torch.stack([red, -red], 1).mean((2, 3))",
    "object_detector": """[
            {"boxes": torch.tensor([[0.0, 0.0, one.shape[1], one.shape[0]]]), "labels": torch.tensor([1]),
             "scores": one.mean().reshape(1)} for one in red]""",
    "image_segmenter": '{"out": torch.stack([red, -red], 1)}',
}
NET = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        assert x.shape[1] == 3
        red = x[:, 0] * self.weight
        return RESULT
"""
NAMES = {"0": "red", "1": "other"}
CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nmaxBatchDelay: 20000\nbatchPolicy: delay\n"


def picture(colour: tuple[int, ...], size: tuple[int, int] = (300, 260), mode: str = "RGB") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, colour).convert(mode).save(target, "png")
    return target.getvalue()


RED, RED_CLEAR, SMALL = picture((255, 0, 0)), picture((255, 0, 0), mode="RGBA"), picture((255, 0, 0), (9, 7))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with a model for each of MODELS, whose batches are full."""
    store = tmp_path / "model_store"
    store.mkdir()
    (tmp_path / "index_to_name.json").write_text(json.dumps(NAMES))
    (tmp_path / "model-config.yaml").write_text(CONFIG)
    torch.save({"weight": torch.ones(())}, tmp_path / "net.pth")
    for name, result in MODELS.items():
        (tmp_path / f"{name}_net.py").write_text(NET.replace("RESULT", result))
        subprocess.run(
            [
                BIN / "torch-model-archiver",
                *("--model-name", name, "--version", "1.0", "--export-path", store, "--handler", name),
                *("--model-file", tmp_path / f"{name}_net.py", "--serialized-file", tmp_path / "net.pth"),
                *("--extra-files", tmp_path / "index_to_name.json", "-c", tmp_path / "model-config.yaml"),
            ],
            check=True,
        )
    server = Server(tmp_path, tuple(f"{name}.mar" for name in MODELS), {})
    yield server
    server.stop()


def together(server: Server, path: str, bodies: list[bytes], kind: str = "image/png") -> list[Any]:
    """The answers to requests that share a batch."""
    headers = {"Content-Type": kind}
    with ThreadPoolExecutor(len(bodies)) as threads:
        return list(threads.map(lambda body: server.client.post(path, content=body, headers=headers), bodies))


def predictions(server: Server, model: str) -> list[Any]:
    """What a model says of three good pictures that share their batch with a bad one."""
    found = together(server, f"/predictions/{model}", [RED, RED_CLEAR, b"no picture", SMALL])
    assert [answer.status_code for answer in found] == [200, 200, 503, 200]
    assert found[2].json()["cause"] == "no picture that Pillow can read (10 bytes)"
    return [answer.json() for answer in found if answer.status_code == 200]


def test_pictures_of_every_kind_share_a_batch_and_bad_ones_fail_alone(server: Server) -> None:
    first, clear, small = predictions(server, "image_classifier")
    assert first == clear == small
    assert list(first) == ["red", "other"]

    first, clear, small = predictions(server, "object_detector")
    assert first == clear == [{"other": [0, 0, 300, 260], "score": 1.0}]
    assert small == [{"other": [0, 0, 9, 7], "score": 1.0}]

    for pixels in map(torch.tensor, predictions(server, "image_segmenter")):
        assert pixels.shape == (224, 224, 2)
        assert pixels[..., 0].eq(0).all()


def test_explanations_of_a_batch_name_the_range_of_a_target_outside(server: Server) -> None:
    data = base64.b64encode(RED).decode()
    bodies = [json.dumps({"data": data, "target": target}).encode() for target in (0, 1, 2, -1)]
    found = together(server, "/explanations/image_classifier", bodies, "application/json")
    assert [answer.status_code for answer in found] == [200, 200, 400, 200]
    assert found[2].json()["message"] == "target 2 is out of range: the model's classes are 0 to 1"
    red, other, last = (torch.tensor(found[place].json()) for place in (0, 1, 3))
    assert red.shape == (3, 224, 224)
    assert red[0].sum() > 0
    assert other.equal(-red)
    assert last.equal(other)
