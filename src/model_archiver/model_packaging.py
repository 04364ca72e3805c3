"""See torchkeeper.archive.archiver and .export_utils."""

from torchkeeper.archive.archiver import ArgParser as ArgParser
from torchkeeper.archive.archiver import ModelArchiverConfig as ModelArchiverConfig
from torchkeeper.archive.archiver import ModelArchiverError as ModelArchiverError
from torchkeeper.archive.archiver import generate_model_archive as generate_model_archive
from torchkeeper.archive.archiver import package_model as package_model
from torchkeeper.archive.export_utils import ModelExportUtils as ModelExportUtils

__all__ = [
    "ArgParser",
    "ModelArchiverConfig",
    "ModelArchiverError",
    "ModelExportUtils",
    "generate_model_archive",
    "package_model",
]

if __name__ == "__main__":
    generate_model_archive()
