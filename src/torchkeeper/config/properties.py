"""Java's .properties syntax, as configuration files use it: text in, numbered lines out; and back.

Source: the format in the documentation of java.util.Properties; `$$NAME$$` is TorchServe's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from torchkeeper.errors import SettingsError

_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
#: Written with a backslash before them; a blank only where it would be lost.
_MARKED = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"} | {c: f"\\{c}" for c in "=:#!"}
_LINE_END = re.compile(r"\r\n|\r|\n")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PLACEHOLDER = re.compile(r"\$\$([^$]+)\$\$")


@dataclass(frozen=True)
class Property:
    """One key of a file, with the number of its first line."""

    key: str
    value: str
    line: int


def properties_text(data: bytes) -> str:
    """The text of a file: UTF-8, or else ISO 8859-1 as Java reads every such file."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def parse_properties(text: str) -> list[Property]:
    """The file's properties in order (a repeated key appears again; the last one counts)."""
    found = []
    lines = iter(enumerate(_LINE_END.split(text), start=1))
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


def write_properties(values: Mapping[str, str], comments: Iterable[str] = ()) -> str:
    """The text of a file with these values, escaped as java.util.Properties.store does, in ASCII."""
    lines = [f"#{comment}\n" for comment in comments]
    lines += [f"{_escape(key, blanks=True)}={_escape(value)}\n" for key, value in values.items()]
    return "".join(lines)


def java_date(moment: datetime) -> str:
    """The comment line of java.util.Properties.store: `Wed Nov 25 04:39:25 UTC 2026`, in any locale."""
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    return f"{day} {month} {moment:%d %H:%M:%S} {moment.tzname() or 'UTC'} {moment.year}"


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
    # Java's escapes are UTF-16: a pair of them may be one character.
    return "".join(out).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _escape(text: str, *, blanks: bool = False) -> str:
    """`blanks`: every blank is escaped (in a key), not only the first (in a value)."""
    out = []
    for at, char in enumerate(text):
        if char == " ":
            out.append("\\ " if blanks or at == 0 else " ")
        elif char in _MARKED:
            out.append(_MARKED[char])
        elif " " < char <= "~":
            out.append(char)
        else:
            units = char.encode("utf-16-be", "surrogatepass")
            out += [f"\\u{units[i]:02X}{units[i + 1]:02X}" for i in range(0, len(units), 2)]
    return "".join(out)
