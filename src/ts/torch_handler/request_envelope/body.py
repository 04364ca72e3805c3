"""The envelope `body`; see torchkeeper.envelope.envelope."""

from torchkeeper.envelope.envelope import BodyEnvelope as BodyEnvelope

__all__ = ["BodyEnvelope"]
