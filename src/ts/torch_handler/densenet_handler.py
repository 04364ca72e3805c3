"""Tensors in, tensors out; see torchkeeper.handler.densenet."""

from torchkeeper.handler.densenet import DenseNetHandler as DenseNetHandler
from torchkeeper.handler.helpers import list_classes_from_module as list_classes_from_module

__all__ = ["DenseNetHandler", "list_classes_from_module"]
