"""The networks of `handlers/`, as files for archives and as they are without a server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from archives import imported

LABELS = {str(number): ["n0", name] for number, name in enumerate(("ant", "bee", "cat", "dog", "eel", "fox"))}
NAMES = [name for _, name in LABELS.values()]
#: Names of built-in classifiers' models, as `--model-file` has them.
BUILTIN = ("alexnet", "densenet", "resnet", "squeezenet")


class Models:
    """The models of the archives, as they are without a server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, torch.nn.Module] = {}
        torch.manual_seed(4)
        imported("small_networks.py")
        for name in (*BUILTIN, "vgg", "digits"):
            module = imported(f"{name}_model.py")
            self.known[name] = model = (module.Net if name == "digits" else module.ImageClassifier)()
            for parameter in model.parameters():
                parameter.data *= 2  # so that pictures differ clearly
            torch.save(self.checkpoint(name, model), folder / f"{name}.pth")
            model.eval()

    @staticmethod
    def checkpoint(name: str, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """The model's state dict; DenseNet's as old checkpoints name its layers."""
        old = r"\1.\2" if name == "densenet" else r"\g<0>"
        named = {
            re.sub(r"(norm|conv)(\d)(?=\.)", old, key): value for key, value in model.state_dict().items()
        }
        assert name != "densenet" or named.keys() != model.state_dict().keys()
        return named

    def says(self, name: str, tensor: torch.Tensor) -> Any:
        """The probabilities of the five best classes of one picture, by name."""
        with torch.no_grad():
            probabilities = self.known[name](tensor[None]).softmax(1)[0]
        best = probabilities.argsort(descending=True)[:5]
        return pytest.approx({NAMES[place]: probabilities[place].item() for place in best}, abs=1e-5)

    def best(self, name: str, tensor: torch.Tensor) -> int:
        with torch.no_grad():
            return int(self.known[name](tensor).argmax())
