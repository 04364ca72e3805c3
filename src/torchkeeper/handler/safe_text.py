"""Texts of users' objects: whatever their `__str__` does, what comes out is text that can be sent.

Must not import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Characters of a text that travels; what is longer is cut.
LONGEST = 1 << 16
#: How a traceback begins.
_TRACEBACK = "(most recent call last):"


def safe_str(value: Any, longest: int = LONGEST) -> str:
    """`str(value)`, or what became of the attempt; lone surrogates are written out."""
    if type(value) is str and len(value) <= longest and value.isascii():
        return value
    return _text(str, value, longest)


def safe_repr(value: Any, longest: int = 100) -> str:
    """`repr(value)`, in the same way."""
    return _text(repr, value, longest)


def whole_text(error: BaseException, longest: int = 2000) -> str:
    """All that an error says, its lines in one; of a traceback in it only the last line, the error.

    A long line is cut, so that those after it are not lost.
    """
    lines = [line.strip() for line in safe_str(error).splitlines() if line.strip()]
    if any(line.endswith(_TRACEBACK) for line in lines):
        lines = [lines[0], lines[-1]] if len(lines) > 1 else lines
    return safe_str(" ".join(safe_str(line, longest // 4) for line in lines), longest)


def first_sentence(error: BaseException, longest: int = 500) -> str:
    """What an error says first, in one line; its class if it says nothing, as a bare assertion does.

    A first line that only leads on has the second with it; one before a traceback has the last, the error.
    """
    lines = [line.strip() for line in safe_str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    said = lines[0]
    if any(line.endswith(_TRACEBACK) for line in lines):
        said += f" {lines[-1]}"
    elif said.endswith(":") and len(lines) > 1:
        said += f" {lines[1]}"
    return safe_str(said, longest)


def named_sentence(error: BaseException, longest: int = 200) -> str:
    """An error's class, and what it says first if it says anything."""
    name, said = type(error).__name__, first_sentence(error, longest)
    return name if said == name else f"{name}: {said}"


def _text(make: Callable[[Any], str], value: Any, longest: int) -> str:
    try:
        text = str.__str__(make(value))
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - users' methods
        text = f"<{type(value).__name__}, whose {make.__name__}() raises {type(error).__name__}>"
    if len(text) > longest:
        text = text[:longest] + "..."
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
