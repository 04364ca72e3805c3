"""Batches cut into small ones; see torchkeeper.handler.micro_batching."""

from torchkeeper.handler import left_out as _left_out
from torchkeeper.handler.abilities import PROFILER_AVAILABLE as PROFILER_AVAILABLE
from torchkeeper.handler.micro_batching import HANDLER_METHODS as HANDLER_METHODS
from torchkeeper.handler.micro_batching import MicroBatching as MicroBatching

__getattr__ = _left_out.refusing(__name__)

__all__ = ["HANDLER_METHODS", "PROFILER_AVAILABLE", "MicroBatching"]
