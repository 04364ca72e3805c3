"""Import names of TorchServe's model archiver; see torchkeeper.archive.archiver."""

from model_archiver import version as version
from model_archiver.model_archiver import ModelArchiver as ModelArchiver
from model_archiver.model_archiver_config import ModelArchiverConfig as ModelArchiverConfig
from model_archiver.version import __version__ as __version__

__all__ = ["ModelArchiver", "ModelArchiverConfig", "__version__", "version"]
