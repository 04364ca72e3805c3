"""See torchkeeper.archive.manifest_draft."""

from model_archiver.version import __version__ as __version__
from torchkeeper.archive.manifest_draft import ManifestDraft as Manifest
from torchkeeper.archive.manifest_draft import RuntimeType as RuntimeType

__all__ = ["Manifest", "RuntimeType", "__version__"]
