"""How large a picture may be that a worker decodes: judged by what its header says, before memory is spent.

It holds for all of Pillow in the process, so also where a handler calls `Image.open` itself. A handler that
sets `Image.MAX_IMAGE_PIXELS` has Pillow's own rule of that number.
"""

from __future__ import annotations

from typing import Any

from PIL import Image, PngImagePlugin

#: Bytes of a PNG's texts in all. Pillow's own bound, 64 MiB, takes half a second of inflating to reach.
TEXT_MEMORY = 4 << 20
#: Pillow asks this of every size that a header says, of frames, tiles and pictures inside others, too.
_pillow_check = Image._decompression_bomb_check


def bound_pixels(limit: int) -> None:
    """Makes Pillow refuse a picture of more than `limit` pixels: with an error, where it only warns."""

    def check(size: tuple[int, int], **options: Any) -> None:
        pixels = max(1, size[0]) * max(1, size[1])
        if pixels > limit == Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError(
                f"the picture has {pixels} pixels, more than the {limit} of max_image_pixels"
            )
        _pillow_check(size, **options)

    Image.MAX_IMAGE_PIXELS = limit
    Image._decompression_bomb_check = check
    PngImagePlugin.MAX_TEXT_MEMORY = TEXT_MEMORY
