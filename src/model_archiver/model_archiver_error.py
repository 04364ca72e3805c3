"""See torchkeeper.archive.archiver."""

from torchkeeper.archive.archiver import ModelArchiverError as ModelArchiverError

__all__ = ["ModelArchiverError"]
