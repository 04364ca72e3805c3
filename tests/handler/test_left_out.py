"""Import names that are left out: found with all that lies below them, and none that does not exist."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from torchkeeper.handler import left_out
from torchkeeper.handler.left_out import why_left_out

SURFACE = json.loads((Path(__file__).parents[1] / "compat" / "surface.json").read_text())


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ts.model_service_worker", "torchkeeper does not have ts.model_service_worker: workers are"),
        ("ts.model_service.model_service.ModelService", "torchkeeper does not have ts.model_service: "),
        ("ts.launcher.Tee", "torchkeeper does not have ts.launcher.Tee: "),
        ("ts.torch_handler.vllm_handler", "ts.torch_handler.vllm_handler asks for vLLM's engine, which "),
    ],
)
def test_what_is_left_out_has_a_sentence(name: str, why: str) -> None:
    assert (why_left_out(name) or "").startswith(why)


@pytest.mark.parametrize("name", ["", "ts", "ts.service", "ts.nonsense", "ts.llm_launchers", "torch.nn"])
def test_what_is_there_or_never_was_has_none(name: str) -> None:
    assert why_left_out(name) is None


def test_the_table_names_only_what_torchserve_has() -> None:
    known = {*SURFACE, *(f"{module}.{name}" for module, names in SURFACE.items() for name in names)}
    known |= {"ts.torch_handler.unit_tests.models"}
    assert set(left_out._SENTENCES) <= known


def test_the_page_has_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "handlers.md").read_text()
    by_reason: dict[str, list[str]] = {}
    for name, instead in left_out._INSTEAD.items():
        by_reason.setdefault(instead, []).append(f"`{name}`")
    rows = "".join(f"| {', '.join(names)} | {instead} |\n" for instead, names in by_reason.items())
    assert rows in page, f"docs/handlers.md shall hold:\n{rows}"


def test_it_is_installed_once() -> None:
    importlib.import_module("ts")  # installs it
    before = len(sys.meta_path)
    left_out.install()
    left_out.install()
    assert len(sys.meta_path) == before


def test_a_modules_names() -> None:
    get = left_out.refusing("ts.launcher")
    with pytest.raises(ImportError, match=r"ts\.launcher\.start returns the queue"):
        get("Tee")
    with pytest.raises(AttributeError, match=r"module 'ts\.launcher' has no attribute 'nonsense'"):
        get("nonsense")
