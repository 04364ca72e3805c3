"""Models as files without source: exported programs, and AOTInductor's packages where there is a compiler."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.export import Dim


class Rows(torch.nn.Module):
    """Scores of four numbers per row."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.last = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x)


class Tokens(torch.nn.Module):
    """Two inputs of two dynamic dimensions, and outputs by name; an id over 9 fails."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.table = torch.nn.Embedding(10, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.table(ids) * mask.unsqueeze(-1).to(torch.float32)
        return {"sum": found.sum(1), "per_token": found.amax(-1)}


class Series(torch.nn.Module):
    """One sequence per call: the first dimension is no batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(0) + x.mean(0)


class Sum(torch.nn.Module):
    """Two inputs of equally many rows."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x * 2 + y


class Pixels(torch.nn.Module):
    """Four classes for grey pictures of 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv = torch.nn.Conv2d(1, 3, 3)
        self.last = torch.nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.conv(x)).mean((2, 3)))


def rows_program(low: int = 1, high: int = 8) -> Any:
    """Rows, for batches from `low` to `high`; of one size only if they are the same."""
    model = Rows().eval()
    example = (torch.zeros(max(low, 2) if low != high else low, 4),)
    sizes = None if low == high else {"x": {0: Dim("batch", min=low, max=high)}}
    return torch.export.export(model, example, dynamic_shapes=sizes)


def tokens_program() -> Any:
    """Tokens, for batches of up to 16 and 2 to 32 tokens."""
    sizes = {0: Dim("batch", min=1, max=16), 1: Dim("tokens", min=2, max=32)}
    example = (torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.bool))
    return torch.export.export(Tokens().eval(), example, dynamic_shapes={"ids": sizes, "mask": sizes})


def series_program() -> Any:
    """Series, of up to 64 rows."""
    example = (torch.zeros(3, 2),)
    return torch.export.export(Series(), example, dynamic_shapes={"x": {0: Dim("length", min=1, max=64)}})


def sum_program() -> Any:
    """Sum, for batches of up to 8."""
    sizes = {0: Dim("batch", min=1, max=8)}
    example = (torch.zeros(2, 4), torch.zeros(2, 4))
    return torch.export.export(Sum(), example, dynamic_shapes={"x": sizes, "y": sizes})


def pixels_program(high: int = 8) -> Any:
    """Pixels, for batches of up to `high`."""
    sizes = {"x": {0: Dim("batch", min=1, max=high)}}
    return torch.export.export(Pixels().eval(), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=sizes)


def saved(program: Any, path: Path) -> Path:
    """The program in a file."""
    torch.export.save(program, path)
    return path


def needs_compiler() -> None:
    """Skips the test where there is no compiler for AOTInductor; on the build machine it fails."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        reason = "AOTInductor needs a C++ compiler (g++, or CXX), which is not here"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def packaged(program: Any, path: Path) -> Path:
    """The program compiled by AOTInductor.

    It goes through a file first: only then does torch compile it for batches of one.
    """
    needs_compiler()
    program = torch.export.load(saved(program, path.with_suffix(".program.pt2")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch's own doing
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    return path


def library(program: Any, example: torch.Tensor, path: Path) -> Path:
    """The program compiled as AOTInductor did it before there were packages."""
    needs_compiler()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        shutil.copy(torch._inductor.aot_compile(program.module(), (example,)), path)
    return path
