"""A model's own Python packages: its requirements file, installed beside it or into a virtual environment of
its own.

Only where the operator allows it (`install_py_dep_per_model`), only into the folder that the archive was
unpacked to, and by pip in a process of its own, whose output goes to the model's log. Source: TorchServe's
"Custom dependencies".
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchkeeper.errors import RequirementsFailed
from torchkeeper.machine.threads import LAST_WORDS, at_any_rate, in_thread

#: Lines of the installer's output that an error repeats.
_LAST_LINES = 5
#: Bytes of the installer's output that are taken at a time.
_CHUNK = 1 << 16
#: The installer's temporary folder, inside the model's, with which it goes.
_SCRATCH = ".installing"
_QUIET = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")


@dataclass(frozen=True)
class Place:
    """Where a model lies and what it needs."""

    model_name: str
    model_dir: Path
    requirements: Path
    own_venv: bool
    #: The installer's environment; it runs code of packages, so the server's secrets are not in it.
    environ: Mapping[str, str]


async def install(place: Place, log: Callable[[str], None]) -> str:
    """Installs what the model needs; returns the interpreter that its workers run under.

    Raises:
        RequirementsFailed: the installer failed; its last lines are the cause.
    """
    if not place.requirements.is_file():
        raise RequirementsFailed(place.model_name, f"{place.requirements.name} is not in the archive")
    if not place.own_venv:
        target = ("-U", "-t", str(place.model_dir), "-r", str(place.requirements))
        await _run(place, (sys.executable, "-P", "-m", "pip", "install", *_QUIET, *target), log)
        return sys.executable
    venv = place.model_dir / "venv"
    await _run(place, (sys.executable, "-P", "-m", "venv", str(venv)), log)
    python = str(venv / "bin" / "python")
    await in_thread(lambda check: _share_packages(venv))
    wanted = ("-U", "--upgrade-strategy", "only-if-needed", "-r", str(place.requirements))
    await _run(place, (python, "-P", "-m", "pip", "install", *_QUIET, *wanted), log)
    return python


def _share_packages(venv: Path) -> None:
    """Lets the environment see the server's packages, torch and torchkeeper among them, after its own."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    shared = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    # site.addsitedir, and not the bare path: editable installs are .pth files in there.
    lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in shared)
    (venv / "lib" / version / "site-packages" / "torchkeeper-server.pth").write_text(lines)


async def _run(place: Place, command: Sequence[str], log: Callable[[str], None]) -> None:
    """Runs a step of the installation; its processes do not outlive it, nor whoever waits for it."""
    scratch = place.model_dir / _SCRATCH
    scratch.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**place.environ, "TMPDIR": str(scratch)},
        start_new_session=True,
    )
    assert process.stdout is not None
    last: deque[str] = deque(maxlen=_LAST_LINES)
    reading = asyncio.get_running_loop().create_task(_read(process.stdout, last, log))
    try:
        code = await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.wait({reading, asyncio.ensure_future(process.wait())}, timeout=LAST_WORDS)
        reading.cancel()  # a process that left the group may hold the pipe
        await at_any_rate(lambda: shutil.rmtree(scratch, ignore_errors=True))
    if code != 0:
        raise RequirementsFailed(place.model_name, "\n".join(last))


async def _read(pipe: asyncio.StreamReader, last: deque[str], log: Callable[[str], None]) -> None:
    """Hands on what the installer says, line by line, of any length."""
    rest = b""
    while data := await pipe.read(_CHUNK):
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > _CHUNK:
            lines, rest = [*lines, rest], b""
        for raw in lines:
            last.append(raw.decode(errors="replace").rstrip())
            log(last[-1])
    if rest:
        last.append(rest.decode(errors="replace").rstrip())
        log(last[-1])
