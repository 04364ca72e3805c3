"""A model that was constructed with its random filling postponed is the one that it would have been."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import init

from torchkeeper.handler.postponed import Postponed


@pytest.fixture(autouse=True)
def unseeded() -> Iterator[None]:
    """torch as it is where nobody chose a seed."""
    with torch.random.fork_rng(devices=()):
        torch.default_generator.seed()
        yield


class Own(nn.Module):
    """What people write themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.Tensor(4, 4))
        self.scale.data.uniform_(-0.1, 0.1)
        self.linear = nn.Linear(4, 4)
        self.linear.weight.data.normal_(0.0, 0.02).mul_(2)
        self.words = nn.Embedding(8, 4, padding_idx=0)
        self.head = nn.Linear(4, 8, bias=False)
        self.head.weight = self.words.weight
        for part in self.modules():
            if isinstance(part, nn.Linear):
                init.xavier_uniform_(part.weight)
        init.trunc_normal_(self.scale, std=0.02)
        init.orthogonal_(self.linear.weight)


def own_and_first() -> nn.Module:
    """A module with a copy of a weight's first values."""
    model = nn.Sequential(nn.Linear(3, 3))
    model.register_buffer("first", model[0].weight.data.clone(), persistent=False)
    return model


class Measured(nn.Module):
    """Looks at its weights while it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 5)
        self.norm = float(self.linear.weight.detach().norm())
        self.register_buffer("largest", torch.stack([one.detach().max() for one in self.parameters()]))
        self.row = self.linear.weight[0]
        self.array = self.linear.bias.detach().numpy().copy()
        self.last = nn.Linear(5, 5)


MAKERS: dict[str, Callable[[], nn.Module]] = {
    "layers": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 2, 2), nn.PReLU()
    ),
    "recurrent": lambda: nn.ModuleList([nn.LSTM(3, 4, 2, bidirectional=True), nn.GRUCell(3, 3)]),
    "transformer": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 3),
    "attention": lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=2),
    "own": Own,
    "copy": own_and_first,
    "measured": Measured,
    "parametrized": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
    "spectral": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)),
}


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """All that it holds, plain attributes included."""
    found = dict(model.named_parameters()) | dict(model.named_buffers())
    return found | {name: value for name, value in vars(model).items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_played_in_the_end_is_what_would_have_been(name: str) -> None:
    state = torch.get_rng_state()
    plain = MAKERS[name]()
    torch.set_rng_state(state)
    with Postponed() as postponed:
        model = MAKERS[name]()
    postponed.settle(())
    expected, found = tensors(plain), tensors(model)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert found[key].equal(value), key
        assert found[key].requires_grad == value.requires_grad


@pytest.mark.parametrize("name", ["layers", "recurrent", "attention"])
def test_nothing_is_drawn_for_what_is_replaced(name: str) -> None:
    state = torch.get_rng_state()
    with Postponed() as postponed:
        model = MAKERS[name]()
    postponed.settle(model.parameters())
    assert torch.get_rng_state().equal(state)


def test_of_a_transformer_only_the_pattern_of_its_layers_is_drawn() -> None:
    def pattern() -> nn.Module:
        return nn.TransformerEncoderLayer(64, 2, 256, batch_first=True)

    with Postponed() as postponed:
        model = nn.TransformerEncoder(pattern(), 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7)
    postponed.settle(model.parameters())
    assert all(parameter.eq(7).all() for parameter in model.parameters())


def test_a_copy_keeps_what_it_was_copied_from() -> None:
    state = torch.get_rng_state()
    plain = own_and_first()
    torch.set_rng_state(state)
    with Postponed() as postponed:
        model = own_and_first()
    postponed.settle(model.parameters())
    assert tensors(model)["first"].equal(tensors(plain)["first"])


def test_who_looks_sees_filled_weights() -> None:
    with Postponed() as postponed:
        model = Measured()
        seen = float(model.linear.weight.detach().norm())
    postponed.settle(model.parameters())
    assert model.norm == seen > 0
    assert model.largest[0] == model.linear.weight.max()
    assert model.row.equal(model.linear.weight[0])
    assert (model.array == model.linear.bias.detach().numpy()).all()


def test_part_of_a_memory_that_is_replaced_leaves_the_rest_filled() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flat = torch.zeros(1000).uniform_(1, 2)
            self.weight = nn.Parameter(self.flat[:10])

    with Postponed() as postponed:
        model = Flat()
    postponed.settle(model.parameters())
    assert model.flat.ge(1).all()


def seeded(draw: Callable[[], torch.Tensor]) -> Callable[[], nn.Module]:
    """A model that draws constants from a seed of its own, before and after a layer."""

    class Seeded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.Linear(3, 3)
            torch.manual_seed(5)
            self.one = draw()
            self.between = nn.Linear(3, 3)
            float(self.before.weight.detach().sum())
            self.other = draw()

    return Seeded


@pytest.mark.parametrize("draw", [lambda: torch.randn(4), lambda: torch.empty(4).normal_()])
def test_constants_from_a_seed_are_the_same(draw: Callable[[], torch.Tensor]) -> None:
    plain: Any = seeded(draw)()
    torch.default_generator.seed()
    with Postponed() as postponed:
        model: Any = seeded(draw)()
    postponed.settle(())
    assert model.one.equal(plain.one)
    assert model.other.equal(plain.other)
    assert model.between.weight.equal(plain.between.weight)
    assert model.before.weight.abs().sum() > 0


def test_a_seed_that_was_chosen_before_postpones_nothing() -> None:
    torch.manual_seed(3)
    plain = nn.Linear(3, 3)
    torch.manual_seed(3)
    with Postponed() as postponed:
        model = nn.Linear(3, 3)
    postponed.settle(model.parameters())
    assert model.weight.equal(plain.weight)


def test_memory_of_others_is_filled_at_once() -> None:
    array = np.zeros(1000, np.float32)
    with Postponed():
        torch.from_numpy(array).uniform_(1, 2)
        assert (array >= 1).all()


def test_a_generator_of_ones_own_is_used_at_once() -> None:
    expected = torch.empty(4).uniform_(generator=torch.Generator().manual_seed(1))
    with Postponed() as postponed:
        found = torch.empty(4).uniform_(generator=torch.Generator().manual_seed(1))
    postponed.settle((found,))
    assert found.equal(expected)


def test_a_change_that_gradients_forbid_is_refused_at_once() -> None:
    with Postponed(), pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        nn.Parameter(torch.empty(3)).uniform_()


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
@pytest.mark.parametrize(
    "copy",
    [lambda one: one.new_tensor(one), lambda one: one.new_full((2,), one[0])],
    ids=["new_tensor", "new_full"],
)
def test_a_new_tensor_of_unfilled_values_has_the_filled_ones(
    copy: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    with Postponed():
        bias = nn.Linear(3, 3).bias.detach()
        made = copy(bias)
    assert bias.abs().sum() > 0
    assert made.equal(copy(bias))


def test_what_cannot_be_filled_later_is_filled_at_once() -> None:
    """Tensors of inference mode may not be changed outside, and those of vmap are not there any more."""

    def drawn(_: torch.Tensor) -> torch.Tensor:
        return torch.empty(3).uniform_(1, 2)

    with Postponed() as postponed:
        with torch.inference_mode():
            layer = nn.Linear(3, 3)
        rows = torch.func.vmap(drawn, randomness="different")(torch.zeros(2))
    postponed.settle(())
    with torch.no_grad():
        assert layer.weight.count_nonzero() > 0
    assert rows.ge(1).all()
