"""Whether rows are independent is found out, not assumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch

from torchkeeper.handler.ports import Port, Size, fixed
from torchkeeper.handler.probe import independent_rows

CPU = torch.device("cpu")


def failing(x: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("not with these values")


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (lambda x: x * 2, True),
        (lambda x: x.softmax(1), True),
        (lambda x: x.softmax(0), False),
        (lambda x: x.cumsum(0), False),
        (lambda x: x - x.mean(0), False),
        (lambda x: x + torch.arange(len(x)).unsqueeze(1), False),
        (lambda x: x * 1.0 + (x - x.abs().amax(0)).sign(), False),
        (lambda x: x.sum(), False),
        (lambda x: torch.cat((x, x)), False),
        (failing, None),
    ],
)
def test_rows_are_independent_if_nothing_of_the_others_shows(
    compute: Callable[[torch.Tensor], torch.Tensor], expected: bool | None
) -> None:
    for size in (Size(1, 8, "b"), fixed(4)):
        ports = [Port("x", "FP32", (size, fixed(3)))]
        found = independent_rows(lambda given: {"y": compute(given["x"])}, ports, size, CPU)
        assert found is expected


@pytest.mark.parametrize("datatype", ["INT64", "BOOL", "UINT8", "FP16", "FP64"])
def test_values_are_of_the_inputs_datatypes(datatype: str) -> None:
    size = Size(2, None, "b")
    ports = [Port("x", datatype, (size, Size(1, None, "s")))]
    assert independent_rows(lambda given: given, ports, size, CPU)


def test_no_rows_tell_nothing() -> None:
    assert not independent_rows(lambda given: given, [Port("x", "FP32", (fixed(0),))], fixed(0), CPU)


@pytest.mark.parametrize(
    ("least", "high", "expected", "lengths"),
    [
        (8, None, True, [2, 32]),
        (100, None, True, [2, 32, 224]),
        (300, None, None, [2, 32, 224]),
        (8, 4, None, [2, 4]),
    ],
)
def test_lengths_that_a_model_cannot_compute_tell_nothing(
    least: int, high: int | None, expected: bool | None, lengths: list[int]
) -> None:
    seen = []

    def compute(given: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        length = given["x"].shape[1]
        seen.append(length)
        return {"y": given["x"].unfold(1, least, 1).sum(2)}

    ports = [Port("x", "FP32", (Size(1, 8, "b"), Size(2, high)))]
    assert independent_rows(compute, ports, Size(1, 8, "b"), CPU) is expected
    assert list(dict.fromkeys(seen)) == lengths


def test_a_second_trial_is_not_larger_than_the_memory() -> None:
    seen = []

    def compute(given: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        seen.append(given["x"].shape[1])
        raise RuntimeError("too short")

    ports = [Port("x", "FP32", (Size(1, 8, "b"), *[Size(1, None)] * 4))]
    assert independent_rows(compute, ports, Size(1, 8, "b"), CPU) is None
    assert seen == [2, 32]
