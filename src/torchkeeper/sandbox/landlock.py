"""Landlock, by system calls: a process gives up rights to files, TCP and other processes, for good.

What a ruleset handles is denied unless a rule allows it; what it does not handle stays as it was. Any ruleset
makes the process a domain: processes outside can be neither traced nor read through /proc. Source: the
kernel's `Documentation/userspace-api/landlock.rst` and `include/uapi/linux/landlock.h`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import operator
import os
import stat
from collections.abc import Iterable
from enum import IntFlag

from torchkeeper.sandbox.kernel import syscall
from torchkeeper.sandbox.rights import EVERY, FileAccess, Ruleset

# The same on all architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1


class Net(IntFlag):
    """What can be done with TCP."""

    BIND = 1 << 0
    CONNECT = 1 << 1


class Scope(IntFlag):
    """What reaches processes outside."""

    ABSTRACT_SOCKETS = 1 << 0
    SIGNALS = 1 << 1


#: What the kernel's versions brought: a version's rights are its own and those of all before it.
_ACCESS = {
    1: FileAccess(FileAccess.REFER - 1),
    2: FileAccess.REFER,
    3: FileAccess.TRUNCATE,
    5: FileAccess.IOCTL_DEV,
}
TCP_SINCE, SCOPES_SINCE = 4, 6
#: Before it nothing could be moved between folders any more, whatever a ruleset allows.
LEAST_FOR_DEFAULT = 2
#: What a rule on something that is no folder can say.
_OF_FILES = (
    FileAccess.EXECUTE
    | FileAccess.WRITE_FILE
    | FileAccess.READ_FILE
    | FileAccess.TRUNCATE
    | FileAccess.IOCTL_DEV
)


class _Attributes(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The kernel's version of Landlock; 0: it has none, it is off, or a container's rules forbid to ask."""
    try:
        return syscall(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def rights(abi: int) -> FileAccess:
    """The rights to files that a version knows."""
    known = (access for since, access in _ACCESS.items() if since <= abi)
    return functools.reduce(operator.or_, known, FileAccess(0))


def restrict(ruleset: Ruleset, abi: int) -> None:
    """Confines the calling thread, and those that it begins from now on, as far as this version can.

    Paths that are not there, or that no rule can be about, allow nothing. Needs `no_new_privs`.

    Raises:
        OSError: the kernel refuses it.
    """
    handled = ruleset.handled & rights(abi)
    attributes = _Attributes(
        handled,
        Net.BIND | Net.CONNECT if abi >= TCP_SINCE and not ruleset.tcp else 0,
        Scope.ABSTRACT_SOCKETS | Scope.SIGNALS if abi >= SCOPES_SINCE else 0,
    )
    size = 24 if abi >= SCOPES_SINCE else 16 if abi >= TCP_SINCE else 8
    fd = syscall(_CREATE_RULESET, attributes, size, 0)
    try:
        for path, allowed in ruleset.beneath:
            with contextlib.suppress(OSError):
                _allow(fd, path, allowed & handled)
        syscall(_RESTRICT_SELF, fd, 0)
    finally:
        os.close(fd)


def _allow(fd: int, path: str, allowed: FileAccess) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            allowed &= _OF_FILES
        if allowed:
            syscall(_ADD_RULE, fd, _PATH_BENEATH, _Beneath(allowed, parent), 0)
    finally:
        os.close(parent)


def lacks(abi: int, *, files: bool, tcp: bool) -> Iterable[str]:
    """What a version cannot do of what is wanted, in sentences; for version 0 there is one."""
    if abi < (1 if files else LEAST_FOR_DEFAULT):
        what = "files, TCP and other processes" if files else "other processes and their memory"
        said = f"Landlock has version {abi}" if abi else "the kernel has no Landlock, or it is off"
        yield f"{said}: {what} are open to workers"
        return
    if files and abi < max(_ACCESS):
        said = ", ".join(access.name or "" for access in EVERY & ~rights(abi))
        yield f"Landlock has version {abi}: {said} of files is not limited"
    if not tcp and abi < TCP_SINCE:
        yield f"Landlock has version {abi}: TCP is not limited by it"
    if abi < SCOPES_SINCE:
        yield f"Landlock has version {abi}: signals to other processes are not limited"
