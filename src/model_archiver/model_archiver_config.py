"""See torchkeeper.archive.archiver."""

from torchkeeper.archive.archiver import ModelArchiverConfig as ModelArchiverConfig
from torchkeeper.archive.manifest_draft import RuntimeType as RuntimeType

__all__ = ["ModelArchiverConfig", "RuntimeType"]
