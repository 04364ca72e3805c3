"""Import names of TorchServe's model archiver; see torchkeeper.archive.archiver."""

from model_archiver.model_archiver import ModelArchiver as ModelArchiver
from model_archiver.model_archiver import ModelArchiverConfig as ModelArchiverConfig

__all__ = ["ModelArchiver", "ModelArchiverConfig"]
