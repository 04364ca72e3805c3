"""Models that say only by refusing a batch which batches they take."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from torchkeeper.handler.learned_bounds import LearningModel
from torchkeeper.handler.ports import Port


class Library:
    """Computes batches from `low` to `high`, and refuses others in AOTInductor's words; counts its calls."""

    def __init__(self, low: int, high: int, compute: Any) -> None:
        self.low, self.high, self.compute = low, high, compute
        self.sizes: list[int] = []

    def __call__(self, given: list[torch.Tensor]) -> Any:
        rows = given[0].shape[0]
        self.sizes.append(rows)
        if rows < self.low:
            raise RuntimeError(
                "run() failed: input_handles[0]: dim value is too small at 0, "
                f"expected it to be >= {self.low}, but got: {rows}\n"
            )
        if rows > self.high:
            raise RuntimeError(
                "input_handles[0]: dim value is too large at 0, "
                f"expected to be <= {self.high}, but got: {rows}\n"
            )
        return self.compute(*given)


def model(library: Library, inputs: int = 1) -> LearningModel:
    return LearningModel(library, [Port(f"input{number}") for number in range(inputs)], [Port("output0")])


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9, 13])
def test_batches_of_any_size_once_the_bounds_are_learned(rows: int) -> None:
    served = model(Library(2, 4, lambda x: x * 2))
    for columns in (3, 5):
        x = torch.randn(rows, columns)
        torch.testing.assert_close(served(x), x * 2)


def test_nothing_is_refused_twice() -> None:
    library = Library(2, 4, lambda x: x * 2)
    served = model(library)
    served(torch.ones(1, 3))
    library.sizes.clear()
    for _ in range(3):
        served(torch.ones(1, 3))
    assert library.sizes == [2, 2, 2]


def test_rows_of_other_lengths_are_tried_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    library = Library(2, 4, lambda x: x * 2)
    served = model(library)
    served(torch.ones(1, 3))
    library.sizes.clear()
    for columns in (4, 3, 5, 3):
        assert served(torch.ones(1, columns)).tolist() == [[2] * columns]
    assert library.sizes == [2, 2, 2, 2]
    assert caplog.text.count("batches of 2 rows at least") == 1


def test_two_inputs_of_equally_many_rows() -> None:
    served = model(Library(2, 4, lambda x, y: x + y), 2)
    assert served(torch.ones(1, 3), torch.ones(1, 3)).tolist() == [[2] * 3]
    assert served(torch.ones(5, 3), torch.ones(5, 3)).tolist() == [[2] * 3] * 5


@pytest.mark.parametrize("compute", [lambda x: x.softmax(0), lambda x: x.sum()])
def test_rows_that_depend_on_one_another_are_not_computed_in_parts(compute: Any) -> None:
    served = model(Library(2, 4, compute))
    for rows in (1, 5):
        with pytest.raises(RuntimeError, match="a batch of another size is not computed in parts"):
            served(torch.randn(rows, 3))
    x = torch.randn(3, 3)
    torch.testing.assert_close(served(x), compute(x))


def test_other_errors_are_what_they_are() -> None:
    def fail(_: torch.Tensor) -> None:
        raise RuntimeError("input_handles[0]: unmatched dim value at 1, expected: 3, but got: 2")

    with pytest.raises(RuntimeError, match="unmatched dim value at 1"):
        model(Library(2, 4, fail))(torch.ones(2, 2))
