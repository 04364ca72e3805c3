"""See torchkeeper.archive.export_utils."""

from torchkeeper.archive.archive import ENDINGS as archiving_options
from torchkeeper.archive.archiver import MODEL_HANDLERS as model_handlers
from torchkeeper.archive.archiver import ModelArchiverConfig as ModelArchiverConfig
from torchkeeper.archive.archiver import ModelArchiverError as ModelArchiverError
from torchkeeper.archive.export_utils import MANIFEST_FILE_NAME as MANIFEST_FILE_NAME
from torchkeeper.archive.export_utils import MAR_INF as MAR_INF
from torchkeeper.archive.export_utils import MODEL_ARCHIVE_VERSION as MODEL_ARCHIVE_VERSION
from torchkeeper.archive.export_utils import MODEL_SERVER_VERSION as MODEL_SERVER_VERSION
from torchkeeper.archive.export_utils import ModelExportUtils as ModelExportUtils
from torchkeeper.archive.manifest_draft import ManifestDraft as Manifest
from torchkeeper.archive.manifest_draft import ModelDraft as Model
from torchkeeper.archive.manifest_draft import RuntimeType as RuntimeType

__all__ = [
    "MANIFEST_FILE_NAME",
    "MAR_INF",
    "MODEL_ARCHIVE_VERSION",
    "MODEL_SERVER_VERSION",
    "Manifest",
    "Model",
    "ModelArchiverConfig",
    "ModelArchiverError",
    "ModelExportUtils",
    "RuntimeType",
    "archiving_options",
    "model_handlers",
]
