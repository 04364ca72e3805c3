"""Classes by name; see torchkeeper.handler.helpers."""

from torchkeeper.handler.helpers import import_class as import_class

__all__ = ["import_class"]
