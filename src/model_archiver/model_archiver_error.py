"""See torchkeeper.archiver."""

from torchkeeper.archiver import ModelArchiverError as ModelArchiverError

__all__ = ["ModelArchiverError"]
