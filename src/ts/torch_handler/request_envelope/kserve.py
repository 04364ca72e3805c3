"""The envelope `kserve`; see torchkeeper.handler.instances."""

from torchkeeper.handler.instances import KServeEnvelope as KServeEnvelope

__all__ = ["KServeEnvelope"]
