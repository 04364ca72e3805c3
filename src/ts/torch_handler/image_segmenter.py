"""The segmenter of images; see torchkeeper.handler.segmentation."""

from torchkeeper.handler.segmentation import ImageSegmenter as ImageSegmenter

__all__ = ["ImageSegmenter"]
