"""Handlers for texts: words in, token numbers to the model, labels out.

Knows how a text is cleaned and counted, and nothing of how words become tokens (`handler.tokens`) or where
their numbers come from (`handler.vocabulary`). Source: TorchServe's `text_handler` and `text_classifier`.
"""

from __future__ import annotations

import os
import string
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional

from torchkeeper.handler import contractions, explain
from torchkeeper.handler.base import BaseHandler
from torchkeeper.handler.builtin import SOURCE_VOCAB
from torchkeeper.handler.context import Context
from torchkeeper.handler.errors import PredictionException
from torchkeeper.handler.helpers import CLEANUP_REGEX
from torchkeeper.handler.labels import map_class_to_label, names_classes
from torchkeeper.handler.rows import payload, readable
from torchkeeper.handler.safe_text import safe_repr
from torchkeeper.handler.timing import timed
from torchkeeper.handler.tokens import get_tokenizer, ngrams_iterator
from torchkeeper.handler.vocabulary import read_vocabulary

NO_EMBEDDING = "Explanations of texts need a model whose embedding is its attribute `embedding`"

_PUNCTUATION = str.maketrans("", "", string.punctuation)


class TextHandler(BaseHandler):
    """Base of handlers for texts: reads the archive's vocabulary, and has the steps that clean a text."""

    def __init__(self) -> None:
        super().__init__()
        self.source_vocab: Any = None
        self.tokenizer = get_tokenizer("basic_english")
        self.input_text: Any = None
        #: Attribution to the model's `embedding`; None where it cannot be.
        self.lig: Any = None

    def initialize(self, context: Context) -> None:
        """Loads the model and the vocabulary; `self.lig` explains if Captum is installed and the model eager.

        Raises:
            RuntimeError: there is no vocabulary, or none that can be read.
        """
        super().initialize(context)
        named = self.manifest["model"].get("sourceVocab")
        model_dir = str(context.system_properties.get("model_dir"))
        path = os.path.join(model_dir, named) if named else self.get_source_vocab_path(context)
        self.source_vocab = read_vocabulary(Path(path))
        layer = getattr(self.model, "embedding", None)
        self.lig = None if layer is None else explain.integrated_gradients(self.model, layer)

    def get_source_vocab_path(self, ctx: Context) -> str:
        """Where the vocabulary is.

        Raises:
            RuntimeError: it is not in the archive.
        """
        path = os.path.join(str(ctx.system_properties.get("model_dir")), SOURCE_VOCAB)
        if not os.path.isfile(path):
            raise RuntimeError(f"the archive has no {SOURCE_VOCAB}: add the vocabulary by --extra-files")
        return path

    def _expand_contractions(self, text: str) -> str:
        return contractions.expand(text)

    def _remove_accented_characters(self, text: str) -> str:
        return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")

    def _remove_html_tags(self, text: str) -> str:
        return CLEANUP_REGEX.sub("", text)

    def _remove_punctuation(self, text: str) -> str:
        return text.translate(_PUNCTUATION)

    def _remove_puncutation(self, *args: Any, **kwargs: Any) -> str:
        """The name that it has in old handlers."""
        return self._remove_punctuation(*args, **kwargs)

    def _tokenize(self, text: str) -> list[str]:
        return self.tokenizer(text)

    def get_word_token(self, input_tokens: Sequence[str]) -> list[str]:
        """The tokens as words, without the mark that byte-pair tokenizers put in a space's place."""
        return [token.replace("Ġ", "") for token in input_tokens]

    def summarize_attributions(self, attributions: Any) -> Any:
        """Attributions of a layer's output as shares, in TorchServe's scale."""
        shares = torch.nn.functional.softmax(attributions, dim=0 if attributions.dim() in (0, 1, 3) else 1)
        return shares / torch.linalg.vector_norm(shares.sum(dim=-1))


class Texts(tuple[torch.Tensor, list[Any]]):
    """What `TextClassifier.preprocess` makes of a batch: (token numbers, words).

    The numbers of all texts are in one tensor; `offsets` says where each begins. `words` is the list of one
    text's words, or of such lists if there are more texts.
    """

    offsets: torch.Tensor

    def __new__(cls, texts: Sequence[tuple[list[str], list[int]]], device: Any) -> Texts:
        words = [words for words, _ in texts]
        numbers = torch.tensor([number for _, numbers in texts for number in numbers], device=device)
        made = super().__new__(cls, (numbers, words[0] if len(texts) == 1 else words))
        lengths = torch.tensor([0, *(len(numbers) for _, numbers in texts)], device=device)
        made.offsets = lengths[:-1].cumsum(0)
        return made


