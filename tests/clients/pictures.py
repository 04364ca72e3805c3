"""The example's ten digits in every form that clients send. Needs NumPy and Pillow, nothing of ours."""

from __future__ import annotations

import base64
import functools
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PICTURES = Path(__file__).parents[2] / "examples" / "image_classifier" / "mnist" / "test_data"
DIGITS = range(10)


def picture(digit: int) -> bytes:
    """A digit's PNG."""
    return (PICTURES / f"{digit}.png").read_bytes()


def text(digit: int) -> str:
    """The PNG as base64, the form that it has in JSON."""
    return base64.b64encode(picture(digit)).decode()


@functools.cache
def pixels(digit: int) -> np.ndarray[Any, Any]:
    """A digit as the network takes it: float32 [1, 28, 28], normalised as MNIST's examples do."""
    with Image.open(PICTURES / f"{digit}.png") as image:
        grey = np.asarray(image.convert("L"), np.float32) / 255
    return ((grey - 0.1307) / 0.3081)[None].astype(np.float32)
