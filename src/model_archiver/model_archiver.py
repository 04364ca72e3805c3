"""See torchkeeper.archive.archiver."""

from torchkeeper.archive.archiver import ModelArchiver as ModelArchiver
from torchkeeper.archive.archiver import ModelArchiverConfig as ModelArchiverConfig

__all__ = ["ModelArchiver", "ModelArchiverConfig"]
