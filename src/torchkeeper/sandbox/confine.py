"""The one function that confines a worker's process, and tells what is in force then.

It is called once, by the process's only thread, after the front's order and before anything of the model is
there: of what it gives up nothing comes back, also in forks. What the kernel does not have is left out and
told.
"""

from __future__ import annotations

import contextlib
import glob
import os
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from torchkeeper.sandbox import landlock, policy, privileges, seccomp
from torchkeeper.wire.messages import Confinement, Sandbox

#: The packages that workers are made of, however they are installed.
_OURS = ("torchkeeper", "ts")
#: Where this Python has its modules; looked up here, for it takes milliseconds that a fork spares.
_LIBRARY = tuple(
    path
    for name, path in sysconfig.get_paths().items()
    if name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def confine(sandbox: Sandbox) -> Confinement:
    """Confines this process for good.

    Raises:
        OSError: it cannot become the user that it was told to: it must not run as another one.
    """
    if sys.platform != "linux":
        return Confinement(sandbox.level, {}, (f"there is no sandbox on {sys.platform}: workers are free",))
    interpreter = _interpreter(sandbox)
    lacking: list[str] = []
    if (others := int(privileges.status().get("Threads", "1")) - 1) > 0:
        lacking.append(f"{others} threads had begun before the sandbox and are outside of it")

    def attempt(what: str, step: Callable[[], object]) -> bool:
        try:
            step()
        except OSError as error:
            lacking.append(f"{what}: {error.strerror}")
            return False
        return True

    privileges.shrink_bounds(kept := policy.capabilities(sandbox))
    attempt("limits are not set", lambda: privileges.limit(sandbox.limits))
    if sandbox.user is not None:
        privileges.become(sandbox.user)
        os.environ.update(HOME=sandbox.user.home, USER=sandbox.user.name, LOGNAME=sandbox.user.name)
    attempt("capabilities are kept", lambda: privileges.keep_capabilities(kept))
    if sandbox.level == "strict":
        _settle(sandbox.scratch)
    parts: dict[str, object] = {}
    if attempt("new privileges can be had", privileges.no_new_privileges):
        parts["landlock"] = _landlock(sandbox, interpreter, lacking, attempt)
        if _filter(sandbox, lacking, attempt) and not sandbox.network:
            parts["network"] = "none"
    return Confinement(sandbox.level, {**_told_by_the_kernel(sandbox), **parts}, tuple(lacking))


def separate(sandbox: Sandbox, found: Confinement | None) -> None:
    """Keeps a fork of a confined process, and what it starts, from that one's other forks.

    Args:
        sandbox: that one's.
        found: what is in force of it; None: nothing is.

    Raises:
        OSError: the kernel refuses it.
    """
    if found is not None and (abi := found.parts.get("landlock")):
        landlock.restrict(policy.ruleset(sandbox, _interpreter(sandbox)), int(abi))


def _landlock(
    sandbox: Sandbox,
    interpreter: policy.Interpreter,
    lacking: list[str],
    attempt: Callable[[str, Callable[[], object]], bool],
) -> int:
    """The version of Landlock that is in force; 0: none is."""
    strict, abi = sandbox.level == "strict", landlock.version()
    lacking += landlock.lacks(abi, files=strict, tcp=sandbox.network)
    if abi < (1 if strict else landlock.LEAST_FOR_DEFAULT):
        return 0
    if strict:
        with contextlib.suppress(OSError):  # where there is no /proc
            # Never closed: with it the entry stays the one that the rule is about.
            os.open(policy.PROCESS, os.O_PATH | os.O_CLOEXEC)
    rules = policy.ruleset(sandbox, interpreter)
    return abi if attempt("Landlock is not in force", lambda: landlock.restrict(rules, abi)) else 0


def _filter(
    sandbox: Sandbox, lacking: list[str], attempt: Callable[[str, Callable[[], object]], bool]
) -> bool:
    """Whether a filter of system calls is in force."""
    families = policy.families(sandbox)
    if families is None:
        return False
    machine = seccomp.MACHINES.get(os.uname().machine)
    if machine is None:
        lacking.append(f"system calls are not filtered on {os.uname().machine}")
        return False
    instructions = seccomp.program(machine, families, deny=sandbox.level == "strict")
    return attempt("system calls are not filtered", lambda: seccomp.install(instructions))


def _settle(scratch: str) -> None:
    """Its own folder is home, and the only one for temporary files; of the rest nothing is told any more."""
    for name in set(os.environ) - set(policy.ENVIRONMENT):
        del os.environ[name]
    os.environ.update(dict.fromkeys(policy.FOLDERS, scratch))
    tempfile.tempdir = None


def _interpreter(sandbox: Sandbox) -> policy.Interpreter:
    paths = [path for path in sys.path if os.path.isabs(path)]
    paths += [*_LIBRARY, *(str(folder) for folder in _own_packages())]
    return policy.Interpreter(
        os.path.realpath(sys.executable),
        tuple(dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix))),
        tuple(dict.fromkeys(paths)),
        tuple(filter(os.path.isabs, os.environ.get("LD_LIBRARY_PATH", "").split(":"))),
        tuple(path for pattern in policy.GPU_DEVICES for path in glob.glob(pattern)) if sandbox.gpu else (),
    )


def _own_packages() -> Iterator[Path]:
    source = Path(__file__).resolve().parents[2]
    return (source / name for name in _OURS)


def _told_by_the_kernel(sandbox: Sandbox) -> dict[str, object]:
    status = privileges.status()
    return {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "capabilities": int(status["CapEff"], 16).bit_count() if status else None,
        "noNewPrivileges": status.get("NoNewPrivs") == "1" if status else None,
        "seccomp": status.get("Seccomp") == "2" if status else None,
        "limits": {"core": 0, **sandbox.limits},
        "variables": len(os.environ),
    }
