"""Models as programs: from Python or TorchScript, for batches, and never another model than it was."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
import torch

from exports import Pixels, Rows, Tokens, needs_compiler, rows_program, saved
from torchkeeper.export.inputs import read_input
from torchkeeper.export.program import ExportRefused, compiled_by_inductor, exported, same_answers

pytestmark = pytest.mark.slow

ROWS = [read_input("x:FP32:-1,4")]
PIXELS = [read_input("x:FP32:-1,1,8,8")]


class Branching(torch.nn.Module):
    """Looks at its values to decide what to compute."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x


class Random(torch.nn.Module):
    """Computes something else each time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + random.random()


@pytest.mark.parametrize("form", ["eager", "traced", "scripted"])
def test_a_model_in_each_form(tmp_path: Path, form: str) -> None:
    model = Pixels().eval()
    given = {
        "eager": lambda: model,
        "traced": lambda: torch.jit.trace(model, torch.zeros(1, 1, 8, 8)),  # type: ignore[no-untyped-call]
        "scripted": lambda: torch.jit.script(model),  # type: ignore[no-untyped-call]
    }[form]()
    file = saved(exported(given, PIXELS, 16), tmp_path / "m.pt2")
    made = same_answers(given, file, PIXELS, 16)
    assert made.batch is not None
    assert (made.batch.low, made.batch.high) == (1, 16)


def test_several_inputs_with_several_open_lengths(tmp_path: Path) -> None:
    inputs = [read_input("ids:INT64:-1,-1"), read_input("mask:BOOL:-1,-1")]
    file = saved(exported(Tokens(), inputs, 8), tmp_path / "m.pt2")
    made = same_answers(Tokens(), file, inputs, 8)
    assert [port.name for port in made.inputs] == ["ids", "mask"]


def test_a_fixed_batch_stays_one(tmp_path: Path) -> None:
    inputs = [read_input("x:FP32:1,4")]
    made = same_answers(Rows(), saved(exported(Rows(), inputs, 8), tmp_path / "m.pt2"), inputs, 8)
    assert made(torch.ones(3, 4)).shape == (3, 3)


def test_batches_of_one_with_an_open_length_beside(tmp_path: Path) -> None:
    inputs = [read_input("ids:INT64:-1,-1"), read_input("mask:BOOL:-1,-1")]
    made = same_answers(Tokens(), saved(exported(Tokens(), inputs, 1), tmp_path / "m.pt2"), inputs, 1)
    assert made.inputs[0].sizes is not None
    assert [size.fixed for size in made.inputs[0].sizes] == [True, False]


def test_compiled_programs_are_compared_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_compiler()
    file = saved(exported(Rows(), ROWS, 8), tmp_path / "m.pt2")
    (temp := tmp_path / "temp").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(temp))
        compiled_by_inductor(file)
    assert not list(temp.iterdir())
    made = same_answers(Rows(), file, ROWS, 8)
    assert [port.name for port in made.inputs] == ["x"]
    assert made.batch is not None
    assert (made.batch.low, made.batch.high) == (1, 8)


def test_what_torch_cannot_export_is_said() -> None:
    with pytest.raises(ExportRefused, match=r"torch\.export cannot export the model"):
        exported(Branching(), ROWS, 8)


def test_a_program_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    file = saved(exported(Random(), ROWS, 8), tmp_path / "m.pt2")
    with pytest.raises(ExportRefused, match="the exported model computes something else for a batch of 1"):
        same_answers(Random(), file, ROWS, 8)


def test_what_cannot_be_compiled_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(rows_program(), tmp_path / "m.pt2")
    file.write_bytes(b"none")
    with pytest.raises(ExportRefused, match="AOTInductor cannot compile the model"):
        compiled_by_inductor(file)
