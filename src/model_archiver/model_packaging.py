"""See torchkeeper.archive.archiver."""

from torchkeeper.archive.archiver import generate_model_archive as generate_model_archive

__all__ = ["generate_model_archive"]
