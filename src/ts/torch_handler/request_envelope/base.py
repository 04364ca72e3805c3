"""The base of envelopes; see torchkeeper.handler.envelope."""

from torchkeeper.handler.envelope import BaseEnvelope as BaseEnvelope

__all__ = ["BaseEnvelope"]
