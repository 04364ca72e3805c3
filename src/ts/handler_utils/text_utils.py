"""Tokens and n-grams; see torchkeeper.handler.tokens."""

from torchkeeper.handler.tokens import get_tokenizer as get_tokenizer
from torchkeeper.handler.tokens import ngrams_iterator as ngrams_iterator

__all__ = ["get_tokenizer", "ngrams_iterator"]
