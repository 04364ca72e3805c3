"""A model's door: who gets the variant and who the eager model, what is cast, and what is refused."""

from __future__ import annotations

import logging
import threading
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity

from torchkeeper.handler.door import ModelDoor, NotRunnable
from torchkeeper.handler.explain import eager_look

Pair = namedtuple("Pair", ["scores", "place"])


class Net(torch.nn.Module):
    """Convolution, shared weights, an LSTM, buffers of two kinds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = torch.nn.Conv2d(3, 8, 3)
        self.norm = torch.nn.BatchNorm2d(8)
        self.first = torch.nn.Linear(8, 8)
        self.tied = torch.nn.Linear(8, 8)
        self.tied.weight = self.first.weight
        self.recurrent = torch.nn.LSTM(8, 8, batch_first=True)
        self.register_buffer("steps", torch.tensor([3]))

    def forward(self, x: torch.Tensor, *, scale: float = 1.0) -> Pair:
        seen = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        seen = self.tied(torch.tanh(self.first(seen)))
        found, _ = self.recurrent(seen[:, None])
        return Pair({"scores": found[:, 0] * scale}, self.steps)


def half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor


def opened(model: Any) -> ModelDoor:
    door = ModelDoor(model)
    door.convert(half, half, torch.bfloat16)
    door.open()
    return door


def test_calls_without_gradients_get_the_variant_and_float32_back() -> None:
    model, pictures = Net().eval(), torch.rand(2, 3, 9, 9)
    with torch.inference_mode():
        before = model(pictures, scale=2.0)
    door = opened(model)
    with torch.inference_mode():
        after = model(pictures, scale=2.0)
    assert (door.served, door.eager) == (1, 0)
    assert isinstance(after, Pair)
    scores = after.scores["scores"]
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, before.scores["scores"])
    assert torch.allclose(scores, before.scores["scores"], rtol=0.05, atol=0.02)
    assert torch.equal(after.place, before.place)


def test_calls_with_gradients_are_the_eager_models_to_the_bit(caplog: pytest.LogCaptureFixture) -> None:
    model, pictures = Net().eval(), torch.rand(2, 3, 9, 9)

    def gradient() -> torch.Tensor:
        given = pictures.clone().requires_grad_()
        model(given).scores["scores"].sum().backward()
        assert given.grad is not None
        return given.grad

    before = gradient()
    door = opened(model)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(gradient(), before)
        gradient()
    assert (door.served, door.eager) == (0, 2)
    assert [record.message for record in caplog.records if "inference_mode" in record.message]
    assert len(caplog.records) == 1


def test_a_look_for_an_explanation_is_the_eager_models() -> None:
    model, pictures = Net().eval(), torch.rand(2, 3, 9, 9)
    with torch.inference_mode():
        before = model(pictures).scores["scores"]
    door = opened(model)
    for without_gradients in (torch.no_grad, torch.inference_mode):
        with eager_look(), without_gradients():
            assert torch.equal(model(pictures).scores["scores"], before)
    assert (door.served, door.eager) == (0, 0)
    with torch.inference_mode():
        model(pictures)
    assert door.served == 1


def test_weights_that_stay_as_they_are_are_shared_and_ties_are_kept() -> None:
    model = Net().eval()
    door = ModelDoor(model)
    door.convert(
        lambda tensor: tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor, half
    )
    copied = door.variant
    assert isinstance(copied, Net)
    assert copied.first.weight is model.first.weight is copied.tied.weight
    assert copied.conv.weight is not model.conv.weight
    assert copied.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert model.conv.weight.is_contiguous()
    assert copied.norm.running_mean.data_ptr() != model.norm.running_mean.data_ptr()


def test_outputs_are_contiguous_though_the_variant_lays_them_out_otherwise() -> None:
    model = torch.nn.Conv2d(3, 8, 3)
    door = ModelDoor(model)

    def last(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor

    door.convert(last, last)
    door.open()
    with torch.inference_mode():
        found = model(torch.rand(2, 3, 9, 9))
    assert door.served == 1
    assert found.view(2, -1).shape == (2, 8 * 49)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.load_state_dict(Net().state_dict()),
        lambda model: model.load_state_dict(Net().state_dict(), assign=True),
        lambda model: model.first.load_state_dict(torch.nn.Linear(8, 8).state_dict(), assign=True),
        lambda model: model.first.bias.fill_(1.0),
        lambda model: model.norm.running_mean.add_(1.0),
    ],
)
def test_weights_that_change_later_are_refused(change: Any) -> None:
    model = Net().eval()
    opened(model)

    def ask() -> None:
        change(model)
        model(torch.rand(2, 3, 9, 9))

    with torch.no_grad(), pytest.raises(RuntimeError, match="weights were changed after it was loaded"):
        ask()


class Odd:
    def __init__(self, scores: torch.Tensor) -> None:
        self.scores = scores


class Hidden(torch.nn.Module):
    """Gives its answer in an object of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> Odd:
        return Odd(self.last(x))


