"""Pictures for the tests of examples, and what networks for ImageNet see of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import torch
from PIL import Image

from servers import Server


def png(seed: int, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> bytes:
    """A picture of large coloured squares, others for each seed."""
    channels = (3,) if mode == "RGB" else ()
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, *channels), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


def imagenet(picture: bytes) -> torch.Tensor:
    """What ImageNet's networks see of a square picture: the middle 224 of 256 pixels, normalised."""
    image = Image.open(io.BytesIO(picture)).resize((256, 256), Image.Resampling.BILINEAR)
    pixels = np.asarray(image.crop((16, 16, 240, 240)), dtype=np.float32) / 255
    normalised = (pixels - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    return torch.from_numpy(normalised.transpose(2, 0, 1)).float()


def unscaled(picture: bytes) -> torch.Tensor:
    """What detectors see of a picture: all of it, as floats in 0..1."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)), dtype=np.float32) / 255
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def digit(picture: bytes) -> torch.Tensor:
    """What the digits' network sees of a grey picture, as a batch of one."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)), dtype=np.float32) / 255
    return torch.from_numpy((pixels - 0.1307) / 0.3081)[None, None]


def at_once(server: Server, path: str, bodies: Sequence[bytes]) -> list[httpx.Response]:
    """The answers to bodies that are sent side by side, as `curl -T file &` sends them."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda body: server.client.put(path, content=body), bodies))
