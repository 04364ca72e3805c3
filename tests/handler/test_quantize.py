"""Linear layers in 8 bits, by torchao where it is installed: how close answers are, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from torchkeeper.handler.compile_cache import CompileCache
from torchkeeper.handler.context import Context
from torchkeeper.handler.door import NotRunnable
from torchkeeper.handler.execution import apply
from torchkeeper.handler.quantize import NotQuantized, quantizer
from torchkeeper.wire.execution import Execution

NAMES = ("int8-dynamic", "int8-weight-only")


class Rows:
    def __init__(self) -> None:
        torch.manual_seed(2)
        self.model: Any = torch.nn.Sequential(
            torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4)
        ).eval()


def context() -> Context:
    return Context("m", "/", {}, 1, None, "0.12.0")


@pytest.fixture
def torchao() -> None:
    pytest.importorskip("torchao")


@pytest.mark.usefixtures("torchao")
@pytest.mark.parametrize("name", NAMES)
def test_answers_stay_close_and_gradients_are_the_eager_models(name: str) -> None:
    handler, x = Rows(), torch.rand(3, 64, requires_grad=True)
    with torch.inference_mode():
        before = handler.model(x)
    handler.model(x).sum().backward()
    gradients, x.grad = x.grad, None
    applied = apply(Execution(quantize=name), handler, context())
    assert applied.said == {"quantize": name}
    with torch.inference_mode():
        after = handler.model(x)
    assert not torch.equal(after, before)
    torch.testing.assert_close(after, before, rtol=0.05, atol=0.02)
    handler.model(x).sum().backward()
    assert gradients is not None
    assert torch.equal(x.grad, gradients)
    assert handler.model[0].weight.dtype == torch.float32


@pytest.mark.usefixtures("torchao")
def test_a_model_without_linear_layers_has_nothing_to_quantize() -> None:
    handler = Rows()
    handler.model = torch.nn.Conv2d(1, 1, 3)
    with pytest.raises(
        NotRunnable,
        match=r"execution\.quantize: int8-dynamic is not possible: the model has no linear layers",
    ):
        apply(Execution(quantize="int8-dynamic"), handler, context())


def test_without_torchao_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchao"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(NotQuantized, match=r"torchao is missing .*: pip install 'torchkeeper\[quantize\]'"):
        quantizer("int8-dynamic")


@pytest.mark.usefixtures("torchao")
def test_code_is_kept_for_the_weights_that_were_quantized(tmp_path: Path) -> None:
    cache, keys = CompileCache(tmp_path, tmp_path), []
    for change in (0.0, 0.0, 1.0):
        model = Rows().model
        with torch.no_grad():
            model[0].weight[0, 0] += change
        quantizer("int8-weight-only")(model)
        keys.append(cache.key(model, "call"))
    assert None not in keys
    assert keys[0] == keys[1] != keys[2]