def test_tensors_that_cannot_be_cast_back_are_refused() -> None:
    model = Hidden()
    opened(model)
    with (
        torch.inference_mode(),
        pytest.raises(TypeError, match=r"gives a Odd with tensors of torch\.bfloat16"),
    ):
        model(torch.rand(1, 2))


def hooked() -> torch.nn.Module:
    model = Net()
    model.first.register_forward_hook(lambda *_: None)
    return model


class Locked(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: len, "is a builtin_function_or_method, and no torch.nn.Module"),
        (lambda: torch.compile(Net()), "was compiled by its handler already"),
        (lambda: torch.jit.trace(torch.nn.Linear(2, 2), torch.rand(1, 2)), "the model is TorchScript"),
        (hooked, "its layer 'first' has a hook"),
        (Locked, "cannot be copied .TypeError: "),
    ],
)
def test_what_no_copy_can_stand_for_is_refused(make: Any, why: str) -> None:
    with pytest.raises(NotRunnable, match=why):
        opened(make())


def test_a_door_without_a_variant_changes_nothing() -> None:
    model = Net()
    ModelDoor(model).open()
    assert "forward" not in vars(model)


def scripted() -> Any:
    torch.manual_seed(3)
    layers = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
    return torch.jit.script(layers.eval())


def test_torchscript_is_frozen_and_keeps_its_gradients() -> None:
    model, pictures = scripted(), torch.rand(2, 1, 6, 6)

    def gradient() -> torch.Tensor:
        given = pictures.clone().requires_grad_()
        model(given).square().sum().backward()
        assert given.grad is not None
        return given.grad

    before = gradient()
    with torch.inference_mode():
        answer = model(pictures)
    door = ModelDoor(model)
    door.freeze()
    door.open()
    assert not list(door.variant.parameters()), "weights are constants"  # type: ignore[union-attr]  # it is there
    with torch.inference_mode():
        assert torch.allclose(model(pictures), answer, atol=1e-6)
    assert torch.equal(gradient(), before)
    assert (door.served, door.eager) == (1, 1)
    with torch.no_grad():
        next(model.parameters()).fill_(0.0)
        with pytest.raises(RuntimeError, match="weights were changed after it was loaded"):
            model(pictures)


@pytest.mark.parametrize(
    ("make", "why"),
    [(Net, "the model is no TorchScript"), (lambda: scripted().train(), "torch cannot freeze it .Freezing")],
)
def test_what_cannot_be_frozen_is_refused(make: Any, why: str) -> None:
    with pytest.raises(NotRunnable, match=why):
        ModelDoor(make()).freeze()


def lenient(model: Any) -> ModelDoor:
    door = ModelDoor(model)
    door.convert(half, half, torch.bfloat16)
    door.open(lenient=True)
    return door


