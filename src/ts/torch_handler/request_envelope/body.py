"""The envelope `body`; see torchkeeper.envelope.envelope."""

from torchkeeper.envelope.envelope import BaseEnvelope as BaseEnvelope
from torchkeeper.envelope.envelope import BodyEnvelope as BodyEnvelope

__all__ = ["BaseEnvelope", "BodyEnvelope"]
