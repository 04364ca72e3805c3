"""The classifier of images; see torchkeeper.handler.vision."""

from torchkeeper.handler.vision import ImageClassifier as ImageClassifier

__all__ = ["ImageClassifier"]
