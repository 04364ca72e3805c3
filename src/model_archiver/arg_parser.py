"""See torchkeeper.archive.archiver."""

from torchkeeper.archive.archiver import ArgParser as ArgParser

__all__ = ["ArgParser"]
