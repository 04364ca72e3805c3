"""The base of handlers for images; see torchkeeper.handler.vision."""

from torchkeeper.handler.vision import VisionHandler as VisionHandler

__all__ = ["VisionHandler"]
