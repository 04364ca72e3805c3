"""The base of handlers for texts; see torchkeeper.handler.text."""

from torchkeeper.handler.base import BaseHandler as BaseHandler
from torchkeeper.handler.contractions import CONTRACTION_MAP as CONTRACTION_MAP
from torchkeeper.handler.contractions import CONTRACTIONS_PATTERN as CONTRACTIONS_PATTERN
from torchkeeper.handler.helpers import CLEANUP_REGEX as CLEANUP_REGEX
from torchkeeper.handler.text import TextHandler as TextHandler
from torchkeeper.handler.tokens import get_tokenizer as get_tokenizer

__all__ = [
    "CLEANUP_REGEX",
    "CONTRACTIONS_PATTERN",
    "CONTRACTION_MAP",
    "BaseHandler",
    "TextHandler",
    "get_tokenizer",
]
