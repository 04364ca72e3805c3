"""The envelope `json`; see torchkeeper.handler.envelope."""

from torchkeeper.handler.envelope import JSONEnvelope as JSONEnvelope

__all__ = ["JSONEnvelope"]
