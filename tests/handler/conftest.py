"""A small real model on disk, eager and TorchScript, and a picture it can look at."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from torchkeeper.testing import MockContext

NET = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 3, 3)
        self.last = torch.nn.Linear(3, 4)

    def forward(self, x):
        return self.last(torch.tanh(self.conv(x)).mean((2, 3)))
"""

#: A handler in TorchServe's style, for digits of one channel.
HANDLER = """
from ts.torch_handler.image_classifier import ImageClassifier
from torchkeeper.handler.transforms import ToTensor


class Digits(ImageClassifier):
    image_processing = ToTensor()
    topk = 2
"""


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A folder with net.py, its weights net.pth, script.pt (the same model as TorchScript) and handler.py."""
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "handler.py").write_text(HANDLER)
    namespace: dict[str, Any] = {}
    exec(NET, namespace)
    torch.manual_seed(7)
    net = namespace["Net"]().eval()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    torch.jit.save(torch.jit.trace(net, torch.zeros(1, 1, 8, 8)), tmp_path / "script.pt")  # type: ignore[no-untyped-call]
    return tmp_path


@pytest.fixture
def context(model_dir: Path) -> MockContext:
    """A context for the eager model."""
    return MockContext("net.pth", model_dir, "net.py", gpu_id=None)


@pytest.fixture
def png() -> Callable[[int], bytes]:
    """Makes a grey PNG of 8 x 8 pixels from a seed."""

    def make(seed: int) -> bytes:
        pixels = np.random.RandomState(seed).randint(0, 256, (8, 8), dtype=np.uint8)
        target = io.BytesIO()
        Image.fromarray(pixels).save(target, "png")
        return target.getvalue()

    return make


@pytest.fixture
def net_dir(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a folder of net.py, with the source of a class Net, and its weights net.pth."""

    def make(source: str) -> Path:
        (tmp_path / "net.py").write_text(source)
        namespace: dict[str, Any] = {}
        exec(source, namespace)
        torch.manual_seed(7)
        torch.save(namespace["Net"]().state_dict(), tmp_path / "net.pth")
        return tmp_path

    return make
