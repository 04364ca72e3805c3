"""What a process gives up of its user's privileges: capabilities, the user itself, limits, new privileges.

Source: `capabilities(7)`, `prctl(2)`, `getrlimit(2)`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
from collections.abc import Iterable, Mapping
from pathlib import Path

from torchkeeper.sandbox.kernel import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    capset,
    prctl,
)
from torchkeeper.wire.messages import User

_VERSION_3 = 0x20080522
#: What a configured limit bounds.
LIMITS = {
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "as": resource.RLIMIT_AS,
    "fsize": resource.RLIMIT_FSIZE,
}


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    #: Effective, permitted and inheritable ones: the lower half of each, then the higher one.
    _fields_ = (("words", ctypes.c_uint32 * 6),)


def no_new_privileges() -> None:
    """What is executed from now on gets no more rights than this process has; for good."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def shrink_bounds(kept: Iterable[int]) -> bool:
    """Drops all other capabilities from what can ever be had again; False where that is not allowed."""
    kept = set(kept)
    for capability in range(64):
        if capability in kept:
            continue
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError as error:
            return error.errno == errno.EINVAL  # there are no more
    return True


def keep_capabilities(kept: Iterable[int]) -> None:
    """Gives up all other capabilities; of these it keeps what it has.

    Raises:
        OSError: the kernel refuses it.
    """
    with contextlib.suppress(OSError):  # kernels before 4.3 have none
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    mask = sum(1 << capability for capability in kept) & held_capabilities()
    low, high = mask & 0xFFFFFFFF, mask >> 32
    sets = _Sets((ctypes.c_uint32 * 6)(low, low, 0, high, high, 0))
    capset(_Header(_VERSION_3, 0), sets)


def status() -> Mapping[str, str]:
    """What the kernel says of this process; nothing where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def held_capabilities() -> int:
    """The capabilities that this process has or can take, as a mask; all of them where nobody says."""
    return int(status().get("CapPrm", "f" * 16), 16)


def become(user: User) -> None:
    """Becomes another user, with its groups and no way back.

    Raises:
        OSError: this process may not.
    """
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    # A process that was root cannot read its own files in /proc; this one has nothing of root's any more.
    prctl(PR_SET_DUMPABLE, 1)


def limit(limits: Mapping[str, int]) -> None:
    """Bounds what this process and its children may use, for good; no core is dumped.

    Args:
        limits: by the names of `ulimit`: nofile and nproc (a number), as and fsize (bytes).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, most in limits.items():
        kind = LIMITS[name]
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
