"""See torchkeeper.archiver."""

from torchkeeper.archiver import generate_model_archive as generate_model_archive

__all__ = ["generate_model_archive"]
