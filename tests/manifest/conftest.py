"""Helm, out of the wheel that carries it."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

import tools  # type: ignore[import-not-found]  # pytest puts the tests' folder on the path


@pytest.fixture(scope="session")
def helm() -> Path:
    """The program."""
    folder = tools.tool("helm")
    program: Path = folder / "helm"
    if not program.exists():
        (archive,) = folder.parent.rglob("lambda-layer-kubectl-*.tgz")
        with tarfile.open(archive) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            data = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
        scratch = folder / f"helm.{os.getpid()}"
        scratch.write_bytes(data)
        scratch.chmod(0o755)
        scratch.replace(program)
    return program
