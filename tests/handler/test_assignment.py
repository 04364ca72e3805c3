"""Weights that are mapped: the values of copied ones, one memory for all, and a file that stays as it is."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from torchkeeper.handler import assignment
from torchkeeper.handler.assignment import assign, loads_as_usual
from torchkeeper.handler.weights import load_eager

CPU = torch.device("cpu")
SOURCE = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(500, 64)
        self.norm = torch.nn.BatchNorm1d(64)
        self.inner = torch.nn.LSTM(64, 64)
        self.head = torch.nn.Linear(64, 500, bias=False)
        self.head.weight = self.words.weight
        self.fixed = torch.nn.Parameter(torch.zeros(1000), requires_grad=False)

    def forward(self, x):
        return self.head(self.inner(self.norm(self.words(x)))[0])
"""
WORDS = torch.arange(7)


@pytest.fixture(autouse=True)
def unseeded() -> Iterator[None]:
    """torch as it is where nobody chose a seed."""
    with torch.random.fork_rng(devices=()):
        torch.default_generator.seed()
        yield


def net() -> Any:
    """The model of SOURCE, its buffers used."""
    namespace: dict[str, Any] = {}
    exec(SOURCE, namespace)
    model = namespace["Net"]()
    model(WORDS)
    return model.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """tied_net.py, and its weights as net.pth and net.safetensors."""
    (tmp_path / "tied_net.py").write_text(SOURCE)
    state = net().state_dict()
    torch.save(state, tmp_path / "net.pth")
    save_file({name: value.clone() for name, value in state.items()}, tmp_path / "net.safetensors")
    return tmp_path


def mapped(path: Path) -> list[range]:
    """Where this process has the file in its memory."""
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(f" {path}")]
    return [range(*(int(end, 16) for end in line.split()[0].split("-"))) for line in lines]


def on_file(tensor: torch.Tensor, path: Path) -> bool:
    """Whether a tensor's memory is the file's."""
    return any(tensor.data_ptr() in pages for pages in mapped(path))


def load(folder: Path, name: str = "net.pth", *, shared: bool = True) -> Any:
    """The model of a folder."""
    return load_eager(folder / "tied_net.py", folder / name, CPU, mapped=shared).eval()


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_parameters_are_the_file_and_the_model_is_the_same(folder: Path, name: str) -> None:
    copied, model = load(folder, name, shared=False), load(folder, name)
    for key, value in copied.state_dict().items():
        assert model.state_dict()[key].equal(value), key
    assert model(WORDS).equal(copied(WORDS))
    for key, parameter in model.named_parameters():
        assert on_file(parameter, folder / name), key
        assert parameter.requires_grad == (key != "fixed")
    assert model.head.weight is model.words.weight
    assert model.norm.num_batches_tracked == 1
    assert not any(on_file(buffer, folder / name) for buffer in model.buffers())
    assert not any(on_file(parameter, folder / name) for parameter in copied.parameters())


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_file_is_let_go_of_with_its_model(folder: Path, name: str) -> None:
    load(folder, name, shared=False)
    assert not mapped(folder / name)
    model = load(folder, name)
    assert mapped(folder / name)
    del model
    assert not mapped(folder / name)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_training_changes_the_model_and_not_the_file(folder: Path, name: str) -> None:
    before = (folder / name).read_bytes()
    one, other = load(folder, name), load(folder, name)
    optimizer = torch.optim.SGD(one.parameters(), lr=0.5)
    one.train()(WORDS).square().sum().backward()
    optimizer.step()
    assert not one.words.weight.equal(other.words.weight)
    with torch.no_grad():
        one.fixed.add_(1)
    assert one.fixed.eq(1).all()
    assert other.fixed.eq(0).all()
    assert (folder / name).read_bytes() == before


def test_weights_of_another_dtype_become_the_models(folder: Path) -> None:
    state = net().half().state_dict()
    torch.save(state, folder / "half.pth")
    model = load(folder, "half.pth")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.words.weight.equal(state["words.weight"].float())
    assert model(WORDS).isfinite().all()


