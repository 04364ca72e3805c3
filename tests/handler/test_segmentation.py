"""The built-in segmenter, on a model with the output of torchvision's."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from torchkeeper.handler.segmentation import ImageSegmenter
from torchkeeper.testing import MockContext, Request, run_handler
from torchkeeper.wire.messages import Failure, Kind, Reply

MODEL = {"modelFile": "net.py", "serializedFile": "net.pth"}
SEGMENTER = """
from collections import OrderedDict

import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 5, 1)

    def forward(self, x):
        logits = self.conv(x)
        return OrderedDict(out=logits, aux=logits * 0)
"""


def picture(seed: int, mode: str = "RGB") -> bytes:
    pixels = np.random.RandomState(seed).randint(0, 256, (40, 50, 3), dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(target, "png")
    return target.getvalue()


@pytest.mark.slow
def test_each_pixel_has_its_class_and_probability(
    net_dir: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = net_dir(SEGMENTER)
    requests: list[Request] = [picture(1), b"no picture", picture(2, "RGBA")]
    first, bad, second = run_handler("image_segmenter", requests, model=MODEL, model_dir=folder)
    assert isinstance(bad, Failure)
    assert not caplog.text, "a segmenter names no classes"
    handler = ImageSegmenter()
    handler.initialize(MockContext("net.pth", folder, "net.py"))
    batch = handler.preprocess([picture(1), picture(2)])
    assert batch.shape == (2, 3, 224, 224)
    with torch.inference_mode():
        expected = handler.model(batch)["out"].softmax(1)
    for answer, shares in zip((first, second), expected, strict=True):
        assert isinstance(answer, Reply)
        pixels = torch.tensor(json.loads(answer.body))
        assert pixels.shape == (224, 224, 2)
        assert pixels[..., 0].equal(shares.argmax(0).float())
        torch.testing.assert_close(pixels[..., 1], shares.max(0).values)


@pytest.mark.parametrize("wrapped", [True, False])
def test_numbers_are_written_as_torchserve_writes_them(wrapped: bool) -> None:
    logits = torch.tensor([[[[0.0, 9.0]], [[1.0, 0.0]]]])
    data: Any = {"out": logits} if wrapped else logits
    ((row,),) = ImageSegmenter().postprocess(data)
    assert row == [[1.0, pytest.approx(0.7310586)], [0.0, pytest.approx(0.9998766)]]
    assert isinstance(row[0][0], float)


def test_a_segmenter_is_not_explained(net_dir: Callable[[str], Path]) -> None:
    (answer,) = run_handler(
        "image_segmenter", [picture(1)], model=MODEL, model_dir=net_dir(SEGMENTER), kind=Kind.EXPLAIN
    )
    assert isinstance(answer, Failure)
    assert answer.status == 501
