"""What a reader needs to judge figures: the machine and the versions. Reads /proc and asks the venvs."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from servebench.environment import java_version

_PACKAGES = ("torchkeeper", "torchserve", "torch", "torchvision", "uvloop", "httptools")


def machine() -> list[tuple[str, str]]:
    """Processor, cores, memory and kernel."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if f" {flag} " in f"{info} "]
    return [
        ("processor", f"{model[1] if model else platform.machine()} ({', '.join(flags) or 'no AVX'})"),
        ("cores", str(len(os.sched_getaffinity(0)))),
        ("memory", f"{int(memory[1]) / 1e6:.0f} GB" if memory else "unknown"),
        ("kernel", f"{platform.system()} {platform.release().split('-')[0]}"),
    ]


def versions(venvs: dict[str, Path]) -> list[tuple[str, str]]:
    """Java, wrk, and the packages that matter in each environment that exists."""
    rows = [("Java", str(java_version() or "none")), ("wrk", _wrk())]
    for name, venv in venvs.items():
        if (venv / "bin" / "python").exists():
            rows.append((f"{name}'s environment", _installed(venv / "bin" / "python")))
    return rows


def _wrk() -> str:
    program = shutil.which("wrk")
    if program is None:
        return "none"
    # wrk exits 1 on --version and prints its name, version and copyright.
    text = subprocess.run([program, "-v"], capture_output=True, text=True).stdout
    return " ".join(text.split()[1:2])


def _installed(python: Path) -> str:
    script = (
        "import platform; from importlib.metadata import version, PackageNotFoundError\n"
        "print('Python', platform.python_version(), end='')\n"
        f"for name in {_PACKAGES!r}:\n"
        "    try: print(',', name, version(name), end='')\n"
        "    except PackageNotFoundError: pass\n"
    )
    return subprocess.run([python, "-c", script], capture_output=True, text=True).stdout.strip()