def deflated(path: Path) -> None:
    """Compresses a file of torch.save."""
    with zipfile.ZipFile(path) as file:
        held = {entry.filename: file.read(entry) for entry in file.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in held.items():
            file.writestr(name, data)


def old(path: Path) -> None:
    """Makes it a file of torch before 1.6."""
    torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("change", [deflated, old])
def test_files_that_cannot_be_mapped_are_read(folder: Path, change: Callable[[Path], None]) -> None:
    expected = load(folder)(WORDS).detach()
    change(folder / "net.pth")
    model = load(folder)
    assert model(WORDS).equal(expected)
    assert not mapped(folder / "net.pth")


def given(model: nn.Module, state: dict[str, Any]) -> dict[str, bool]:
    """Gives a model a state; by name, whether the parameter took the tensor over."""
    tensors = dict(state)
    assert loads_as_usual(model)
    assign(model, state)
    model.load_state_dict(state)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        assert parameter.equal(tensors[name].to(parameter.dtype)), name
    return {
        name: parameter.data_ptr() == tensors[name].data_ptr()
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }


def two() -> Any:
    """Two layers without bias."""
    return nn.ModuleList(nn.Linear(3, 3, bias=False) for _ in range(2))


def tied() -> Any:
    """Two layers with one weight."""
    model = two()
    model[1].weight = model[0].weight
    return model


def test_two_parameters_never_become_one() -> None:
    value = torch.randn(3, 3)
    state = {"0.weight": value, "1.weight": value.view(3, 3)}
    assert given(two(), state) == {"0.weight": False, "1.weight": False}
    flat = torch.randn(18)
    lapping = {"0.weight": flat[:9].view(3, 3), "1.weight": flat[8:17].view(3, 3)}
    assert given(two(), lapping) == {"0.weight": False, "1.weight": False}
    apart = {"0.weight": flat[:9].view(3, 3), "1.weight": flat[9:].view(3, 3)}
    assert given(two(), apart) == {"0.weight": True, "1.weight": True}


def test_one_parameter_of_two_names_stays_one_whatever_the_file_says() -> None:
    shared = torch.randn(3, 3)
    assert given(tied(), {"0.weight": shared, "1.weight": shared}) == {"0.weight": True, "1.weight": True}
    model = tied()
    state = {"0.weight": torch.zeros(3, 3), "1.weight": torch.ones(3, 3)}
    assign(model, state)
    model.load_state_dict(state)
    assert model[0].weight is model[1].weight
    assert model[0].weight.eq(1).all()  # the last one wins, as when copied
    assert all(value is model[0].weight for value in state.values())


def test_a_view_of_a_weight_sees_the_new_values() -> None:
    layer = nn.Linear(3, 3, bias=False)
    row, array = layer.weight.detach()[0], layer.weight.detach().numpy()
    assert given(layer, {"weight": torch.ones(3, 3)}) == {"weight": False}
    assert row.eq(1).all()
    assert (array == 1).all()


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        (torch.zeros(3, 3), torch.ones(3, 3, dtype=torch.float64)),
        (torch.zeros(3, 3), torch.ones(3, 3).t()[:, [0, 1, 2]].t()),
        (torch.zeros(3, 3), torch.ones(3, 1).expand(3, 3)),
        (torch.zeros(3, 3), nn.Parameter(torch.ones(3, 3))),
        (torch.zeros(2, 2, 2, 2).contiguous(memory_format=torch.channels_last), torch.ones(2, 2, 2, 2)),
        (torch.zeros(0), torch.zeros(0)),
    ],
)
def test_what_differs_in_more_than_its_values_is_copied(parameter: torch.Tensor, value: torch.Tensor) -> None:
    model = nn.Module()
    model.weight = nn.Parameter(parameter)
    state = {"weight": value}
    assign(model, state)
    assert state["weight"] is value
    model.load_state_dict(state)
    assert model.weight.equal(value.to(parameter.dtype))
    assert model.weight.stride() == parameter.stride()


def test_where_torch_does_not_count_users_all_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(3, 3)
    state = {"weight": torch.ones(3, 3), "bias": torch.ones(3)}
    assert given(layer, state.copy()) == {"weight": True, "bias": True}
    monkeypatch.delattr(assignment.torch._C, "_storage_Use_Count")
    assert given(nn.Linear(3, 3), state) == {"weight": False, "bias": False}


class Loads(nn.Linear):
    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)


class LoadsAll(nn.Linear):
    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return super().load_state_dict(*args, **kwargs)


def hooked(before: bool) -> nn.Module:
    layer = nn.Linear(3, 3)
    if before:
        layer.register_load_state_dict_pre_hook(lambda *_: None)
    else:
        layer.register_load_state_dict_post_hook(lambda *_: None)
    return layer


@pytest.mark.parametrize(
    ("model", "usual"),
    [
        (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm2d(3), nn.InstanceNorm1d(3)), True),
        (nn.Sequential(Loads(3, 3)), False),
        (LoadsAll(3, 3), False),
        (nn.Sequential(hooked(True)), False),
        (nn.Sequential(hooked(False)), False),
        (nn.LazyLinear(3), False),
        (nn.Sequential(nn.Linear(3, 3), torch.jit.script(nn.Linear(3, 3))), False),
    ],
)
def test_models_that_load_in_a_way_of_their_own(model: nn.Module, usual: bool) -> None:
    assert loads_as_usual(model) == usual


def test_a_model_that_loads_in_its_own_way_starts_from_filled_weights(folder: Path) -> None:
    source = (
        SOURCE
        + """
    def load_state_dict(self, state, *args, **kwargs):
        state.pop("fixed")
        state["inner.weight_ih_l0"] = self.inner.weight_ih_l0 * 2
        return super().load_state_dict(state, strict=False)
"""
    )
    (folder / "tied_net.py").write_text(source)
    weight = load(folder).inner.weight_ih_l0
    assert 0 < weight.abs().max() <= 2 / 8  # twice what LSTM draws, which is within 1 / sqrt(64)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("change", [{"fixed": None}, {"other": torch.zeros(1)}, {"fixed": torch.zeros(2)}])
def test_weights_that_do_not_fit_are_told_as_ever(folder: Path, change: dict[str, Any], shared: bool) -> None:
    state = {**net().state_dict(), **change}
    state = {name: value for name, value in state.items() if value is not None}
    torch.save(state, folder / "other.pth")
    with pytest.raises(RuntimeError) as expected:
        net().load_state_dict(state)
    with pytest.raises(RuntimeError) as found:
        load(folder, "other.pth", shared=shared)
    assert str(found.value) == str(expected.value)
