"""The envelope `kservev2`; see torchkeeper.handler.openinference."""

from torchkeeper.handler.openinference import KServev2Envelope as KServev2Envelope

__all__ = ["KServev2Envelope"]
