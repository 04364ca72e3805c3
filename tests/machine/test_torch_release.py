"""Which releases of torch load weights safely."""

from __future__ import annotations

import importlib.metadata

import pytest

from torchkeeper.machine.torch_release import broken_promise, installed_torch


@pytest.mark.parametrize(
    ("version", "faults"),
    [
        ("1.13.1", "(CVE-2025-32434, CVE-2026-24747)"),
        ("2.5.1+cu121", "(CVE-2025-32434, CVE-2026-24747)"),
        ("2.6.0", "(CVE-2026-24747)"),
        ("2.9.1+cpu", "(CVE-2026-24747)"),
        ("2.10.0", None),
        ("2.13.0+cpu", None),
        ("3.0", None),
        ("10.0.0a0+git1234", None),
        ("unknown", None),
        ("", None),
        (None, None),
    ],
)
def test_what_a_release_lets_through(version: str | None, faults: str | None) -> None:
    said = broken_promise(version)
    assert (said is None) == (faults is None)
    if said is not None and faults is not None:
        assert said.startswith(f"torch {version} lets a pickle of weights run code")
        assert faults in said
        assert ".safetensors" in said


def test_the_installed_torch_is_found_without_importing_it() -> None:
    assert installed_torch() == importlib.metadata.version("torch")


def test_no_torch_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    assert installed_torch() is None
