"""The envelope `json`; see torchkeeper.envelope.instances."""

from torchkeeper.envelope.envelope import BaseEnvelope as BaseEnvelope
from torchkeeper.envelope.instances import JSONEnvelope as JSONEnvelope

__all__ = ["BaseEnvelope", "JSONEnvelope"]
