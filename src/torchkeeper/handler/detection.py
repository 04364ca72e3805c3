"""The built-in detector: where in a picture which things are.

For models with the output of torchvision's detectors: a list with a dict of tensors per picture, `boxes`
(n, 4), `labels` (n) and `scores` (n). Source: TorchServe's `object_detector`.
"""

from __future__ import annotations

from typing import Any

from torchkeeper.handler.labels import map_class_to_label, names_classes
from torchkeeper.handler.timing import timed
from torchkeeper.handler.transforms import Compose, ToRGB, ToTensor
from torchkeeper.handler.vision import VisionHandler


class ObjectDetector(VisionHandler):
    """Finds things in a picture: those with a score of `threshold` or above."""

    threshold = 0.5
    #: Detectors scale and normalise pictures themselves.
    image_processing = Compose([ToRGB(), ToTensor()])

    @names_classes
    @timed
    def postprocess(self, data: Any) -> Any:
        """Per request a list of {label: [x1, y1, x2, y2], "score": score}."""
        return [self._things(found) for found in data]

    def _things(self, found: Any) -> list[dict[str, Any]]:
        kept = found["scores"] >= self.threshold
        boxes, classes, scores = (found[name][kept].tolist() for name in ("boxes", "labels", "scores"))
        labelled: Any = map_class_to_label(
            [[box] for box in boxes], self.mapping, [[number] for number in classes]
        )
        return [{**box, "score": score} for box, score in zip(labelled, scores, strict=True)]
