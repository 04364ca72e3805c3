"""The envelope `kservev2`; see torchkeeper.envelope.kservev2."""

from torchkeeper.envelope.kservev2 import KServev2Envelope as KServev2Envelope

__all__ = ["KServev2Envelope"]
