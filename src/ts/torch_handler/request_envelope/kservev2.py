"""The envelope `kservev2`; see torchkeeper.envelope.kservev2."""

from torchkeeper.envelope.envelope import BaseEnvelope as BaseEnvelope
from torchkeeper.envelope.kservev2 import KServev2Envelope as KServev2Envelope

__all__ = ["BaseEnvelope", "KServev2Envelope"]
