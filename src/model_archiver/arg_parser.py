"""See torchkeeper.archiver."""

from torchkeeper.archiver import ArgParser as ArgParser

__all__ = ["ArgParser"]
