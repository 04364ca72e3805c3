"""A body and its content type become named parameters. Pure; python-multipart parses the forms.

Source of the rules: TorchServe's inference API, "Request to handler input".
"""

from __future__ import annotations

import functools
import logging
import re
from email.message import Message
from itertools import islice, pairwise
from typing import NamedTuple

import msgspec
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError

from torchkeeper.errors import BadRequest
from torchkeeper.wire.messages import Part

# What it says of a client's form is in the refusal.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

#: Parameters that a header field may have: the parser of such fields takes quadratic time.
MAX_PARAMETERS = 64
#: Bytes of a part's header line: names of files may be long.
MAX_HEADER = 16 * 1024


class FormLimits(NamedTuple):
    """How much a form may bring."""

    #: Parts: each is read by a parser of header fields.
    parts: int = 1000
    #: Fields of a query string or an encoded form.
    fields: int = 10_000


USUAL = FormLimits()
#: Bytes from which on a form is long: escapes take their time, parts between boundaries little.
_LONG_FORM = 1 << 16
_FORMS = {"application/x-www-form-urlencoded": _LONG_FORM, "multipart/form-data": 1 << 20}
#: A field's name with a byte in it that no form has there: pictures and JSON are sent as forms by mistake.
_NO_NAME = re.compile(rb'(?:\A|&)[^=&]*["<>{}\x00-\x1f\x7f]')
_ESCAPES = re.compile(rb"(?:%[0-9A-Fa-f]{2})+")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LINE_END = re.compile(rb"\r?\n")


def takes_long(content_type: str | None, size: int) -> bool:
    """Whether a body of so many bytes is a form that takes longer to read than a thread to begin."""
    media = _media_type(content_type)[0] if size >= _LONG_FORM else None
    return media is not None and media.lower() in _FORMS and size >= _FORMS[media.lower()]


def media_type(content_type: str | None) -> str | None:
    """The media type alone, in its original case; None where there is none.

    Raises:
        BadRequest: it has too many parameters.
    """
    return _media_type(content_type)[0]


def is_form(content_type: str | None) -> bool:
    """Whether a body may be several parameters, to be read; what is none is one as it came."""
    media = _media_type(content_type)[0]
    return media is not None and media.lower() in _FORMS


def parse_parts(content_type: str | None, body: bytes, limits: FormLimits = USUAL) -> tuple[Part, ...]:
    """The parameters of a request.

    Raises:
        BadRequest: a form that cannot be read, or has too many fields.
    """
    if content_type is None:
        return (Part("body", body),)
    media, boundary = _media_type(content_type)
    lowered = media.lower() if media else None
    if lowered == "application/x-www-form-urlencoded":
        text = body.removesuffix(b"\n").removesuffix(b"\r")
        if _is_form(text):
            return _last_wins(parse_fields(text, limits.fields))
    if lowered == "multipart/form-data" and boundary:
        return _last_wins(_multipart(boundary, body, limits.parts))
    return (Part("body", body, media),)


def _is_form(body: bytes) -> bool:
    """Whether a body that is called a form can be one; curl calls every body so unless told another type."""
    return not body or ((b"=" in body or b"&" in body) and _NO_NAME.search(body, 0, _LONG_FORM) is None)


def parse_query(query: bytes, limits: FormLimits = USUAL) -> tuple[Part, ...]:
    """The parameters of a query string."""
    return _last_wins(parse_fields(query, limits.fields))


@functools.lru_cache(maxsize=256)
def _media_type(content_type: str | None) -> tuple[str | None, str | None]:
    """Media type in its original case, and the boundary if one is given."""
    if not content_type:
        return None, None
    media = content_type.split(";", 1)[0].strip()
    if media.lower() != "multipart/form-data":
        return media, None
    boundary = _parameter(content_type, "boundary")
    return media, boundary if isinstance(boundary, str) and boundary else None


def _parameter(value: str, name: str) -> object:
    """A parameter of a header field: text, None if it is not there, a tuple in RFC 2231's extended form."""
    if value.count(";") > MAX_PARAMETERS:
        raise BadRequest(f"The form cannot be read: a header field has more than {MAX_PARAMETERS} parameters")
    message = Message()
    message["content-disposition"] = value
    try:
        return message.get_param(name, header="content-disposition")
    except (LookupError, TypeError, ValueError) as error:  # it trusts continuations to be in order
        raise BadRequest(f"The form cannot be read: {error}") from None


def parse_fields(text: bytes, most: int = USUAL.fields) -> list[Part]:
    """The fields of a query string or a form, also those of one name, in their order.

    Raises:
        BadRequest: there are too many.
    """
    if text.count(b"&") >= most:
        raise BadRequest(f"The form cannot be read: it has more than {most} fields")
    pairs = (field.partition(b"=") for field in text.split(b"&") if field)
    return [Part(_name(_unquoted(name)), _unquoted(value)) for name, _, value in pairs]


