"""What may be loaded, and the sentence for each thing that may not."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from torchkeeper.handler.weights import load_eager, load_whole

CPU = torch.device("cpu")
SRC = Path(__file__).parents[2] / "src"


def test_safetensors_hold_a_state_dict_too(model_dir: Path) -> None:
    state = torch.load(model_dir / "net.pth", weights_only=True)
    save_file(state, model_dir / "net.safetensors")
    model = load_eager(model_dir / "net.py", model_dir / "net.safetensors", CPU)
    for name, value in model.state_dict().items():
        assert value.equal(state[name])


def test_without_weights_the_class_keeps_its_own(model_dir: Path) -> None:
    assert load_eager(model_dir / "net.py", None, CPU)(torch.zeros(1, 1, 8, 8)).shape == (1, 4)


def test_helper_classes_do_not_hide_the_model(model_dir: Path) -> None:
    source = model_dir / "net.py"
    source.write_text(source.read_text() + "\n\nclass Options:\n    pass\n")
    assert type(load_eager(source, None, CPU)).__name__ == "Net"


def test_weights_that_would_run_code_are_refused(model_dir: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path(model_dir / "ran").touch, ())

    (model_dir / "evil.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    torch.save({"x": Evil()}, model_dir / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(RuntimeError, match=f"{name} holds no plain state dict"):
            load_eager(model_dir / "net.py", model_dir / name, CPU)
    assert not (model_dir / "ran").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("net.pth", "No model weights could be loaded from net.pth: without --model-file"),
        ("a.onnx", "a.onnx cannot be loaded by onnxruntime"),
        ("a.so", "a.so is no library of torch._export.aot_compile that runs here"),
        ("a.plan", "a.plan is a TensorRT engine, which runs only on .* as an exported program"),
        ("a.pt2", r"a.pt2 is no .pt2 file"),
        ("state.pt", "state.pt is no TorchScript file .*--model-file"),
        (None, "No model weights could be loaded: the archive names neither"),
    ],
)
def test_whole_models_that_cannot_be_read_are_named(model_dir: Path, name: str | None, text: str) -> None:
    torch.save({"x": torch.zeros(1)}, model_dir / "state.pt")
    with pytest.raises(RuntimeError, match=text):
        load_whole(model_dir / name if name else None, CPU)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (b"no file of torch", "w.pth holds no plain state dict"),
        (b"", "w.pth holds no plain state dict"),
        (torch.zeros(2), "w.pth holds a Tensor, not a state dict"),
        ({"other": torch.zeros(2)}, "Missing key"),
    ],
)
def test_weights_that_do_not_fit_are_named(model_dir: Path, weights: Any, text: str) -> None:
    if isinstance(weights, bytes):
        (model_dir / "w.pth").write_bytes(weights)
    else:
        torch.save(weights, model_dir / "w.pth")
    with pytest.raises(RuntimeError, match=text):
        load_eager(model_dir / "net.py", model_dir / "w.pth", CPU)


def test_damaged_safetensors_are_named(model_dir: Path) -> None:
    (model_dir / "w.safetensors").write_bytes(b"12345678901234567890")
    with pytest.raises(RuntimeError, match=r"w\.safetensors is no safetensors file"):
        load_eager(model_dir / "net.py", model_dir / "w.safetensors", CPU)


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Missing the model\.py file"):
        load_eager(tmp_path / "none.py", None, CPU)


def test_two_models_in_a_source_are_named(model_dir: Path) -> None:
    source = model_dir / "two.py"
    source.write_text((model_dir / "net.py").read_text() + "\n\nclass Other(torch.nn.Module):\n    pass\n")
    with pytest.raises(ValueError, match="Expected only one class as model definition"):
        load_eager(source, None, CPU)


OPERATORS = """
import torch

library = torch.library.Library({name!r}, "DEF")
library.define("twice(Tensor a) -> Tensor")
library.impl("twice", lambda a: a * 2, "CPU")
"""
SCRIPT = """
import sys, torch
import {name}


