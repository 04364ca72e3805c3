"""What a value of config.properties can be: texts in, values or sentences out."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.config import types as form
from torchkeeper.config.types import Address, Form, Instead

ADDRESS = form.address(80, 443)
MODE = form.choice("log", "prometheus", instead="log")
PARSED: list[tuple[Form[Any], str, object]] = [
    (form.boolean, "TrUe", True),
    (form.boolean, "false", False),
    (form.protocol, "oip", True),
    (form.protocol, "false", False),
    (form.text, " a b ", "a b"),
    (form.text, "  ", None),
    (form.password, " a ", " a "),
    (form.path, " /a b ", Path("/a b")),
    (form.path, "", None),
    (form.comma_list, " a, ,b,", ("a", "b")),
    (form.comma_list, "", ()),
    (form.word, " PKCS12 ", "PKCS12"),
    (form.host, "h", "h"),
    (form.whole(0), "+7", 7),
    (form.whole(0), " 7 ", 7),
    (form.whole(0), "0", 0),
    (form.whole(0), "2147483647", 2**31 - 1),
    (form.or_nothing(form.whole(0)), " ", None),
    (form.or_nothing(form.whole(0)), "7", 7),
    (form.port, "65535", 65535),
    (form.milliseconds, "9223372036854775807", 2**63 - 1),
    (form.seconds(120), "0.5", 0.5),
    (form.minutes, "0.5", 0.5),
    (form.pattern, "", None),
    (form.pattern, " a.b ", re.compile("a.b")),
    (form.urls, "", ()),
    (form.urls, "http://h/.*", (re.compile("http://h/.*", re.IGNORECASE),)),
    (MODE, " Prome theus", "prometheus"),
    (form.envelope, "", None),
    (form.envelope, " kservev2 ", "kservev2"),
    (ADDRESS, "http://h", Address("http", "h", 80)),
    (ADDRESS, "HTTPS://h/", Address("https", "h", 443)),
    (ADDRESS, "https://0.0.0.0:0", Address("https", "0.0.0.0", 0)),
    (ADDRESS, "http://[::1]:81", Address("http", "::1", 81)),
    (ADDRESS, "unix:/tmp/s", Address("unix", path="/tmp/s")),
]


@pytest.mark.parametrize(("what", "text", "value"), PARSED)
def test_values(what: Form[Any], text: str, value: object) -> None:
    found = what.parse(text)
    assert found == value
    assert type(found) is type(value)


REFUSED: list[tuple[Form[Any], str, str]] = [
    (form.boolean, "yes", "must be true or false"),
    (form.boolean, "true ", "must be true or false"),
    (form.protocol, "v2", "must be true or false"),
    (form.word, " ", "must not be empty"),
    (form.host, "", "must not be empty"),
    (form.whole(0), "", "must be a whole number"),
    (form.whole(0), "1.5", "must be a whole number"),
    (form.whole(0), "\u0663", "must be a whole number"),
    (form.whole(0), "1" * 5000, "must be a whole number"),
    (form.whole(1), "0", "must be at least 1"),
    (form.whole(0), "2147483648", "must be at most 2147483647"),
    (form.port, "65536", "must be from 0 to 65535"),
    (form.milliseconds, "9223372036854775808", "must be at most 9223372036854775807"),
    (form.seconds(120), "soon", "must be a number of seconds"),
    (form.seconds(120), "0", "must be greater than 0"),
    (form.seconds(120), "nan", "must be greater than 0"),
    (form.seconds(120), "inf", "must be greater than 0"),
    (form.minutes, "soon", "must be a number of minutes"),
    (form.minutes, "nan", "must be greater than 0 and at most 52560000"),
    (form.pattern, "(", "is not a regular expression: "),
    (form.pattern, "a{99999999999}", "is not a regular expression: "),
    (form.pattern, "[[a]", "is not read by Python as Java reads it: "),
    (form.urls, "a,(", "is not a regular expression: "),
    (MODE, "file", "must be one of log, prometheus"),
    (form.envelope, "v2", "must be empty or one of body, json, kserve, kservev2"),
    (ADDRESS, "h:80", "must be http://host:port, https://host:port or unix:/path"),
    (ADDRESS, "http://h:port", "must be http://host:port, https://host:port or unix:/path"),
    (ADDRESS, "http://h/path", "must be http://host:port, https://host:port or unix:/path"),
    (ADDRESS, "http://h:65536", "port 65536 is not from 0 to 65535"),
    (ADDRESS, "unix:", "needs a path after unix:"),
]


@pytest.mark.parametrize(("what", "text", "why"), REFUSED)
def test_what_a_value_must_be(what: Form[Any], text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        what.parse(text)


INSTEAD: list[tuple[Form[Any], str, object, str]] = [
    (form.boolean, "yes", False, "false is used, as by TorchServe"),
    (form.protocol, "v2", False, "false is used, as by TorchServe"),
    (form.host, "", "127.0.0.1", "127.0.0.1 is used, as by TorchServe"),
    (form.whole(1, instead=100), "-5", 100, "100 is used"),
    (form.or_nothing(form.whole(0, instead=0)), "-5", 0, "0 is used"),
    (form.seconds(120), "-5", 120, "120 is used"),
    (form.minutes, "soon", 60.0, "60 is used, as by TorchServe"),
    (form.minutes, "0", 0.0, "keys are expired from the beginning, as under TorchServe"),
    (form.minutes, "inf", 52_560_000.0, "52560000 is used"),
    (form.urls, "a,(,b,)", tuple(re.compile(one, re.IGNORECASE) for one in "ab"), "(, ) allows nothing"),
    (MODE, "file", "log", "log is used, as by TorchServe"),
]


@pytest.mark.parametrize(("what", "text", "value", "said"), INSTEAD)
def test_what_is_used_where_torchserve_starts_all_the_same(
    what: Form[Any], text: str, value: object, said: str
) -> None:
    with pytest.raises(ValueError, match=r"must|is not"):
        what.parse(text)
    assert what.lenient is not None
    assert what.lenient(text) == Instead(value, said)


@pytest.mark.parametrize("what", [form.whole(1, instead=100), form.seconds(120)])
@pytest.mark.parametrize("text", ["many", "0.0", "", "99999999999"])
def test_what_keeps_torchserve_from_starting_is_not_replaced(what: Form[Any], text: str) -> None:
    assert what.lenient is not None
    with pytest.raises(ValueError, match="must be "):
        what.lenient(text)


@pytest.mark.parametrize("what", [form.text, form.path, form.port, form.envelope, ADDRESS, form.pattern])
def test_forms_without_anything_to_use_instead(what: Form[Any]) -> None:
    assert what.lenient is None


@pytest.mark.parametrize("text", ["~nobody-of-that-name/models", "~nobody-of-that-name"])
def test_the_home_of_a_user_that_is_not_there_is_no_path(text: str) -> None:
    with pytest.raises(ValueError, match="names the home of a user that cannot be found"):
        form.path.parse(text)


def test_the_home_of_whoever_starts_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert form.path.parse("~/models") == tmp_path / "models"
    assert form.path.parse("a~b") == Path("a~b")


@given(
    st.builds(
        Address,
        st.sampled_from(["http", "https"]),
        st.sampled_from(["127.0.0.1", "0.0.0.0", "localhost", "model-server.svc", "::1"]),
        st.integers(0, 65535),
    )
    | st.builds(Address, st.just("unix"), path=st.sampled_from(["/tmp/s", "s", "a b"]))
)
def test_an_address_is_written_as_it_is_read(address: Address) -> None:
    assert ADDRESS.parse(str(address)) == address


ALL = [*{id(row[0]): row[0] for row in (*PARSED, *REFUSED, *INSTEAD)}.values()]


@given(st.sampled_from(ALL), st.text(max_size=20) | st.from_regex(r"\A[~+\-]?[0-9a-z./:,*()\[\]~]{0,20}\Z"))
def test_whatever_the_text_is_there_is_a_value_or_a_sentence(what: Form[Any], text: str) -> None:
    for read in (what.parse, what.lenient or what.parse):
        with contextlib.suppress(ValueError):
            read(text)


def test_networks_are_addresses_or_ranges_of_them() -> None:
    found = form.networks.parse("10.0.0.1, 10.1.2.3/8,2001:db8::/32")
    assert [str(network) for network in found] == ["10.0.0.1/32", "10.0.0.0/8", "2001:db8::/32"]
    assert form.networks.parse("") == ()
    with pytest.raises(ValueError, match="must be addresses or networks"):
        form.networks.parse("proxy.example")
