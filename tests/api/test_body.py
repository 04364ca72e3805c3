"""Bodies as parameters: every form, every way a form may be broken, and round trips of arbitrary ones."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from torchkeeper.api.body import (
    MAX_HEADER,
    MAX_PARAMETERS,
    USUAL,
    FormLimits,
    parse_parameters,
    parse_parts,
    parse_query,
    takes_long,
)
from torchkeeper.config.table import Configured
from torchkeeper.errors import BadRequest
from torchkeeper.wire.messages import Part

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"


def part(head: str | bytes, value: bytes = b"v") -> bytes:
    """A part of a multipart body; `head` is what follows `Content-Disposition: form-data`."""
    text = head.encode() if isinstance(head, str) else head
    return b"--x\r\nContent-Disposition: form-data" + text + b"\r\n\r\n" + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--x--\r\n"


# --- anything but a form ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "seen"),
    [
        (None, None),
        ("", None),
        ("application/json", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("Application/JSON", "Application/JSON"),
        ("text/plain;charset=utf-8", "text/plain"),
        ("image/png", "image/png"),
        ("multipart/mixed; boundary=x", "multipart/mixed"),
        ("nonsense", "nonsense"),
    ],
)
def test_anything_but_a_form_is_one_body_with_its_media_type_as_written(
    content_type: str | None, seen: str | None
) -> None:
    body = b'{"a": 1}\x00\xff'
    assert parse_parts(content_type, body) == (Part("body", body, seen),)
    assert parse_parts(content_type, b"") == (Part("body", b"", seen),)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; charset=utf-8",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary*=utf-8''x",
    ],
)
def test_a_multipart_form_without_a_boundary_is_a_raw_body(content_type: str) -> None:
    body = form(part("; name=a"))
    assert parse_parts(content_type, body) == (Part("body", body, "multipart/form-data"),)


# --- application/x-www-form-urlencoded and query strings -------------------------------------------------

FIELDS: list[tuple[bytes, list[tuple[str, bytes]]]] = [
    (b"", []),
    (b"&&&", []),
    (b"a=1", [("a", b"1")]),
    (b"a=1&b=2", [("a", b"1"), ("b", b"2")]),
    (b"a=", [("a", b"")]),
    (b"a&", [("a", b"")]),
    (b"=b", [("", b"b")]),
    (b"a=b=c", [("a", b"b=c")]),
    (b"a=1;b=2", [("a", b"1;b=2")]),
    (b"a+b=%20+", [("a b", b"  ")]),
    (b"%C3%A4=%FF%00", [("ä", b"\xff\x00")]),
    (b"\xc3\xa4=\xff", [("ä", b"\xff")]),
    (b"%FF=x", [("\ufffd", b"x")]),
    (b"a=%zz%", [("a", b"%zz%")]),
    (b"a=1&b=2&a=3", [("a", b"3"), ("b", b"2")]),
    (b"a[]=1&b.c=2", [("a[]", b"1"), ("b.c", b"2")]),
    (b"a=1\nb=2", [("a", b"1\nb=2")]),
    (b'a={"k": "v"}', [("a", b'{"k": "v"}')]),
    (b"%22%0A=\x00", [('"\n', b"\x00")]),
]


@pytest.mark.parametrize(("text", "expected"), FIELDS)
def test_fields_of_forms_and_query_strings(text: bytes, expected: list[tuple[str, bytes]]) -> None:
    parts = tuple(Part(name, value) for name, value in expected)
    assert parse_query(text) == parts
    for content_type in (URLENCODED, URLENCODED.upper(), URLENCODED + "; charset=utf-8"):
        for end in (b"", b"\n", b"\r\n") if text else (b"",):
            assert parse_parts(content_type, text + end) == parts


@pytest.mark.parametrize(
    "body",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00 a=b&c=d",
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'}",
        b"a=1&\x00=2",
        b"hello world",
        b"[1, 2]\n",
        b'{"data": [1, 2]}',
        b'{"data": "aGVsbG8="}',
        b'{"url": "http://a/?b=c&d=e"}',
        b'<a href="b=c"/>',
    ],
    ids=lambda body: ascii(body)[:30],
)
def test_what_is_no_form_but_called_one_is_a_raw_body(body: bytes) -> None:
    assert parse_parts(URLENCODED, body) == (Part("body", body, URLENCODED),)


def test_a_form_with_too_many_fields_is_refused() -> None:
    most = b"&".join(b"f%d=1" % number for number in range(USUAL.fields))
    assert len(parse_parts(URLENCODED, most)) == USUAL.fields
    for text in (most + b"&one=more", b"&" * USUAL.fields):
        with pytest.raises(BadRequest, match=r"^The form cannot be read: "):
            parse_parts(URLENCODED, text)
        with pytest.raises(BadRequest, match=r"^The form cannot be read: "):
            parse_query(text)


# --- multipart/form-data ---------------------------------------------------------------------------------

FILE = "application/octet-stream"


def plain(name: str, value: bytes = b"v", media: str | None = None) -> Part:
    """A field that is no file."""
    return Part(name, value, media, True)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("; name=a", plain("a")),
        ('; name="a"', plain("a")),
        ('; NAME = "a"', plain("a")),
        ('; name=""', plain("")),
        ('; name=" a; b "', plain(" a; b ")),
        ('; name="ä€😀"', plain("ä€😀")),
        (b'; name="\xff"', plain("\ufffd")),
        ('; name="say \\"hi\\""', plain('say "hi"')),
        ('; name="a%22b"', plain("a%22b")),
        ('; name="a"; filename="x.png"', Part("a", b"v", FILE)),
        ('; filename="x.png"; name="a"', Part("a", b"v", FILE)),
        ('; name="a"; filename=""', Part("a", b"v", FILE)),
        ('; name="a"; filename="; name=b"', Part("a", b"v", FILE)),
        ('; name="a"; filename="x.png"\r\nContent-Type: image/png', Part("a", b"v", "image/png")),
        ('; name="a"; filename="x"\r\nContent-Type:', Part("a", b"v", FILE)),
        (
            "; name=\"a\"; filename*=UTF-8''x.json\r\nContent-Type: application/json",
            Part("a", b"v", "application/json"),
        ),
        ('; name="a"\r\ncontent-type: application/json', plain("a", media="application/json")),
        ('; name="a"\r\nContent-Type: Text/Plain; charset=utf-8', plain("a", media="Text/Plain")),
        ('; name="a"\r\nX-Other: 1\r\nContent-Transfer-Encoding: binary', plain("a")),
    ],
)
def test_a_part_has_the_name_and_type_of_its_header(head: str | bytes, expected: Part) -> None:
    assert parse_parts(MULTIPART, form(part(head))) == (expected,)


@pytest.mark.parametrize("more", ["name*0=a; name*=UTF-8''b", "name*=x'y; name*1=b", "name*x*=''c"])
def test_a_part_whose_name_is_continued_as_none_is(more: str) -> None:
    with pytest.raises(BadRequest):
        parse_parts(MULTIPART, form(part(f"; {more}")))


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ("Multipart/Form-Data;BOUNDARY=abc", b"abc"),
        ('multipart/form-data; charset=utf-8; boundary="a b:c"', b"a b:c"),
        ('multipart/form-data; boundary="a;b"', b"a;b"),
        ("multipart/form-data; boundary=ä", b"\xe4"),
        ("multipart/form-data; boundary=" + "b" * 200, b"b" * 200),
    ],
)
def test_boundaries_are_taken_as_written(content_type: str, boundary: bytes) -> None:
    body = form(part("; name=a"), part("; name=b")).replace(b"--x", b"--" + boundary)
    assert parse_parts(content_type, body) == (plain("a"), plain("b"))


def test_values_are_kept_byte_for_byte() -> None:
    line_ends = (b"\r\n", b"\r\n--", b"\r\n-x", b"\n--x--\r\n", b"\r" * 5000)
    for value in (b"", b"\x00\xff", b"--x", b"--x--", *line_ends):
        assert parse_parts(MULTIPART, form(part("; name=a", value))) == (plain("a", value),)


def test_of_parts_with_one_name_the_last_wins_as_the_whole_part() -> None:
    body = form(part('; name=a; filename="x"', b"1"), part("; name=b", b"2"), part("; name=a", b"3"))
    assert parse_parts(MULTIPART, body) == (plain("a", b"3"), plain("b", b"2"))


@pytest.mark.parametrize("body", [b"", b"--x--", b"--x--\r\n", b"\r\n--x--\r\n", b"--x--\r\nepilogue"])
def test_a_form_may_be_empty(body: bytes) -> None:
    assert parse_parts(MULTIPART, body) == ()


@pytest.mark.parametrize("line_before", [b"", b"\r\n", b"\n", b"  \r\n", b"A form, --x, in MIME:\r\n"])
@pytest.mark.parametrize("end", [b"--x--", b"--x--\r\n", b"--x--\r\nand more", b"--x", b"--x\r\n"])
def test_what_stands_around_the_boundaries_does_no_harm(line_before: bytes, end: bytes) -> None:
    assert parse_parts(MULTIPART, line_before + part("; name=a") + end) == (plain("a"),)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no form at all", "boundary"),
        (b"--y\r\nContent-Disposition: form-data; name=a\r\n\r\nv\r\n--y--\r\n", "boundary"),
        (part("; name=a"), "it ends before its closing boundary"),
        (b"--x", "it ends before its closing boundary"),
        (part("; name=a") + b"--y--", "it ends before its closing boundary"),
        (part("; name=a") + b"--x-", "it ends before its closing boundary"),
        (b"--x\r\nContent-Disposition: form-da", "it ends before its closing boundary"),
        (b"--x\r\n--x--\r\n", "header"),
        (b"--x\n--x--\n", "boundary"),
        (part("; name=a").replace(b"\r\n", b"\n") + b"--", "boundary"),
        (form(b"--x\r\n\r\nv\r\n"), "a part has no name"),
        (form(b"--x\r\nContent-Type: text/plain\r\n\r\nv\r\n"), "a part has no name"),
        (form(part("")), "a part has no name"),
        (form(part("; filename=x")), "a part has no name"),
        (form(part("; name*=utf-8''a")), "a part has no name"),
        (form(part("; name=a"), part("; nome=b")), "a part has no name"),
        (form(part("; name=a\r\nno field")), ""),
        (form(part("; name=a\r\nX: " + "y" * MAX_HEADER)), "header size"),
        (form(part("; name=a" + "\r\nX: y" * MAX_PARAMETERS)), "header count"),
        (form(part("; name=a" + "; b=c" * MAX_PARAMETERS)), f"more than {MAX_PARAMETERS} parameters"),
        (form(*[part("; name=a")] * (USUAL.parts + 1)), f"more than {USUAL.parts} parts"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_a_broken_form_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadRequest, match=rf"^The form cannot be read: .*{reason}"):
        parse_parts(MULTIPART, body)


@pytest.mark.parametrize(
    "value", [b"v", b"", b"a\nb\r\nc", b"a\n", b"a\n\nb", b"\x00\xff", b"--xy", b"\n-- x"]
)
def test_line_ends_may_be_bare_line_feeds(value: bytes) -> None:
    sent = (part('; name=a; filename="x"\r\nContent-Type: image/png'), part("; name=b", b"<>"))
    bare = form(*sent).replace(b"\r\n", b"\n")
    head_only = form(*sent).replace(b'"x"\r\n', b'"x"\n').replace(b"png\r\n\r\n", b"png\n\n")
    edges_only = form(*sent).replace(b"--x\r\n", b"--x\n")
    spaces = form(*sent).replace(b"--x\r\n", b"--x \t\r\n")
    expected = (Part("a", b"v", "image/png"), plain("b", value))
    for body in (bare, head_only, edges_only, spaces):
        assert parse_parts(MULTIPART, body.replace(b"<>", value)) == expected


def test_a_form_may_have_as_many_parts_as_the_bound_says() -> None:
    parts = [part(f"; name=p{number}") for number in range(USUAL.parts)]
    assert len(parse_parts(MULTIPART, form(*parts))) == USUAL.parts


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=" + "b" * 1000,
        "multipart/form-data; boundary*" + "9" * 5000 + "=x",
        'multipart/form-data; a="' + ";" * 60_000,
    ],
    ids=["endless boundary", "endless number", "endless parameters"],
)
def test_a_content_type_made_to_hurt_is_refused(content_type: str) -> None:
    with pytest.raises(BadRequest, match=r"^The form cannot be read: "):
        parse_parts(content_type, b"--x--\r\n")


# --- properties ------------------------------------------------------------------------------------------

#: Any text a header field can carry; quotes and backslashes are escaped in too many ways to have one.
names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters='\r\n"\\'), max_size=50)
#: Bytes at large, and bytes that look like boundaries.
values = st.binary(max_size=200) | st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"--", b"x", b"\x00", b"--x"]), max_size=12
).map(b"".join)


@given(st.lists(st.tuples(names, values, st.sampled_from([None, FILE, "image/png", "application/json"]))))
def test_multipart_forms_come_back_as_they_were_written(sent: list[tuple[str, bytes, str | None]]) -> None:
    assume(not any(b"\r\n--x" in b"\r\n" + value for _, value, _ in sent))
    body = form(
        *(
            part(f'; name="{name}"' + (f"\r\nContent-Type: {media}" if media else ""), value)
            for name, value, media in sent
        )
    )
    expected = {name: plain(name, value, media) for name, value, media in sent}
    assert parse_parts(MULTIPART, body) == tuple(expected.values())


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=("Cs",))), st.binary())))
def test_urlencoded_forms_come_back_as_they_were_written(sent: list[tuple[str, bytes]]) -> None:
    text = urlencode(sent).encode()
    assert text == b"" or b"=" in text
    expected = tuple(Part(name, value) for name, value in dict(sent).items())
    assert parse_parts(URLENCODED, text) == expected
    assert parse_query(text) == expected


content_types = (
    st.none()
    | st.sampled_from([URLENCODED, MULTIPART])
    | st.text(st.characters(max_codepoint=255)).map(lambda text: "multipart/form-data; " + text)
    | st.text(st.characters(max_codepoint=255))
)
fragments = st.sampled_from(
    [
        *(b"--x", b"--", b"\r\n", b"\n", b"\r", b":", b";", b"=", b'"', b"*", b"0", b"'", b"%", b"&", b"\\"),
        *(b"\r\n\r\n", b"\r\n--x\r\n", b"Content-Disposition: form-data", b"; name", b"; filename", b"\xff"),
        *(b"Content-Type: ", b"multipart/form-data; boundary", b"utf-8''"),
    ]
)
bodies = (
    st.binary()
    | st.lists(fragments, max_size=30).map(b"".join)
    | st.lists(fragments, max_size=12).map(lambda pieces: form(part(b"".join(pieces))))
)


@given(content_types, bodies)
def test_arbitrary_bytes_are_parameters_or_a_bad_request(content_type: str | None, body: bytes) -> None:
    for parse in (lambda: parse_parts(content_type, body), lambda: parse_query(body)):
        try:
            parts = parse()
        except BadRequest:
            continue
        assert len({found.name for found in parts}) == len(parts)


@given(
    st.lists(
        st.sampled_from([b"%", b"%4", b"%41", b"%zz", b"%C3%A4", b"+", b"&", b"=", b"a", b"\xff", b"%00"])
    )
)
def test_fields_are_what_urllib_makes_of_them(pieces: list[bytes]) -> None:
    query = b"".join(pieces)
    found = parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    expected = {
        name.encode("latin-1").decode("utf-8", "replace"): value.encode("latin-1") for name, value in found
    }
    assert {part.name: part.value for part in parse_query(query)} == expected


@pytest.mark.parametrize("piece", [b"%41", b"%", b"%zz", b"a%41", b"%4"])
def test_escapes_are_whole_also_in_long_values(piece: bytes) -> None:
    for lead in (b"", b"x", b"xx"):
        value = lead + piece * 100_000
        (part,) = parse_parts(URLENCODED, b"a=" + value)
        assert part.value == unquote_to_bytes(value)


@pytest.mark.parametrize(
    ("kind", "size", "long"),
    [
        (URLENCODED, 65_535, False),
        (URLENCODED, 65_536, True),
        (URLENCODED.upper(), 10**6, True),
        (MULTIPART, 10**6, False),
        (MULTIPART, 2**20, True),
        ("image/png", 10**7, False),
        (None, 10**7, False),
    ],
)
def test_which_forms_are_read_elsewhere(kind: str | None, size: int, long: bool) -> None:
    assert takes_long(kind, size) is long


def test_the_bounds_of_a_form_are_settings() -> None:
    limits = FormLimits(parts=2, fields=3)
    two = form(part("; name=a"), part("; name=b"))
    bare = form(part("; name=a"), part("; name=b"), part("; name=c")).replace(b"\r\n", b"\n")
    assert len(parse_parts(MULTIPART, two, limits)) == 2
    assert len(parse_query(b"a=1&b=2&c=3", limits)) == 3
    for refused in (
        lambda: parse_parts(MULTIPART, bare, limits),
        lambda: parse_query(b"a=1&b=2&c=3&d=4", limits),
        lambda: parse_parameters(b"a=1&b=2&c=3&d=4", None, b"", limits),
        lambda: parse_parts(URLENCODED, b"a=1&b=2&c=3&d=4", limits),
    ):
        with pytest.raises(BadRequest, match=r"it has more than (2 parts|3 fields)"):
            refused()


def test_the_usual_limits_are_the_settings_defaults() -> None:
    settings = Configured()
    assert FormLimits(settings.max_form_parts, settings.max_form_fields) == USUAL
