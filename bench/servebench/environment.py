"""Makes `.venv-bench`: the real TorchServe 0.12 with everything that its MNIST example needs.

Also names the outside programs that are missing (Java, wrk). Knows nothing of how servers are started.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from servebench.errors import BenchError
from servebench.paths import BENCH, ROOT, THEIRS

TORCHVISION = "torchvision==0.28.0"
PACKAGES = (
    "torchserve==0.12.0",
    "torch-model-archiver==0.12.0",
    "captum",
    "numpy",
    "pillow",
    "PyYAML",
    "setuptools",
)
JAVA = 17
HOOK = BENCH / "torchvision_schemas.py"
#: Written last, so that a set-up that broke off is done again.
MARK = THEIRS / ".complete"


def missing_programs(with_torchserve: bool) -> list[str]:
    """The outside programs that are not there, each with the Debian package that brings it."""
    missing = [] if shutil.which("wrk") else ["wrk (apt-get install wrk)"]
    if with_torchserve and java_version() < JAVA:
        missing.append(f"Java >= {JAVA} (apt-get install openjdk-{JAVA}-jre-headless)")
    return missing


def java_version() -> int:
    """Java's major version, or 0 if there is none."""
    if not shutil.which("java"):
        return 0
    return parse_java_version(subprocess.run(["java", "-version"], capture_output=True, text=True).stderr)


def parse_java_version(text: str) -> int:
    """The major version in what `java -version` prints ("1.8.0_292" is 8), or 0."""
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found.group(1)) if found else 0


def ensure(torch_index: str | None) -> None:
    """Makes or completes `.venv-bench`; returns at once when it is there and holds what is wanted."""
    wanted = "\n".join((*PACKAGES, TORCHVISION, (ROOT / "constraints.txt").read_text(), HOOK.read_text()))
    if MARK.exists() and MARK.read_text() == wanted:
        return
    python = THEIRS / "bin" / "python"
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(THEIRS)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = ["-c", str(ROOT / "constraints.txt")]
    if torch_index:
        _run([*pip, *constraints, "torch", "--index-url", torch_index])
    _run([*pip, *constraints, "torch", *PACKAGES])
    # Without its dependencies: its wheel asks for one exact build of torch, and pip would replace ours.
    _run([*pip, "--no-deps", TORCHVISION])
    _declare_schemas(python)
    MARK.write_text(wanted)


def _declare_schemas(python: Path) -> None:
    """Installs the import hook, but only where torchvision does not load by itself."""
    if subprocess.run([python, "-c", "import torchvision"], capture_output=True).returncode == 0:
        return
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.run([python, "-c", where], capture_output=True, text=True).stdout.strip())
    shutil.copy(HOOK, packages / HOOK.name)
    (packages / "torchvision_schemas.pth").write_text(f"import {HOOK.stem}\n")
    _run([str(python), "-c", "import torchvision.transforms"])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        last = done.stdout.strip().splitlines()[-1:] or ["no output"]
        raise BenchError(f"{' '.join(command)} failed: {last[0]}")
