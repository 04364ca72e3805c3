"""The built-in segmenter: what each pixel of a picture belongs to.

For models with the output of torchvision's segmenters: a dict whose `out` holds logits (N, classes, H, W).
Source: TorchServe's `image_segmenter`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional

from torchkeeper.handler.timing import timed
from torchkeeper.handler.vision import IMAGENET_PROCESSING, VisionHandler


class ImageSegmenter(VisionHandler):
    """Names the most probable class of each pixel of a picture's middle (224 x 224)."""

    image_processing = IMAGENET_PROCESSING

    @timed
    def postprocess(self, data: Any) -> Any:
        """Per request nested lists (H, W, 2): the class's number and its probability, both as floats.

        Args:
            data: the model's dict with `out`, or the logits themselves.
        """
        logits = data["out"] if isinstance(data, Mapping) else data
        best = torch.nn.functional.softmax(logits, dim=1).max(dim=1)
        return torch.stack([best.indices.to(best.values.dtype), best.values], dim=3).tolist()
