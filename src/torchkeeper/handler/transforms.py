"""Image transforms on Pillow and torch: PIL image in, tensor out, with torchvision's names and values.

Owns pixels only. The results equal torchvision's PIL path bit for bit (tests compare with recorded values),
so that a model sees here the numbers it was trained on, without torchvision's binary operators. No tensor is
made at import: processes that fork must run no torch operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps

#: PIL modes whose pixels are no bytes -> numpy type of a pixel.
_WIDE_PIXELS = {"I": np.int32, "I;16": np.int16, "F": np.float32}

#: The largest value of 16 bits.
_LARGEST = 0xFFFF
#: What a camera writes of a picture that was held upright.
_UPRIGHT = 1


class Compose:
    """One transform made of several, applied in order."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, img: Any) -> Any:
        for transform in self.transforms:
            img = transform(img)
        return img


class ToRGB:
    """A picture of any mode as its RGB picture of 8 bits a channel, turned as its EXIF data says.

    Transparency is dropped, as `convert("RGB")` drops it when models are trained.
    """

    def __call__(self, img: Image.Image) -> Image.Image:
        img = eight_bits(_upright(img))
        if img.mode == "P" and "transparency" in img.info:
            img = img.convert("RGBA")  # what Pillow wants of a palette with transparent colours
        return img if img.mode == "RGB" else img.convert("RGB")


def eight_bits(img: Image.Image) -> Image.Image:
    """A greyscale picture of 16 bits as one of 8, of which Pillow's own conversion keeps only the darkest.

    Raises:
        ValueError: its pixels are no whole numbers of 16 bits.
    """
    if not img.mode.startswith(("I", "F")):
        return img
    values = np.asarray(img)
    if img.mode == "F" or values.min(initial=0) < 0 or values.max(initial=0) > _LARGEST:
        raise ValueError(f"pixels of mode {img.mode} beyond 16 bits are no brightness of a picture")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _upright(img: Image.Image) -> Image.Image:
    try:
        turn = img.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
    except Exception:  # noqa: BLE001 - readers of broken EXIF data raise anything; the pixels are good
        return img
    return img if turn == _UPRIGHT else ImageOps.exif_transpose(img)


class ToTensor:
    """PIL image or array (H, W[, C]) to a tensor (C, H, W); bytes become floats in 0..1."""

    def __call__(self, pic: Image.Image | np.ndarray[Any, Any]) -> torch.Tensor:
        pixels = pic if isinstance(pic, np.ndarray) else _pixels(pic)
        if pixels.ndim not in (2, 3):
            raise ValueError(f"a picture has 2 or 3 dimensions, this one has {pixels.ndim}")
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        if tensor.dtype is torch.uint8:
            return tensor.to(torch.get_default_dtype()).div_(255)
        return tensor


def _pixels(pic: Image.Image) -> np.ndarray[Any, Any]:
    """A writable array (H, W[, C]) of the picture's pixels."""
    if not isinstance(pic, Image.Image):
        raise TypeError(f"expected a PIL image or a numpy array, not {type(pic).__name__}")
    pixels = np.array(pic, dtype=_WIDE_PIXELS.get(pic.mode, np.uint8))
    return pixels * np.uint8(255) if pic.mode == "1" else pixels


class Normalize:
    """(x - mean) / std per channel of a float tensor (..., C, H, W)."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        if any(value == 0 for value in std):
            raise ValueError(f"std must not be zero, it divides: {tuple(std)}")
        self.mean = mean
        self.std = std
        self.inplace = inplace

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():
            raise TypeError(f"Normalize needs a float tensor, not {tensor.dtype}; put ToTensor before it")
        if tensor.ndim < 3 or len(self.mean) not in (1, tensor.shape[-3]):
            raise ValueError(
                f"Normalize has {len(self.mean)} means, the tensor the shape {tuple(tensor.shape)}"
            )
        mean = torch.as_tensor(self.mean, dtype=tensor.dtype, device=tensor.device)
        std = torch.as_tensor(self.std, dtype=tensor.dtype, device=tensor.device)
        centred = tensor.sub_(mean[:, None, None]) if self.inplace else tensor - mean[:, None, None]
        return centred.div_(std[:, None, None])


class Resize:
    """Scales a PIL image, antialiased.

    Args:
        size: pixels of the shorter edge (the other keeps the proportions), or (height, width).
        interpolation: a PIL filter; bilinear unless given.
        max_size: longest allowed edge, for a single number as size.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        interpolation: Image.Resampling = Image.Resampling.BILINEAR,
        max_size: int | None = None,
    ) -> None:
        edges = [size] if isinstance(size, int) else list(size)
        if len(edges) not in (1, 2):
            raise ValueError(f"size must be one number or (height, width), not {size!r}")
        if max_size is not None and (len(edges) == 2 or max_size <= edges[0]):
            raise ValueError(f"max_size={max_size} needs a single number below it as size, not {size!r}")
        self.size = size
        self.interpolation = interpolation
        self.max_size = max_size
        self._edges = edges

    def __call__(self, img: Image.Image) -> Image.Image:
        height, width = self._target(img)
        if (width, height) == img.size:
            return img
        return img.resize((width, height), self.interpolation)

    def _target(self, img: Image.Image) -> tuple[int, int]:
        if len(self._edges) == 2:
            return self._edges[0], self._edges[1]
        width, height = img.size
        short, long = min(width, height), max(width, height)
        new_short = self._edges[0]
        new_long = int(new_short * long / short)
        if self.max_size is not None and new_long > self.max_size:
            new_short, new_long = int(self.max_size * new_short / new_long), self.max_size
        return (new_long, new_short) if width <= height else (new_short, new_long)


class CenterCrop:
    """The middle of a PIL image; what lies outside a smaller image is black.

    Args:
        size: pixels of both edges, or (height, width).
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        edges = [size] if isinstance(size, int) else list(size)
        if len(edges) not in (1, 2):
            raise ValueError(f"size must be one number or (height, width), not {size!r}")
        self.size = (edges[0], edges[-1])

    def __call__(self, img: Image.Image) -> Image.Image:
        img = self._grown(img)
        height, width = self.size
        top = round((img.height - height) / 2.0)
        left = round((img.width - width) / 2.0)
        return img.crop((left, top, left + width, top + height))

    def _grown(self, img: Image.Image) -> Image.Image:
        across, down = max(0, self.size[1] - img.width), max(0, self.size[0] - img.height)
        if not across and not down:
            return img
        border = (across // 2, down // 2, (across + 1) // 2, (down + 1) // 2)
        return ImageOps.expand(img, border=border, fill=0)
