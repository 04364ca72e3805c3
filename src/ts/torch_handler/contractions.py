"""English contractions; see torchkeeper.handler.contractions."""

from torchkeeper.handler.contractions import CONTRACTION_MAP as CONTRACTION_MAP

__all__ = ["CONTRACTION_MAP"]
