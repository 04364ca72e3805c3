"""See torchkeeper.archive.archiver."""

from torchkeeper.archive.archiver import ModelArchiver as ModelArchiver
from torchkeeper.archive.archiver import ModelArchiverConfig as ModelArchiverConfig
from torchkeeper.archive.archiver import generate_model_archive as generate_model_archive

__all__ = ["ModelArchiver", "ModelArchiverConfig", "generate_model_archive"]
