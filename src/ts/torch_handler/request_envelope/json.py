"""The envelope `json`; see torchkeeper.envelope.instances."""

from torchkeeper.envelope.instances import JSONEnvelope as JSONEnvelope

__all__ = ["JSONEnvelope"]
