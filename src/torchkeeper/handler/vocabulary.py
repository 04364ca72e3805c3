"""Reads vocabulary files (token -> number) as data, also those that torchtext's classes were pickled to.

Owns what may stand in such a file; no code of it runs, and torchtext is not needed. Source of the forms:
torchtext 0.8 (`stoi`), 0.9 and 0.10 (tokens in order) and what came after.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from torchkeeper.handler.safe_text import first_sentence

#: The token that stands for all that a vocabulary does not hold, by custom.
UNKNOWN = "<unk>"
#: What reading a file that is none raises: broken files, other objects, and states of other forms.
_NO_VOCABULARY = (pickle.UnpicklingError, RuntimeError, EOFError, TypeError, ValueError, LookupError)
#: First version of the state of torchtext's C++ class that has its default's number; before, the unknown
#: token came last.
_WITH_DEFAULT = "0.0.2"


class Vocabulary(dict[str, int]):
    """Token -> number; `vocabulary([token, ...])` is the list of their numbers, as of torchtext's class.

    Args:
        numbers: token -> number.
        default: number of each token that is not among them; None for a KeyError.
    """

    def __init__(self, numbers: Mapping[str, int], default: int | None) -> None:
        super().__init__(numbers)
        self.default = default

    def __missing__(self, token: str) -> int:
        if self.default is None:
            raise KeyError(token)
        return self.default

    def __call__(self, tokens: Iterable[str]) -> list[int]:
        """The tokens' numbers."""
        return [self[token] for token in tokens]


class _Pickled:
    """Stands for a class of torchtext's while its object is read: keeps its state, and does nothing else."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _stand_in(module: str) -> Callable[..., Any]:
    return type("Vocab", (_Pickled,), {"__module__": module})


_STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    _stand_in(module)
    for module in (
        "torchtext.vocab",
        "torchtext.vocab.vocab",
        "torchtext._torchtext",
        "torchtext.legacy.vocab",
        "torchtext.experimental.vocab",
        "torchtext.experimental.vocab.vocab",
    )
]


def read_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary of a file that torch.save wrote: a dict, or torchtext's object.

    Raises:
        RuntimeError: it holds something else; the message says how to convert it.
    """
    try:
        return _vocabulary(_held(path))
    except _NO_VOCABULARY as error:
        load = f"torch.load({path.name!r}, weights_only=False)"
        raise RuntimeError(
            f"{path.name} cannot be read as a vocabulary ({first_sentence(error, 200)}); convert it once "
            f"where torchtext is installed: torch.save(dict({load}.get_stoi()), {path.name!r})"
        ) from error


def _held(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "torchtext" not in str(error):
            raise
    with torch.serialization.safe_globals(_STAND_INS):
        return torch.load(path, map_location="cpu", weights_only=True)


def _vocabulary(held: Any) -> Vocabulary:
    """What the file's object means.

    Raises:
        TypeError, ValueError, KeyError: nothing.
    """
    if isinstance(held, _Pickled):
        inner = held.state.get("vocab")
        return _of_tokens(*inner.state) if isinstance(inner, _Pickled) else _of_numbers(held.state["stoi"])
    return _of_numbers(held)


def _of_numbers(numbers: Any) -> Vocabulary:
    if not isinstance(numbers, Mapping):
        raise TypeError(f"it holds a {type(numbers).__name__}, not token -> number")
    if not all(type(token) is str and type(number) is int for token, number in numbers.items()):
        raise TypeError("not all of it is text -> number")
    return Vocabulary(numbers, numbers.get(UNKNOWN))


def _of_tokens(version: str, integers: list[int], tokens: list[str], _tensors: Any) -> Vocabulary:
    default = integers[0] if integers else None
    if version < _WITH_DEFAULT:
        *tokens, unknown = tokens
        default = tokens.index(unknown)
    return Vocabulary({token: number for number, token in enumerate(tokens)}, default)
