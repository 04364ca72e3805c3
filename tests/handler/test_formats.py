"""What is said of files by their suffixes."""

from __future__ import annotations

import pytest

from torchkeeper.handler.formats import CODE, ENGINES, code_remark, engine_refusal
from torchkeeper.handler.weights import MODEL_READERS


@pytest.mark.parametrize("suffix", CODE)
def test_code_is_called_code(suffix: str) -> None:
    assert suffix in MODEL_READERS
    assert code_remark(f"m{suffix}", suffix).startswith(f"m{suffix} is code (")


def test_engines_are_refused_with_a_way_out() -> None:
    assert not set(ENGINES) & set(MODEL_READERS)
    assert "torch_tensorrt" in engine_refusal("m.plan")
