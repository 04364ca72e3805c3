"""What the clients' scripts share. It runs in their own environments: NumPy and Pillow, nothing of ours."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

#: The arguments of every script: the base URLs of the inference and the management API, the folder with the
#: pictures, the name of a model that is not ready.
BASE, MANAGE, PICTURES, IDLE = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]
DIGITS = range(10)
#: A model that no server has.
UNKNOWN = "unknown"


def picture(digit: int) -> bytes:
    """A digit's PNG."""
    return (PICTURES / f"{digit}.png").read_bytes()


def text(digit: int) -> str:
    """The PNG as base64, the form that it has in JSON."""
    return base64.b64encode(picture(digit)).decode()


def pixels(digit: int) -> np.ndarray[Any, Any]:
    """A digit as the network takes it: float32 [1, 28, 28], normalised as MNIST's examples do."""
    with Image.open(PICTURES / f"{digit}.png") as image:
        grey = np.asarray(image.convert("L"), np.float32) / 255
    return ((grey - 0.1307) / 0.3081)[None].astype(np.float32)


def lineage(error: BaseException) -> Iterator[str]:
    """The names of an error's classes, so that a test can tell the client's own from any other."""
    return (f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__)
