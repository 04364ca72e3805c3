"""See torchkeeper.archive.manifest_draft."""

from torchkeeper.archive.manifest_draft import ModelDraft as Model

__all__ = ["Model"]
