"""The envelope `json`; see torchkeeper.handler.instances."""

from torchkeeper.handler.instances import JSONEnvelope as JSONEnvelope

__all__ = ["JSONEnvelope"]
