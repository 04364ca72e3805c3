"""Texts of a batch, streamed; see torchkeeper.handler.text_streams."""

from torchkeeper.handler.text_streams import TextIteratorStreamerBatch as TextIteratorStreamerBatch

__all__ = ["TextIteratorStreamerBatch"]
