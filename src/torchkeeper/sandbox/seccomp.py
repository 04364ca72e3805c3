"""A filter of system calls (seccomp) as bytes, and its installation.

A list of what is denied, not of what is allowed: what torch, drivers and libraries call is not known in
advance, what no model needs is. Source: `seccomp(2)`, the kernel's `include/uapi/linux/{filter,seccomp}.h`,
and its tables of system calls.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from torchkeeper.sandbox.kernel import PR_SET_SECCOMP, prctl

_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
# Instructions of classic BPF: load a word, jump if equal, if at least, if any of these bits, mask, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
# Where they lie in `struct seccomp_data`; of arguments the lower half, for both machines are little-endian.
_NUMBER, _MACHINE, _FIRST, _SECOND = 0, 4, 16, 24
#: The other numbers of x86_64 (x32).
_X32 = 0x40000000
#: The bits of a socket's type that are its type, and types that see or make packets of others.
_TYPE, _RAW, _PACKET = 0xF, 3, 10
#: New namespaces, as `clone` takes them: of mounts, cgroups, names, IPC, users, processes, network.
_NAMESPACES = 0x7E020000


@dataclass(frozen=True)
class Machine:
    """What an architecture calls itself in `struct seccomp_data`, and its numbers of system calls."""

    audit: int
    socket: int
    clone: int
    clone3: int
    prlimit: int
    io_uring: tuple[int, ...]
    #: What no model needs, by name.
    denied: dict[str, int]
    #: What changes modes, owners and times of files.
    passed_over: dict[str, int]
    #: And their attributes.
    unsupported: dict[str, int]


# The same on both.
_SHARED = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "open_tree_attr": 467,
}
_ATTRIBUTES = {"setxattrat": 463, "removexattrat": 466, "file_setattr": 469}
MACHINES = {
    "x86_64": Machine(
        0xC000003E,
        *(41, 56, 435, 302),
        (425, 426, 427),
        {
            "ptrace": 101,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "kcmp": 312,
            "mount": 165,
            "umount2": 166,
            "pivot_root": 155,
            "chroot": 161,
            "unshare": 272,
            "setns": 308,
            "bpf": 321,
            "perf_event_open": 298,
            "userfaultfd": 323,
            "add_key": 248,
            "request_key": 249,
            "keyctl": 250,
            "kexec_load": 246,
            "kexec_file_load": 320,
            "reboot": 169,
            "init_module": 175,
            "finit_module": 313,
            "delete_module": 176,
            "create_module": 174,
            "swapon": 167,
            "swapoff": 168,
            "acct": 163,
            "quotactl": 179,
            "syslog": 103,
            "vhangup": 153,
            "settimeofday": 164,
            "clock_settime": 227,
            "clock_adjtime": 305,
            "adjtimex": 159,
            "sethostname": 170,
            "setdomainname": 171,
            "iopl": 172,
            "ioperm": 173,
            "modify_ldt": 154,
            "name_to_handle_at": 303,
            "open_by_handle_at": 304,
            "lookup_dcookie": 212,
            "nfsservctl": 180,
            **_SHARED,
        },
        {
            "chmod": 90,
            "fchmod": 91,
            "fchmodat": 268,
            "fchmodat2": 452,
            "chown": 92,
            "fchown": 93,
            "lchown": 94,
            "fchownat": 260,
            "utime": 132,
            "utimes": 235,
            "futimesat": 261,
            "utimensat": 280,
        },
        {
            "setxattr": 188,
            "lsetxattr": 189,
            "fsetxattr": 190,
            "removexattr": 197,
            "lremovexattr": 198,
            "fremovexattr": 199,
            **_ATTRIBUTES,
        },
    ),
    "aarch64": Machine(
        0xC00000B7,
        *(198, 220, 435, 261),
        (425, 426, 427),
        {
            "ptrace": 117,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "kcmp": 272,
            "mount": 40,
            "umount2": 39,
            "pivot_root": 41,
            "chroot": 51,
            "unshare": 97,
            "setns": 268,
            "bpf": 280,
            "perf_event_open": 241,
            "userfaultfd": 282,
            "add_key": 217,
            "request_key": 218,
            "keyctl": 219,
            "kexec_load": 104,
            "kexec_file_load": 294,
            "reboot": 142,
            "init_module": 105,
            "finit_module": 273,
            "delete_module": 106,
            "swapon": 224,
            "swapoff": 225,
            "acct": 89,
            "quotactl": 60,
            "syslog": 116,
            "vhangup": 58,
            "settimeofday": 170,
            "clock_settime": 112,
            "clock_adjtime": 266,
            "adjtimex": 171,
            "sethostname": 161,
            "setdomainname": 162,
            "name_to_handle_at": 264,
            "open_by_handle_at": 265,
            "lookup_dcookie": 18,
            "nfsservctl": 42,
            **_SHARED,
        },
        {"fchmod": 52, "fchmodat": 53, "fchmodat2": 452, "fchownat": 54, "fchown": 55, "utimensat": 88},
        {
            "setxattr": 5,
            "lsetxattr": 6,
            "fsetxattr": 7,
            "removexattr": 14,
            "lremovexattr": 15,
            "fremovexattr": 16,
            **_ATTRIBUTES,
        },
    ),
}


def _step(code: int, operand: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, operand)


def _deny(error: int = errno.EPERM) -> bytes:
    return _step(_RETURN, _ERRNO | error)


def _if_equal(value: int, *steps: bytes) -> bytes:
    """Runs the steps if what was loaded is the value."""
    return _step(_EQUAL, value, 0, len(steps)) + b"".join(steps)


def program(machine: Machine, families: Iterable[int], *, deny: bool) -> bytes:
    """The instructions of a filter.

    Args:
        machine: whose system calls.
        families: the families of sockets that can be made; packets of others cannot be had by any.
        deny: whether all that no model needs is denied, and not only what leads around the rule on sockets;
            what changes files' modes, owners and times then does nothing.
    """
    allow = _step(_RETURN, _ALLOW)
    steps = [
        _step(_LOAD, _MACHINE),
        # Another architecture's calls have other numbers: whoever could make them would pass by.
        _step(_EQUAL, machine.audit, 1, 0),
        _deny(),
        _step(_LOAD, _NUMBER),
    ]
    if machine is MACHINES["x86_64"]:
        steps += [_step(_AT_LEAST, _X32, 0, 1), _deny()]
    denied = (*machine.io_uring, *(machine.denied.values() if deny else ()))
    steps += [_if_equal(number, _deny()) for number in denied]
    if deny:
        # Landlock does not ask whose file it is whose mode changes. Copying sets modes and times, and goes on
        # where they stay as they were, but not where that is an error.
        steps += [_if_equal(number, _deny(0)) for number in machine.passed_over.values()]
        steps += [_if_equal(number, _deny(errno.EOPNOTSUPP)) for number in machine.unsupported.values()]
        # Its arguments lie in memory, where no filter looks; whoever finds it missing takes `clone`.
        steps.append(_if_equal(machine.clone3, _deny(errno.ENOSYS)))
        flags = (_step(_LOAD, _FIRST), _step(_ANY, _NAMESPACES, 0, 1), _deny(), allow)
        steps.append(_if_equal(machine.clone, *flags))
        # Other processes' limits: one's own are those of process 0.
        own = (_step(_LOAD, _FIRST), _step(_EQUAL, 0, 1, 0), _deny(), allow)
        steps.append(_if_equal(machine.prlimit, *own))
    kind = (
        *(_step(_LOAD, _SECOND), _step(_AND, _TYPE)),
        *(_step(_EQUAL, _RAW, 0, 1), _deny(errno.EACCES), _step(_EQUAL, _PACKET, 0, 1)),
        *(_deny(errno.EACCES), allow),
    )
    wanted = [_step(_LOAD, _FIRST)]
    wanted += [_step(_EQUAL, int(family), 0, len(kind)) + b"".join(kind) for family in families]
    wanted.append(_deny(errno.EACCES))
    inner = b"".join(wanted)
    steps.append(_step(_EQUAL, machine.socket, 0, len(inner) // 8) + inner)
    return b"".join((*steps, allow))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(instructions: bytes) -> None:
    """Puts a filter on the calling thread, and on those that it begins from now on. Needs `no_new_privs`.

    Raises:
        OSError: the kernel refuses it.
    """
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    given = _Program(len(instructions) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    prctl(PR_SET_SECCOMP, _MODE_FILTER, given)