def _unquoted(text: bytes) -> bytes:
    """The text with its blanks and escapes; what is no escape stays.

    urllib's takes much memory and time for each percent sign. Piece by piece, so that other threads have
    their turn.
    """
    text = text.replace(b"+", b" ")
    if b"%" not in text:
        return text
    pieces, begin = [], 0
    while begin < len(text):
        end = begin + _LONG_FORM
        cut = text.find(b"%", end - 2, end)  # no escape is cut in two
        end = end if cut < 0 else cut
        pieces.append(_ESCAPES.sub(_bytes_of, text[begin:end]))
        begin = end
    return b"".join(pieces)


def _bytes_of(escapes: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escapes[0].replace(b"%", b"").decode())


def _name(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _last_wins(parts: list[Part]) -> tuple[Part, ...]:
    return tuple({part.name: part for part in parts}.values())


class _Collector:
    """Gathers the parts that the parser's callbacks report."""

    def __init__(self, most: int) -> None:
        self.parts: list[Part] = []
        self._most = most
        self.ended = False
        self._headers: dict[str, str] = {}
        self._field = self._value = b""
        self._data = bytearray()

    def on_part_begin(self) -> None:
        self._headers = {}
        self._data = bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = self._value.decode("utf-8", "replace")
        self._field = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def on_part_end(self) -> None:
        disposition = self._headers.get("content-disposition", "")
        name = _parameter(disposition, "name")
        if not isinstance(name, str):
            raise BadRequest("The form cannot be read: a part has no name")
        if len(self.parts) >= self._most:
            raise BadRequest(f"The form cannot be read: it has more than {self._most} parts")
        media, _ = _media_type(self._headers.get("content-type"))
        plain = _parameter(disposition, "filename") is None
        if media is None and not plain:
            media = "application/octet-stream"
        self.parts.append(Part(name, bytes(self._data), media, plain))

    def on_end(self) -> None:
        self.ended = True


def _multipart(boundary: str, body: bytes, most: int) -> list[Part]:
    edge = boundary.encode("latin-1", "replace")
    try:
        try:
            return _parsed(edge, body, most)
        except FormParserError:
            tidy = _tidied(edge, body, most)
            if tidy is None:
                raise
            return _parsed(edge, tidy, most)
    except FormParserError as error:
        raise BadRequest(f"The form cannot be read: {error}") from None


def _parsed(boundary: bytes, body: bytes, most: int) -> list[Part]:
    collector = _Collector(most)
    names = (
        "on_part_begin",
        "on_part_data",
        "on_part_end",
        "on_header_field",
        "on_header_value",
        "on_header_end",
        "on_end",
    )
    parser = MultipartParser(
        boundary,
        {name: getattr(collector, name) for name in names},  # type: ignore[arg-type]  # the callbacks' mapping is a TypedDict
        max_header_count=MAX_PARAMETERS,
        max_header_size=MAX_HEADER,
    )
    parser.write(body)
    parser.finalize()
    if body and not collector.ended:
        raise FormParserError("it ends before its closing boundary")
    return collector.parts


def _tidied(boundary: bytes, body: bytes, most: int) -> bytes | None:
    """A form as the standard writes it: CRLF, nothing before the first boundary, dashes after the last.

    The values stay as they are. None: there are no parts between boundaries.
    """
    line = re.compile(rb"(?:\A|\r?\n)[ \t]*--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    edges = list(islice(line.finditer(body), most + 2))
    closing = next((place for place, edge in enumerate(edges) if edge[1]), None)
    if closing is None and edges and not body[edges[-1].end() :].strip():
        closing = len(edges) - 1
    if not closing:
        return None
    pieces: list[bytes] = []
    for begin, end in pairwise(edges[: closing + 1]):
        between = body[begin.end() : end.start()]
        blank = _BLANK_LINE.search(between)
        if blank is None:
            return None
        head = _LINE_END.sub(b"\r\n", between[: blank.start()])
        pieces += (b"--", boundary, head, b"\r\n\r\n", between[blank.end() :], b"\r\n")
    return b"".join((*pieces, b"--", boundary, b"--\r\n"))


def parse_parameters(
    query: bytes, content_type: str | None, body: bytes, limits: FormLimits = USUAL
) -> dict[str, object]:
    """The parameters of a management request: the query's, and over them those of a JSON object in the body.

    Raises:
        BadRequest: the body is no JSON object, or the query has too many fields.
    """
    values: dict[str, object] = {
        part.name: part.value.decode("utf-8", "replace") for part in parse_query(query, limits) if part.value
    }
    if body and (content_type or "").split(";")[0].strip().lower() == "application/json":
        try:
            found = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f"The body is not JSON: {error}") from None
        except RecursionError:
            raise BadRequest("The body is nested too deeply.") from None
        if not isinstance(found, dict):
            raise BadRequest("The body must be a JSON object of parameters.")
        values |= {name: value for name, value in found.items() if value is not None}
    return values
