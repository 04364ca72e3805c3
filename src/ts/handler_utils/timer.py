"""Timing of a handler's steps; see torchkeeper.handler.timing."""

from torchkeeper.handler.timing import timed as timed

__all__ = ["timed"]
