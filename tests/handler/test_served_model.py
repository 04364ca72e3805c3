"""A model without source in batches of any size: the same rows, in as many calls as its file allows."""

from __future__ import annotations

import pytest
import torch

from torchkeeper.handler.ports import Port, Size, fixed
from torchkeeper.handler.served_model import ServedModel, datatype_of


def doubled(size: Size, calls: list[int]) -> ServedModel:
    """A model that doubles rows of two numbers and counts the rows of each call."""

    def run(tensors: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        (x,) = tensors
        calls.append(len(x))
        assert size.holds(len(x))
        return {"twice": x * 2, "sum": x.sum(1)}

    ports = [Port("twice", "FP32", (size, fixed(2))), Port("sum", "FP32", (size,))]
    return ServedModel(run, [Port("x", "FP32", (size, fixed(2)))], ports)


@pytest.mark.parametrize(
    ("size", "count", "calls"),
    [
        (Size(1, 8, "b"), 8, [8]),
        (Size(1, 8, "b"), 20, [7, 7, 6]),
        (Size(2, 8, "b"), 1, [2]),
        (Size(3, 4, "b"), 5, [3, 3]),
        (fixed(1), 3, [1, 1, 1]),
        (fixed(4), 6, [4, 4]),
        (Size(1, None, "b"), 100, [100]),
    ],
)
def test_a_batch_of_any_size_is_answered_row_by_row(size: Size, count: int, calls: list[int]) -> None:
    seen: list[int] = []
    x = torch.arange(count * 2, dtype=torch.float32).reshape(count, 2)
    found = doubled(size, seen)(x)
    assert found["twice"].equal(x * 2)
    assert found["sum"].equal(x.sum(1))
    assert seen[-len(calls) :] == calls


def test_that_small_batches_are_filled_up_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    model = doubled(Size(2, 8, "b"), [])
    model(torch.ones(2, 2))
    assert not caplog.text
    for _ in range(2):
        model(torch.ones(1, 2))
    assert caplog.text.count("takes batches of 2 rows at least") == 1


def test_by_position_and_by_name() -> None:
    model = doubled(Size(1, 8, "b"), [])
    x = torch.ones(1, 2)
    assert model(x=x)["twice"].equal(x * 2)
    assert model.named({"x": x})["sum"].tolist() == [2]
    with pytest.raises(TypeError, match="input 'x' is missing"):
        model()
    with pytest.raises(TypeError, match="2 inputs for a model that takes x"):
        model(x, y=x)


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (torch.ones(2, 3), r"input x: shape \[2, 3\] is not \[1..8, 2\]"),
        (torch.ones(2), r"input x: shape \[2\] is not"),
        (torch.ones(0, 2), r"input x: shape \[0, 2\] is not"),
        (torch.ones(2, 2, dtype=torch.float64), "input x: datatype FP64 is not FP32"),
    ],
)
def test_what_does_not_fit_is_not_computed(tensor: torch.Tensor, text: str) -> None:
    calls: list[int] = []
    with pytest.raises(ValueError, match=text):
        doubled(Size(1, 8, "b"), calls)(tensor)
    assert not calls


def test_a_batch_is_not_cut_where_outputs_do_not_follow_it() -> None:
    size = Size(1, 2, "b")
    model = ServedModel(lambda given: given[0].sum(), [Port("x", "FP32", (size,))], [Port("y")])
    assert model(torch.ones(2)).item() == 2
    with pytest.raises(RuntimeError, match="does not give a row for each"):
        model(torch.ones(4))


def test_a_batch_of_another_size_is_not_computed_in_parts_where_rows_depend_on_each_other() -> None:
    ports = [Port("x", "FP32", (fixed(4), fixed(2)))]
    model = ServedModel(lambda given: given[0].softmax(0), ports, [Port("y")])
    torch.testing.assert_close(model(torch.ones(4, 2)), torch.full((4, 2), 0.25))
    for count in (2, 8):
        with pytest.raises(RuntimeError, match="does not give a row for each that depends on it alone"):
            model(torch.ones(count, 2))


def test_that_made_up_rows_could_not_be_computed_is_no_word_about_the_models_rows() -> None:
    def run(given: list[torch.Tensor]) -> torch.Tensor:
        if not given[0].eq(1).all():
            raise ValueError("only ones")
        return given[0]

    model = ServedModel(run, [Port("x", "FP32", (Size(2, 4, "b"), fixed(2)))], [Port("y")])
    assert model(torch.ones(3, 2)).shape == (3, 2)
    for count in (1, 8):
        with pytest.raises(RuntimeError, match=r"takes 2\.\.4 rows and could not be tried on made-up rows"):
            model(torch.ones(count, 2))
    unbounded = ServedModel(run, [Port("x", "FP32", (Size(1, None, "b"), fixed(2)))], [Port("y")])
    assert unbounded(torch.ones(100, 2)).shape == (100, 2)


def test_a_session_answers_for_what_the_model_is_not_asked() -> None:
    class Session:
        opset = 17

    model = ServedModel(lambda given: given[0], [Port("x")], [Port("y")], session=Session())
    assert model.opset == 17
    assert model.eval() is model
    with pytest.raises(AttributeError, match="no attribute 'opset'"):
        _ = ServedModel(lambda given: given[0], [], []).opset


def test_datatypes_have_the_protocols_names() -> None:
    assert datatype_of(torch.ones(1, dtype=torch.bfloat16)) == "BF16"
    assert datatype_of(torch.ones(1, dtype=torch.complex64)) is None
