"""Java's .properties syntax, as TorchServe's configuration files use it: text in, numbered lines out.

Source: the format in the documentation of java.util.Properties.load; `$$NAME$$` is TorchServe's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torchkeeper.errors import SettingsError

_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_PLACEHOLDER = re.compile(r"\$\$(\w+)\$\$")


@dataclass(frozen=True)
class Property:
    """One key of a file, with the number of its first line."""

    key: str
    value: str
    line: int


def parse_properties(text: str) -> list[Property]:
    """The file's properties in order (a repeated key appears again; the last one counts)."""
    found = []
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        logical = line.lstrip(" \t\f")
        if not logical or logical[0] in "#!":
            continue
        while _continues(logical):
            _, following = next(lines, (0, ""))
            logical = logical[:-1] + following.lstrip(" \t\f")
        key, value = _split(logical)
        found.append(Property(_unescape(key), _unescape(value), number))
    return found


def substitute(value: str, environ: Mapping[str, str]) -> str:
    """The value with each `$$NAME$$` replaced by the environment variable NAME.

    Raises:
        SettingsError: the variable is not set; TorchServe's text.
    """

    def look_up(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environ:
            raise SettingsError(f"Invalid Environment Variable {name}")
        return environ[name]

    return _PLACEHOLDER.sub(look_up, value)


def _continues(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _split(line: str) -> tuple[str, str]:
    at = 0
    while at < len(line) and line[at] not in "=: \t\f":
        at += 2 if line[at] == "\\" else 1
    rest = line[at:].lstrip(" \t\f")
    if rest[:1] in ("=", ":"):
        rest = rest[1:].lstrip(" \t\f")
    return line[:at], rest


def _unescape(text: str) -> str:
    out = []
    at = 0
    while at < len(text):
        if text[at] != "\\" or at + 1 == len(text):
            out.append(text[at] if text[at] != "\\" else "")
            at += 1
        elif text[at + 1] == "u" and re.fullmatch(r"[0-9a-fA-F]{4}", text[at + 2 : at + 6]):
            out.append(chr(int(text[at + 2 : at + 6], 16)))
            at += 6
        else:
            out.append(_ESCAPES.get(text[at + 1], text[at + 1]))
            at += 2
    return "".join(out)