class Cases(torch.nn.Module):
    """Computes what bfloat16 has not: a logarithm of a determinant."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.eye(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.det(x @ self.weight)


def test_where_the_variant_cannot_answer_the_eager_model_does_from_then_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Cases().eval()
    door = lenient(model)
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        assert [model(torch.eye(2)).item() for _ in range(3)] == [1.0] * 3
    assert door.served == 1
    assert caplog.text.count("The model runs as its handler made it from now on: ") == 1


def test_a_wrong_request_closes_no_lenient_door() -> None:
    model = torch.nn.Linear(2, 2)
    door = lenient(model)
    with torch.inference_mode():
        with pytest.raises(RuntimeError):
            model(torch.rand(1, 3))
        model(torch.rand(1, 2))
    assert door.served == 2


@pytest.mark.parametrize("how", ["in its place", "loaded", "assigned"])
def test_weights_may_change_behind_a_lenient_door(how: str) -> None:
    model, x = torch.nn.Linear(2, 2, bias=False), torch.eye(2)
    door = lenient(model)
    new = torch.full((2, 2), 3.0)
    if how == "in its place":
        with torch.no_grad():
            model.weight.copy_(new)
    else:
        model.load_state_dict({"weight": new}, assign=how == "assigned")
    with torch.inference_mode():
        assert torch.equal(model(x), new)
        assert torch.equal(model(x), new)
    assert door.served == 0


class Scaled(torch.nn.Module):
    """Has what a handler may change from one request to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2, bias=False)
        self.layer.weight = torch.nn.Parameter(torch.eye(2))
        self.factor = 1.0
        self.options = {"shift": 0.0}
        self.more: list[float] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.factor + self.options["shift"] + sum(self.more)


def other_factor(model: Scaled) -> None:
    model.factor = 3.0


def other_shift(model: Scaled) -> None:
    model.options["shift"] = 2.0


def one_more(model: Scaled) -> None:
    model.more.append(2.0)


def other_layer(model: Scaled) -> None:
    model.layer = torch.nn.Linear(2, 2, bias=False)


def other_weight(model: Scaled) -> None:
    model.layer.weight = torch.nn.Parameter(torch.ones(2, 2))


def other_data(model: Scaled) -> None:
    model.layer.weight.data = torch.ones(2, 2)


def a_hook(model: Scaled) -> None:
    model.layer.register_forward_hook(lambda layer, given, answer: answer + 1)


@pytest.mark.parametrize(
    "change", [other_factor, other_shift, one_more, other_layer, other_weight, other_data, a_hook]
)
def test_what_else_a_handler_changes_counts_behind_a_lenient_door(change: Callable[[Scaled], None]) -> None:
    model, x = Scaled().eval(), torch.eye(2)
    door = lenient(model)
    with torch.inference_mode():
        model.factor = float("1")  # another object, and the same number
        assert torch.equal(model(x), x)
        change(model)
        assert torch.equal(model(x), model.__class__.forward(model, x))
        assert not torch.equal(model(x), x)
    assert door.served == 1


def test_a_model_with_a_layer_of_torchscript_is_refused() -> None:
    layer: Any = torch.jit.script(torch.nn.ReLU())
    with pytest.raises(NotRunnable, match="its layer '1' is TorchScript"):
        opened(torch.nn.Sequential(torch.nn.Linear(2, 2), layer))


@pytest.mark.parametrize("change", [other_layer, other_weight, other_data])
def test_other_layers_and_weights_are_refused_behind_a_strict_door(change: Callable[[Scaled], None]) -> None:
    model, x = Scaled().eval(), torch.eye(2)
    opened(model)
    with torch.inference_mode():
        other_factor(model)
        assert torch.equal(model(x), x), "attributes are the copy's own"
        change(model)
        with pytest.raises(RuntimeError, match="weights were changed after it was loaded"):
            model(x)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_variants_batches_are_multiplied_in_one_step(frozen: bool) -> None:
    model = torch.nn.Linear(8, 8, bias=False).requires_grad_(not frozen)
    door = opened(model)
    with torch.inference_mode(), torch.profiler.profile(activities=[ProfilerActivity.CPU]) as seen:
        model(torch.rand(4, 3, 8).transpose(0, 1))
    assert door.served == 1
    steps = {event.key for event in seen.key_averages()}
    assert "aten::mm" in steps
    assert "aten::bmm" not in steps  # one product for each row
