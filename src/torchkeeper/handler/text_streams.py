"""Texts of a batch as a model generates them, piece by piece: for `model.generate(..., streamer=...)`.

Source of names and parameters: TorchServe's `ts.handler_utils.hf_batch_streamer`. Needs transformers.
"""

from __future__ import annotations

import importlib
from typing import Any


class TextIteratorStreamerBatch:
    """One streamer per row; iterating gives a list with {"text": piece} per row until the texts end.

    The next batch's texts may follow through the same streamers.

    Args:
        tokenizer: decodes the tokens.
        batch_size: rows.
        skip_prompt: whether the prompts are left out.
        timeout: seconds to wait for a piece; None: without bound.
        decode_kwargs: for `tokenizer.decode`.

    Raises:
        ImportError: transformers is not installed.
    """

    def __init__(
        self,
        tokenizer: Any,
        batch_size: int,
        skip_prompt: bool = False,
        timeout: float | None = None,
        **decode_kwargs: Any,
    ) -> None:
        try:
            streamers = importlib.import_module("transformers.generation.streamers")
        except ImportError as error:
            raise ImportError(
                f"texts are streamed by transformers: pip install transformers ({error})"
            ) from None
        self.batch_size = batch_size
        self.streamers = [
            streamers.TextIteratorStreamer(tokenizer, skip_prompt, timeout, **decode_kwargs)
            for _ in range(batch_size)
        ]

    def put(self, value: Any) -> None:
        """Takes the next tokens, one row each; raises ValueError for another number of rows."""
        if value.shape[0] != self.batch_size:
            raise ValueError(
                f"{self.batch_size} rows are streamed, not a tensor of shape {tuple(value.shape)}"
            )
        for row, streamer in enumerate(self.streamers):
            streamer.put(value[row : row + 1])

    def end(self) -> None:
        """The texts are whole."""
        for streamer in self.streamers:
            streamer.end()

    def __iter__(self) -> TextIteratorStreamerBatch:
        return self

    def __next__(self) -> list[dict[str, str]]:
        # Every row's end is taken, or it would be the beginning of the next batch's text.
        pieces = [next(streamer, None) for streamer in self.streamers]
        texts = [{"text": piece} for piece in pieces if piece is not None]
        if len(texts) < len(pieces):
            raise StopIteration
        return texts
