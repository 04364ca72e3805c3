"""JSON as requests and answers carry it: fast where it can be, and with NaN, which handlers do return.

JSON has no NaN and no Infinity. Python's json module, and so TorchServe, reads and writes them all the same;
a setting has answers without. Must not import torch. Source: RFC 8259.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

#: What becomes of NaN and Infinity in answers: they stay, are null, or fail the request.
KEEP, NULL, ERROR = "keep", "null", "error"


class _Answers:
    """How this process writes answers."""

    nan = KEEP


answers = _Answers()
_encoder = msgspec.json.Encoder(enc_hook=lambda value: _plain(value))
_decoder = msgspec.json.Decoder()


def read_json(text: bytes | bytearray | memoryview | str) -> Any:
    """The value of a JSON text in UTF-8; NaN and Infinity are taken as Python's json takes them.

    Raises:
        ValueError: it is none; the message says where.
    """
    try:
        try:
            return _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return json.loads(text if isinstance(text, str) else bytes(text).decode())
    except RecursionError:
        raise ValueError("too many levels of nesting") from None


def json_text(value: Any) -> bytes:
    """Compact JSON of a value; tensors and arrays become nested lists, bytes base64 text.

    Raises:
        TypeError, ValueError: it has something in it that JSON has no form for.
    """
    text = _encoder.encode(value)
    # msgspec writes null for NaN, and a number must not turn into nothing.
    if b"null" in text and answers.nan != NULL:
        text = dumped(_with_text(value), separators=(",", ":"), default=_plain).encode()
    return text


def dumped(value: Any, **options: Any) -> str:
    """What json.dumps makes of an answer, but for NaN and Infinity, of which the setting is obeyed.

    Raises:
        TypeError, ValueError: it has something in it that JSON has no form for.
    """
    text = json.dumps(value, **options)
    if answers.nan == KEEP or not ("NaN" in text or "Infinity" in text):
        return text
    found: list[str] = []
    plain = json.loads(text, parse_constant=found.append)  # what is appended becomes None
    if not found:
        return text
    if answers.nan == ERROR:
        raise ValueError(f"the answer has {found[0]} in it, which JSON does not have (nan_in_answers=error)")
    return json.dumps(plain, **options)


def _with_text(value: Any) -> Any:
    """The value with what json.dumps cannot write in msgspec's form, but floats as they are."""
    return msgspec.to_builtins(value, enc_hook=_plain, str_keys=True)


def _plain(value: Any) -> Any:
    """Tensors and arrays as nested lists, numpy's numbers as Python's."""
    tolist = getattr(value, "tolist", None)
    if tolist is None:
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    return tolist()
