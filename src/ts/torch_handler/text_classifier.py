"""The classifier of texts; see torchkeeper.handler.text."""

from torchkeeper.handler.labels import map_class_to_label as map_class_to_label
from torchkeeper.handler.text import TextClassifier as TextClassifier
from torchkeeper.handler.text import TextHandler as TextHandler
from torchkeeper.handler.tokens import ngrams_iterator as ngrams_iterator

__all__ = ["TextClassifier", "TextHandler", "map_class_to_label", "ngrams_iterator"]
