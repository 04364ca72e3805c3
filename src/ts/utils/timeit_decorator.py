"""Timing of functions; see torchkeeper.handler.helpers."""

from torchkeeper.handler.helpers import timeit as timeit

__all__ = ["timeit"]
