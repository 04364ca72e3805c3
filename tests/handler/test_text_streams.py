"""Texts of a batch, piece by piece."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest
import torch

from torchkeeper.handler.text_streams import TextIteratorStreamerBatch

WORDS = ["a ", "b ", "c ", "d "]


class Tokenizer:
    """Numbers are words."""

    def decode(self, tokens: Any, **how: Any) -> str:
        return "".join(WORDS[int(token)] for token in tokens)


def test_without_transformers_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="pip install transformers"):
        TextIteratorStreamerBatch(Tokenizer(), 2)


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("transformers"), reason="transformers is not installed")
def test_rows_of_batch_after_batch_are_streamed_side_by_side() -> None:
    streamer = TextIteratorStreamerBatch(Tokenizer(), 2, skip_prompt=True, timeout=60)
    for first in (0, 1, 2):
        streamer.put(torch.tensor([[0, 0], [0, 0]]))
        for tokens in ([first, 1], [2, 3], [1, 0]):
            streamer.put(torch.tensor(tokens).reshape(2, 1))
        with pytest.raises(ValueError, match=r"2 rows are streamed, not a tensor of shape \(3, 1\)"):
            streamer.put(torch.zeros(3, 1))
        streamer.end()
        pieces = list(streamer)
        texts = ["".join(piece[row]["text"] for piece in pieces) for row in range(2)]
        assert texts == [f"{WORDS[first]}c b ", "b d a "]
