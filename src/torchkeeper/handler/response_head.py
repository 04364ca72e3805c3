"""What a handler may say of an answer besides its body: the status, the phrase and header fields.

Pure. Source: RFC 9110, 5.1 and 5.5 (names and values of fields) and 15 (statuses); TorchServe for what it
takes: it loses the worker where a status is no whole number or a header no text.
"""

from __future__ import annotations

import operator
import re
from typing import Any

from torchkeeper.handler.safe_text import safe_repr, safe_str

#: Those below announce a further answer, those above have no class, and so nobody knows what they are.
LOWEST, HIGHEST = 200, 599
#: Characters of a phrase, and of a header's value.
LONGEST_PHRASE = 1_000
LONGEST_VALUE = 1 << 16

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,1000}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NO_CHARACTERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


def checked_status(value: Any) -> int:
    """The status as a number; None is 200.

    Raises:
        ValueError: it is none of an answer.
    """
    if value is None:
        return 200
    if type(value) is int and LOWEST <= value <= HIGHEST:
        return value
    try:
        whole = isinstance(value, str) or (isinstance(value, float) and value.is_integer())
        status = int(value) if whole else operator.index(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"the response status {safe_repr(value)} is no number") from None
    if not LOWEST <= status <= HIGHEST:
        raise ValueError(
            f"the response status {safe_repr(value)} is none of an answer: it must be {LOWEST} to {HIGHEST}"
        )
    return status


def checked_phrase(value: Any) -> str:
    """The phrase in one line; clients ignore it, so nothing is wrong enough to fail for it."""
    if value is None:
        return ""
    return _CONTROL.sub(" ", safe_str(value, LONGEST_PHRASE))


def checked_header(name: Any, value: Any) -> tuple[str, str]:
    """A header's name and value; numbers become text.

    Raises:
        ValueError: they are none; the message names them.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"the response header {safe_repr(name)} is no name of a header")
    if not isinstance(value, str | int | float):
        raise ValueError(f"the response header {name} must be text, not {safe_repr(value)}")
    text = str.__str__(value) if isinstance(value, str) else safe_str(value)
    if _NO_CHARACTERS.search(text):
        raise ValueError(f"the response header {name} has a character that none may have: {safe_repr(value)}")
    if len(text) > LONGEST_VALUE:
        raise ValueError(f"the response header {name} has more than {LONGEST_VALUE} characters")
    return str.__str__(name), text
