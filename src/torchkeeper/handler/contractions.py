"""English contractions and what they stand for, as text handlers spell them out before they cut a text.

Source of the words: TorchServe's `ts.torch_handler.contractions`; regular ones are built from their parts.
"""

from __future__ import annotations

import re

#: Ending -> what it stands for, and the words that it is added to.
_REGULAR = {
    "n't": (
        "not",
        "are could did does do had has have is may might must need ought should was were would",
    ),
    "n't've": ("not have", "could had might must need ought should would"),
    "'re": ("are", "they we what you y'all"),
    "'m": ("am", "I i"),
    "'s": ("is", "he how it she that there what when where who why"),
    "'d": ("would", "I he i it she that there they we y'all you"),
    "'d've": ("would have", "I he i it she that there they we y'all you"),
    "'ll": ("will", "I he how i it she they we what who you"),
    "'ll've": ("will have", "I he i it she they we what who you"),
    "'ve": ("have", "I could i might must should so they to we what when where who why will would y'all you"),
}
#: Words with endings of their own.
_STEMS = {"y'all": "you all"}
_IRREGULAR = {
    "'cause": "because",
    "ain't": "is not",
    "can't": "cannot",
    "can't've": "cannot have",
    "he'll've": "he he will have",  # as models were trained with it
    "how'd": "how did",
    "how'd'y": "how do you",
    "let's": "let us",
    "ma'am": "madam",
    "o'clock": "of the clock",
    "sha'n't": "shall not",
    "shan't": "shall not",
    "shan't've": "shall not have",
    "so's": "so as",
    "where'd": "where did",
    "won't": "will not",
    "won't've": "will not have",
    "y'all": "you all",
}

#: Contraction -> its words.
CONTRACTION_MAP: dict[str, str] = {
    f"{word}{ending}": f"{_STEMS.get(word, word)} {meaning}"
    for ending, (meaning, words) in _REGULAR.items()
    for word in words.split()
} | _IRREGULAR

#: Finds them, the shorter ones first: of "he'd've" only "he'd" is spelled out, as in TorchServe.
CONTRACTIONS_PATTERN = re.compile("|".join(sorted(CONTRACTION_MAP, key=len)), re.IGNORECASE)


def expand(text: str) -> str:
    """The text with contractions spelled out, their first letters kept, and without apostrophes."""
    return CONTRACTIONS_PATTERN.sub(_expansion, text).replace("'", "")


def _expansion(found: re.Match[str]) -> str:
    short = found[0]
    return short[0] + (CONTRACTION_MAP.get(short) or CONTRACTION_MAP[short.lower()])[1:]
