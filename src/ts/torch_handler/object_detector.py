"""The detector of things in images; see torchkeeper.handler.detection."""

from torchkeeper.handler.detection import ObjectDetector as ObjectDetector
from torchkeeper.handler.labels import map_class_to_label as map_class_to_label
from torchkeeper.handler.vision import VisionHandler as VisionHandler

__all__ = ["ObjectDetector", "VisionHandler", "map_class_to_label"]
