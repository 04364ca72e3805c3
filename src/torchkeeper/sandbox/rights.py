"""What can be done with files and folders, as Landlock names it, and what a process is told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag


class FileAccess(IntFlag):
    """What can be done with files and folders."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    #: Moving and linking between folders; denied by every ruleset that does not allow it.
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


EVERY = FileAccess(2 * FileAccess.IOCTL_DEV - 1)
READ = FileAccess.READ_FILE | FileAccess.READ_DIR
USE = READ | FileAccess.EXECUTE
#: All that a folder of one's own is for; no devices, and nothing is run there.
OWN = EVERY & ~(FileAccess.EXECUTE | FileAccess.MAKE_CHAR | FileAccess.MAKE_BLOCK | FileAccess.IOCTL_DEV)
DEVICE = FileAccess.READ_FILE | FileAccess.WRITE_FILE | FileAccess.IOCTL_DEV


@dataclass(frozen=True)
class Ruleset:
    """What a process may do from now on: what is handled, and what of it is allowed beneath which paths."""

    handled: FileAccess
    beneath: tuple[tuple[str, FileAccess], ...]
    tcp: bool = True
