"""What each level of the sandbox means: its environment, its paths, its sockets, its capabilities. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from torchkeeper.sandbox.rights import DEVICE, EVERY, OWN, READ, USE, FileAccess, Ruleset
from torchkeeper.wire.messages import Sandbox

#: What of the server's environment a strict worker has; HOME and TMPDIR are its own folder.
ENVIRONMENT = (
    *("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES"),
)
FOLDERS = ("HOME", "TMPDIR")
#: Folders that are no home of a Python alone.
_SHARED_PREFIXES = ("/", "/usr", "/usr/local")
_LIBRARIES = (
    *(
        "/lib",
        "/lib32",
        "/lib64",
        "/usr/lib",
        "/usr/lib32",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/local/lib64",
    ),
    *("/usr/libexec", "/usr/local/cuda", "/opt/rocm"),
)
#: What libraries read to know the machine, names, certificates and time zones: nothing of it is secret.
_KNOWLEDGE = (
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload"),
    *("/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo", "/usr/share/locale", "/etc/locale.alias"),
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls", "/etc/pki/ca-trust", "/etc/ca-certificates"),
    *("/usr/share/ca-certificates", "/usr/local/share/ca-certificates"),
    *("/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf", "/etc/host.conf"),
    *("/etc/gai.conf", "/etc/services", "/etc/protocols", "/etc/mime.types", "/etc/os-release"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/uptime", "/proc/version"),
    *("/proc/filesystems", "/proc/sys/vm", "/proc/sys/kernel/osrelease", "/sys/devices/system"),
    "/sys/fs/cgroup",
)
#: Its own entry in /proc; `confine` keeps it open, for a rule holds as long as what it was made for.
PROCESS = "/proc/self"
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
#: What drivers of GPUs read beside their devices.
_GPU_KNOWLEDGE = (
    "/proc/driver/nvidia",
    "/proc/devices",
    "/sys/bus/pci/devices",
    "/sys/devices",
    "/sys/class",
)
#: The names of GPUs' devices, as patterns.
GPU_DEVICES = ("/dev/nvidia*", "/dev/nvidia-caps", "/dev/dri", "/dev/kfd", "/dev/dxg")
#: Capabilities by which root uses files of others, pins memory and moves threads: what a handler under root
#: may count on. CAP_CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, IPC_LOCK, SYS_NICE.
ORDINARY = (0, 1, 2, 3, 4, 14, 23)
#: Families of sockets, by Linux's numbers; the last one's answers tell which addresses this machine has.
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16


@dataclass(frozen=True)
class Interpreter:
    """Where the Python lies that a worker runs under."""

    executable: str
    prefixes: tuple[str, ...]
    #: Folders of modules: what `sys.path` has, where the standard library is, and the server's own packages.
    paths: tuple[str, ...]
    #: Other folders of shared libraries, from LD_LIBRARY_PATH.
    libraries: tuple[str, ...] = ()
    #: The devices of GPUs that there are.
    gpu_devices: tuple[str, ...] = ()


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of an environment a strict worker is started with."""
    return {name: environ[name] for name in ENVIRONMENT if name in environ}


def families(sandbox: Sandbox) -> tuple[int, ...] | None:
    """The families of sockets that can be made; None: any, and no filter is needed for that."""
    strict = sandbox.level == "strict"
    if not sandbox.network:
        # One of the file system's can lead to a program outside, and no rule on files keeps it from that.
        return () if strict else (_UNIX,)
    return (_UNIX, _INET, _INET6, _NETLINK) if strict else None


def capabilities(sandbox: Sandbox) -> tuple[int, ...]:
    """Those that are kept, where there are any."""
    return () if sandbox.level == "strict" or sandbox.user is not None else ORDINARY


def ruleset(sandbox: Sandbox, interpreter: Interpreter) -> Ruleset:
    """What Landlock is told.

    By default files stay as they were: the ruleset is there for what any ruleset does, and its rule gives
    back what any ruleset takes.
    """
    if sandbox.level != "strict":
        return Ruleset(FileAccess.REFER, (("/", FileAccess.REFER),), sandbox.network)
    python = [path for path in interpreter.prefixes if path not in _SHARED_PREFIXES]
    python += [*interpreter.paths, *interpreter.libraries]
    used = [path for path in python if not holds(path, sandbox.own)]
    rules = [(path, USE) for path in (*used, interpreter.executable, *_LIBRARIES)]
    rules += [(path, READ) for path in (sandbox.model_dir, *_KNOWLEDGE, PROCESS)]
    rules += [(path, DEVICE) for path in _DEVICES]
    if sandbox.gpu:
        rules += [(path, READ) for path in _GPU_KNOWLEDGE]
        rules += [(path, DEVICE | READ) for path in interpreter.gpu_devices]
    rules.append((sandbox.scratch, OWN))
    return Ruleset(EVERY, tuple(dict.fromkeys(rules)), sandbox.network)


def holds(folder: str, files: Iterable[str]) -> bool:
    """Whether one of these lies in the folder, or is it."""
    return any(PurePosixPath(file).is_relative_to(folder) for file in files)