class Net(torch.nn.Module):
    def forward(self, x):
        return torch.ops.{name}.twice(x)


torch.jit.save(torch.jit.trace(Net(), torch.zeros(2)), sys.argv[1])
"""


@pytest.fixture
def foreign(tmp_path: Path) -> Callable[[str], Path]:
    """Makes TorchScript that needs an operator of a library, which the module of that name brings."""

    def make(name: str) -> Path:
        (tmp_path / f"{name}.py").write_text(OPERATORS.format(name=name))
        path = tmp_path / "foreign.pt"
        command = [sys.executable, "-W", "ignore", "-c", SCRIPT.format(name=name), path]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
        return path

    return make


@pytest.mark.slow
def test_torchscript_gets_the_operators_of_an_installed_package(
    foreign: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = foreign("torchaudio")
    monkeypatch.syspath_prepend(path.parent)
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    assert load_whole(path, CPU)(torch.ones(2)).tolist() == [2, 2]


@pytest.mark.slow
def test_torchscript_says_which_package_it_lacks(
    foreign: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = foreign("torchvision")
    monkeypatch.setitem(sys.modules, "torchvision", None)  # what an absent package looks like to import
    with pytest.raises(RuntimeError, match=r"foreign.pt needs torchvision, .*: pip install torchvision$"):
        load_whole(path, CPU)


@pytest.mark.slow
def test_operators_that_nobody_brings_are_named(foreign: Callable[[str], Path]) -> None:
    with pytest.raises(RuntimeError, match=r"foreign.pt needs unheard_of's operators"):
        load_whole(foreign("unheard_of"), CPU)


def test_a_model_file_says_which_package_it_lacks(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)  # what an absent package looks like to import
    (model_dir / "resnet.py").write_text("from torchvision.models import resnet18\n")
    text = "resnet.py needs torchvision, which is not installed here: pip install torchvision"
    with pytest.raises(ModuleNotFoundError, match=f"^{text}$"):
        load_eager(model_dir / "resnet.py", None, CPU)
    (model_dir / "other.py").write_text("import no_such_module_here\n")
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'no_such_module_here'$"):
        load_eager(model_dir / "other.py", None, CPU)


def test_torchscript_is_served_with_a_warning(model_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_whole(model_dir / "script.pt", CPU)
    assert "script.pt is TorchScript, which PyTorch has deprecated" in caplog.text
    assert "torchkeeper export" in caplog.text


# --- all of the package ---------------------------------------------------------------------------------

#: Where a pickle that is code is loaded as such, by people's wish.
AS_CODE = {"handler/mlflow.py"}


def calls_of_load(source: str) -> list[ast.Call]:
    """The calls of torch.load, by any name that it may have got."""
    tree = ast.parse(source)
    names = {"torch.load", "torch.serialization.load"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("torch", "torch.serialization"):
            names |= {alias.asname or alias.name for alias in node.names if alias.name == "load"}
        elif isinstance(node, ast.Import):
            names |= {f"{one.asname}.load" for one in node.names if one.name == "torch" and one.asname}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if ast.unparse(call.func) in names]


def test_weights_are_read_by_weights_only_and_it_is_said_each_time() -> None:
    loading = {}
    for folder in ("torchkeeper", "ts", "model_archiver"):
        for path in (SRC / folder).rglob("*.py"):
            name = path.relative_to(SRC / folder).as_posix()
            for call in calls_of_load(path.read_text()):
                said = {word.arg: ast.unparse(word.value) for word in call.keywords}
                loading[name] = said.get("weights_only", "")
                assert loading[name] == str(name not in AS_CODE), f"{name}:{call.lineno}"
    assert loading.keys() >= {"handler/weights.py", *AS_CODE}


@pytest.mark.parametrize(
    "source",
    [
        "import torch as t\nt.load(x)",
        "from torch import load as read\nread(x)",
        "import torch\ntorch.load(x)",
    ],
)
def test_no_name_hides_a_load(source: str) -> None:
    assert len(calls_of_load(source)) == 1
