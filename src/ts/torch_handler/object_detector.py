"""The detector of things in images; see torchkeeper.handler.detection."""

from torchkeeper.handler.detection import ObjectDetector as ObjectDetector

__all__ = ["ObjectDetector"]