class TextClassifier(TextHandler):
    """Names what a text is about: the probability of each class.

    The model is called with the token numbers of all texts in one tensor and a tensor of offsets, as
    torch.nn.EmbeddingBag is.
    """

    ngrams = 2

    @timed
    def preprocess(self, data: Any) -> Any:
        """The batch as `Texts`.

        Args:
            data: rows; each a dict with `data` or `body`, or the text itself, as bytes or text.

        Raises:
            UnreadableRows: rows are no texts, or hold no words, or some that the vocabulary cannot count.
        """
        return Texts(list(readable(data, self._read)), self.device)

    def _read(self, row: Any) -> tuple[list[str], list[int]]:
        """The words of a row's text, and the numbers of its tokens."""
        text = payload(row)
        if isinstance(text, bytes | bytearray):
            text = text.decode("utf-8")
        if not isinstance(text, str):
            raise ValueError(f"a text is needed, not {safe_repr(text)}")
        text = self._expand_contractions(self._remove_html_tags(text).lower())
        words = self._tokenize(self._remove_punctuation(self._remove_accented_characters(text)))
        try:
            numbers = [self.source_vocab[token] for token in ngrams_iterator(words, self.ngrams)]
        except KeyError as error:
            raise ValueError(f"the vocabulary has no {error}, and no number for unknown tokens") from None
        if not numbers:
            raise ValueError("the text has no words")
        return words, numbers

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """The model's output for `preprocess`'s, a row for each text."""
        predict = super().inference
        offsets = self._offsets(data)
        output = predict(data[0], offsets)
        if len(offsets) == 1 or len(output) == len(offsets):
            return output
        # A model that does not look at the offsets has made one text of all of them.
        return torch.cat([predict(numbers, torch.zeros_like(offsets[:1])) for numbers, _ in self._each(data)])

    @names_classes
    @timed
    def postprocess(self, data: Any) -> Any:
        """One {label: probability} per text, from logits (N, classes)."""
        return map_class_to_label(torch.nn.functional.softmax(data, dim=1).tolist(), self.mapping)

    def get_insights(self, text_preprocess: Any, _: Any, target: Any = 0) -> Any:
        """For each text the attribution to its embedding, against a text of tokens 0, and its words.

        Args:
            text_preprocess: what `preprocess` made of the batch.
            target: the class to explain: a number for all texts, or one per text.

        Raises:
            PredictionException: Captum is missing, or the model is not eager or has no `embedding`.
            UnreadableRows: texts ask for a class that the model has not.
        """
        if self.lig is None:
            raise self._refusal()
        offsets = self._offsets(text_preprocess)
        with explain.eager_look():
            target = explain.in_range(target, self.inference(text_preprocess))
        targets = target.tolist() if isinstance(target, torch.Tensor) else target
        many = isinstance(targets, list)
        answers = []
        for place, (numbers, words) in enumerate(self._each(text_preprocess)):
            attributions = self.lig.attribute(
                numbers,
                torch.zeros_like(numbers),
                additional_forward_args=torch.zeros_like(offsets[:1]),
                target=targets[place] if many else targets,
            )
            shares = self.summarize_attributions(attributions).tolist()
            answers.append({"importances": shares, "words": self.get_word_token(words)})
        return answers

    def _refusal(self) -> PredictionException:
        eager = explain.is_eager(self.model)
        if eager and not hasattr(self.model, "embedding"):
            return PredictionException(NO_EMBEDDING, explain.NOT_IMPLEMENTED)
        return explain.refusal(allowed=eager)

    def _offsets(self, data: Any) -> torch.Tensor:
        """Where each text begins; a subclass's own preprocess makes one text, of which it need not say so."""
        found = getattr(data, "offsets", None)
        return torch.zeros(1, dtype=torch.int64, device=self.device) if found is None else found

    def _each(self, data: Any) -> Iterator[tuple[torch.Tensor, list[str]]]:
        """(token numbers, words) of each text."""
        numbers, words = data
        offsets = self._offsets(data).tolist()
        parts = torch.tensor_split(numbers, offsets[1:])
        yield from zip(parts, [words] if len(offsets) == 1 else words, strict=True)
