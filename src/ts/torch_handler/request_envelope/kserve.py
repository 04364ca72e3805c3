"""The envelope `kserve`; see torchkeeper.envelope.instances."""

from torchkeeper.envelope.envelope import BaseEnvelope as BaseEnvelope
from torchkeeper.envelope.instances import KServeEnvelope as KServeEnvelope

__all__ = ["BaseEnvelope", "KServeEnvelope"]
