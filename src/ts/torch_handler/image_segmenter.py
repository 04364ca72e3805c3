"""The segmenter of images; see torchkeeper.handler.segmentation."""

from torchkeeper.handler.segmentation import ImageSegmenter as ImageSegmenter
from torchkeeper.handler.vision import VisionHandler as VisionHandler

__all__ = ["ImageSegmenter", "VisionHandler"]
