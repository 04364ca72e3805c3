"""What cannot be compiled ahead of time is refused with the reason; that it can be, tests/examples show."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from torchkeeper.handler.aot import AheadOfTime
from torchkeeper.handler.compiling import NotCompiled
from torchkeeper.handler.door import ModelDoor, NotRunnable


class Branches(torch.nn.Module):
    """Does what its input's values say, which no program can."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ((torch.rand(2, 4),), "torch.export cannot export it: "),
        ((), "it is not called with a tensor whose first dimension is the batch"),
        ((torch.tensor(1.0),), "it is not called with a tensor whose first dimension is the batch"),
    ],
)
def test_what_cannot_be_exported(args: tuple[Any, ...], why: str) -> None:
    with pytest.raises(NotCompiled, match=why):
        AheadOfTime(Branches(), args, {})


def test_without_a_compiler_the_reason_is_told_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    for name in ("temp", "model"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    (tmp_path / "model" / "queue.py").write_text("raise ImportError('not the one that torch wants')\n")
    monkeypatch.chdir(tmp_path / "model")
    with pytest.raises(NotCompiled, match=r"AOTInductor cannot compile it: .*No working C\+\+ compiler"):
        AheadOfTime(torch.nn.Linear(4, 2), (torch.rand(2, 4),), {})
    assert not list((tmp_path / "temp").iterdir())


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda model: None, "no sample came through the handler's model without gradients"),
        (
            lambda model: model(torch.rand(2, 4)),
            "no sample came through the handler's model without gradients",
        ),
    ],
)
def test_a_door_needs_a_call_without_gradients(call: Callable[[Any], Any], why: str) -> None:
    model = torch.nn.Linear(4, 2)
    door = ModelDoor(model)
    door.record()
    door.open()
    call(model)
    with pytest.raises(NotRunnable, match=why):
        door.compile_ahead()
