"""The base of envelopes; see torchkeeper.envelope.envelope."""

from torchkeeper.envelope.envelope import BaseEnvelope as BaseEnvelope

__all__ = ["BaseEnvelope"]
