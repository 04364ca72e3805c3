"""See torchkeeper.archiver."""

from torchkeeper.archiver import ModelArchiver as ModelArchiver
from torchkeeper.archiver import ModelArchiverConfig as ModelArchiverConfig

__all__ = ["ModelArchiver", "ModelArchiverConfig"]
