"""The envelope `kserve`; see torchkeeper.envelope.instances."""

from torchkeeper.envelope.instances import KServeEnvelope as KServeEnvelope

__all__ = ["KServeEnvelope"]
