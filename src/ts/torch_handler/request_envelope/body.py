"""The envelope `body`; see torchkeeper.handler.envelope."""

from torchkeeper.handler.envelope import BodyEnvelope as BodyEnvelope

__all__ = ["BodyEnvelope"]
