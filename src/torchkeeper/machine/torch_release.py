"""Which torch there is, and whether its `weights_only=True` keeps what it promises; torch is not imported.

Source: the advisories of PyTorch, CVE-2025-32434 and CVE-2026-24747.
"""

from __future__ import annotations

import importlib.metadata
import re

#: The first release without a fault by which a file of weights runs code, and the fault's name.
_MENDED = (((2, 6), "CVE-2025-32434"), ((2, 10), "CVE-2026-24747"))


def installed_torch() -> str | None:
    """The version of torch that is installed beside the server; None if there is none."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def broken_promise(version: str | None) -> str | None:
    """Why files of weights may run code under a torch all the same; None if it is not known to let them."""
    found = re.match(r"(\d+)\.(\d+)", version or "")
    if found is None:
        return None
    release = int(found[1]), int(found[2])
    faults = [fault for mended, fault in _MENDED if release < mended]
    if not faults:
        return None
    return (
        f"torch {version} lets a pickle of weights run code although it is loaded with weights_only=True "
        f"({', '.join(faults)}): install torch 2.10 or later, or take weights as .safetensors"
    )
