"""Which answers of a compiled model agree with the uncompiled one's, and where the compiler writes."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from torchkeeper.handler.compiling import (
    NotCompiled,
    _check_close,
    check_same,
    compile_no_headers,
    with_temp,
    workshop,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0001, float("nan")])),
        (torch.tensor([1.0]).bfloat16(), torch.tensor([1.03]).bfloat16()),
        (torch.tensor([1, 2]), torch.tensor([1, 2])),
        (torch.tensor([True]), torch.tensor([True])),
        (torch.tensor([]), torch.tensor([])),
    ],
)
def test_answers_that_agree(one: torch.Tensor, other: torch.Tensor) -> None:
    _check_close(one, other)


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (torch.tensor([1.0]), torch.tensor([1.1]), "a difference of 0.1"),
        (torch.tensor([1.0]), torch.tensor([float("nan")]), "a difference of nan"),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), "other values of torch.int64"),
        (torch.tensor([True]), torch.tensor([False]), "other values of torch.bool"),
        (
            torch.tensor([1.0]),
            torch.tensor([1.0]).double(),
            r"torch.float64, \(1,\) for torch.float32, \(1,\)",
        ),
        (torch.tensor([1.0]), torch.tensor([[1.0]]), r"torch.float32, \(1, 1\) for torch.float32, \(1,\)"),
    ],
)
def test_answers_that_do_not(one: torch.Tensor, other: torch.Tensor, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        _check_close(one, other)


def test_answers_of_quantized_weights_may_differ_as_those_of_16_bits() -> None:
    one, other = torch.tensor([1.0]), torch.tensor([1.03])
    _check_close(one, other, 16)
    with pytest.raises(ValueError, match=r"a difference of 0\.03"):
        _check_close(one, other)


@pytest.mark.parametrize(
    ("expected", "found", "why"),
    [
        ({"y": torch.ones(1), "n": 2}, {"y": torch.ones(1), "n": 2}, ""),
        ({"y": torch.ones(1), "n": 2}, {"y": torch.ones(1), "n": 3}, "another int"),
        ([torch.ones(1)], [torch.zeros(1)], "a difference of 1"),
        ([torch.ones(1)], [], "argument 2 is shorter"),
    ],
)
def test_whole_answers(expected: Any, found: Any, why: str) -> None:
    model = torch.nn.Linear(1, 1)
    if not why:
        check_same(model, expected, found)
        return
    with pytest.raises(NotCompiled, match=f"compiled it computes something else for the samples: .*{why}"):
        check_same(model, expected, found)


def test_no_headers_are_compiled_beforehand() -> None:
    config: Any = torch._inductor.config
    names = ("cpp_cache_precompile_headers", "aot_inductor.precompile_headers")
    before = [operator.attrgetter(name)(config) for name in names]
    with config.patch(dict.fromkeys(names, True)):  # pytest's own leaves an option of torch's deleted
        compile_no_headers()
        assert [operator.attrgetter(name)(config) for name in names] == [False, False]
    assert [operator.attrgetter(name)(config) for name in names] == before


def test_a_process_has_a_temp_folder_of_its_own_and_else_the_same() -> None:
    made = with_temp(Path("/there"))
    assert made == {**os.environ, "TMPDIR": "/there"}


def test_the_workshop_is_the_compilers_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (None, "/elsewhere"):
        if before is None:
            monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        else:
            monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", before)
        with workshop(tmp_path):
            assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)
        assert os.environ.get("TORCHINDUCTOR_CACHE_DIR") == before
