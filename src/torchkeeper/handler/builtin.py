"""The built-in handlers by name, as an archive's manifest may call for them.

A table of import paths and nothing heavy: only the handler that a model names is imported. Names of
TorchServe's that have no handler here yet lead to a class that says so when a model loads.
"""

from __future__ import annotations

from typing import Any


class NotYet:
    """Stands for a built-in handler that does not exist yet: loading it fails with its name."""

    name = ""

    def initialize(self, context: Any) -> None:
        """Raises NotImplementedError, which becomes the model's load failure."""
        raise NotImplementedError(
            f"the built-in handler {self.name!r} does not exist yet; archive a handler file of your own, "
            f"or use one of {', '.join(sorted(READY))}"
        )

    def handle(self, data: Any, context: Any) -> Any:
        """Never reached: the model does not load."""
        raise NotImplementedError(self.name)


class ImageSegmenter(NotYet):
    """Segmentation maps of images."""

    name = "image_segmenter"


class ObjectDetector(NotYet):
    """Boxes around the things in images."""

    name = "object_detector"


class TextClassifier(NotYet):
    """Classes of texts."""

    name = "text_classifier"


class TextHandler(NotYet):
    """Base of handlers for texts."""

    name = "text_handler"


#: Name -> "module:Class" of the handlers that exist.
READY: dict[str, str] = {
    "base_handler": "torchkeeper.handler.base:BaseHandler",
    "vision_handler": "torchkeeper.handler.vision:VisionHandler",
    "image_classifier": "torchkeeper.handler.vision:ImageClassifier",
}

#: Name in a manifest -> "module:Class".
BUILTIN: dict[str, str] = READY | {
    later.name: f"{__name__}:{later.__name__}"
    for later in (ImageSegmenter, ObjectDetector, TextClassifier, TextHandler)
}
