"""Vocabulary files: plain ones, those of torchtext's classes of three ages, and what is none."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from torchkeeper.handler.vocabulary import Vocabulary, read_vocabulary

NUMBERS = {"<unk>": 0, "fine": 1, "day": 2, "fine day": 3}


class State:
    """Pickled as an object of torchtext's class is: the class's name and a state."""

    def __init__(self, *state: Any) -> None:
        self._kept = state[0] if len(state) == 1 else state

    def __getstate__(self) -> Any:
        return self._kept


def torchtexts(module: str, base: type) -> Any:
    return type("Vocab", (base,), {"__module__": module})


#: torchtext 0.8's class in Python, the one in C++ that came after it, and the module around that.
Old = torchtexts("torchtext.vocab", State)
Compiled = torchtexts("torchtext._torchtext", State)
Module = torchtexts("torchtext.vocab.vocab", torch.nn.Module)

OLD = Old({"freqs": Counter(NUMBERS), "itos": [*NUMBERS], "stoi": dict(NUMBERS), "vectors": None})


def compiled(*state: Any) -> Any:
    module = Module()
    module.vocab = Compiled(*state)
    return module


@pytest.fixture
def torchtext(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the classes importable, which pickle wants of those it writes."""
    for cls in (Old, Compiled, Module):
        module = ModuleType(cls.__module__)
        module.Vocab = cls  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, cls.__module__, module)
    monkeypatch.setitem(sys.modules, "torchtext", ModuleType("torchtext"))


def saved(path: Path, held: Any) -> Path:
    torch.save(held, path / "source_vocab.pt")
    return path / "source_vocab.pt"


@pytest.mark.usefixtures("torchtext")
@pytest.mark.parametrize(
    ("held", "default"),
    [
        (NUMBERS, 0),
        (OrderedDict(NUMBERS), 0),
        (OLD, 0),
        (compiled("0.0.1", [], [*NUMBERS, "<unk>"], []), 0),
        (compiled("0.0.2", [2], [*NUMBERS], []), 2),
        (compiled("0.0.2", [], [*NUMBERS], []), None),
    ],
)
def test_a_vocabulary_is_read_without_the_class_that_it_was_saved_by(
    tmp_path: Path, held: Any, default: int | None
) -> None:
    found = read_vocabulary(saved(tmp_path, held))
    assert found == NUMBERS
    assert found.default == default


def test_unknown_tokens() -> None:
    assert Vocabulary(NUMBERS, 0)(["day", "night"]) == [2, 0]
    assert len(Vocabulary(NUMBERS, 0)) == len(NUMBERS)
    with pytest.raises(KeyError, match="night"):
        Vocabulary(NUMBERS, None)["night"]


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ([*NUMBERS], "it holds a list, not token -> number"),
        ({"fine": 1.5}, "not all of it is text -> number"),
        (Path("/"), "Weights only load failed"),
        ({"a": print}, "Weights only load failed"),
    ],
)
def test_what_is_no_vocabulary_is_refused_with_the_way_to_convert_it(
    tmp_path: Path, held: Any, reason: str
) -> None:
    with pytest.raises(RuntimeError, match=reason) as caught:
        read_vocabulary(saved(tmp_path, held))
    assert "torch.load('source_vocab.pt', weights_only=False).get_stoi()" in str(caught.value)


@pytest.mark.usefixtures("torchtext")
def test_a_vocabulary_in_an_unknown_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cannot be read as a vocabulary"):
        read_vocabulary(saved(tmp_path, compiled("0.0.2", [])))


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source_vocab.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(RuntimeError, match=r"source_vocab\.pt cannot be read as a vocabulary"):
        read_vocabulary(tmp_path / "source_vocab.pt")
