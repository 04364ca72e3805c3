"""The classifier of images; see torchkeeper.handler.vision."""

from torchkeeper.handler.labels import map_class_to_label as map_class_to_label
from torchkeeper.handler.timing import timed as timed
from torchkeeper.handler.vision import ImageClassifier as ImageClassifier
from torchkeeper.handler.vision import VisionHandler as VisionHandler

__all__ = ["ImageClassifier", "VisionHandler", "map_class_to_label", "timed"]
