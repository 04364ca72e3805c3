"""Programs of other people for tests, each in a virtual environment of its own beside the project's.

`from tools import tool` and `tool("kserve")` is the folder of the programs (`python` among them) of
.venv-tools/kserve, built from tests/requirements/kserve.txt by the first test that asks, anew when that file
changes; a line `# pip: --no-deps` in it gives pip an option. A test whose tool cannot be had is skipped and
says why; with CI set it fails.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".venv-tools"
REQUIREMENTS = Path(__file__).parent / "requirements"
#: Seconds that an installation may take, waiting for another process that makes the same included.
SECONDS_TO_INSTALL = 900


class Unavailable(Exception):
    """The tool cannot be had here; the text says why."""


def tool(name: str) -> Path:
    """The folder with the programs of the tool's environment."""
    try:
        return _built(name)
    except Unavailable as error:
        unavailable(str(error))


def unavailable(reason: str) -> NoReturn:
    """Skips the running test, or fails it where everything has to be there."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@functools.cache
def _outcome(name: str) -> Path | str:
    """What came of building it: tried once a run, since every failure costs pip's patience."""
    try:
        return build(REQUIREMENTS / f"{name}.txt", HOME)
    except (subprocess.SubprocessError, OSError) as error:
        said = getattr(error, "stdout", None) or str(error)
        return f"{name} could not be installed: {said.strip().splitlines()[-1]}"


def _built(name: str) -> Path:
    found = _outcome(name)
    if isinstance(found, str):
        raise Unavailable(found)
    return found


def build(requirements: Path, home: Path) -> Path:
    """Makes the environment unless it is there as the file wants it; one process at a time.

    Raises:
        OSError, subprocess.SubprocessError: it cannot be made.
    """
    name = requirements.stem
    folder = home / name
    stamp = folder / ".stamp"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    home.mkdir(exist_ok=True)
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", folder)
            python = folder / "bin" / "python"
            quietly = ("--quiet", "--disable-pip-version-check", "--retries", "1")
            options = re.findall(r"^# pip: (\S+)$", requirements.read_text(), re.MULTILINE)
            _run(python, "-m", "pip", "install", *quietly, *options, "-r", requirements)
            stamp.write_text(wanted)
    return folder / "bin"


def _run(*command: str | Path) -> None:
    subprocess.run(
        command,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS_TO_INSTALL,
    )
