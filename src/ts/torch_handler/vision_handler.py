"""The base of handlers for images; see torchkeeper.handler.vision."""

from torchkeeper.handler.base import BaseHandler as BaseHandler
from torchkeeper.handler.timing import timed as timed
from torchkeeper.handler.vision import VisionHandler as VisionHandler

__all__ = ["BaseHandler", "VisionHandler", "timed"]
