"""Whose page may have asked for a write."""

from __future__ import annotations

import pytest

from torchkeeper.api.site import CrossSite, SiteGuard, is_loopback

LOOPBACK = SiteGuard("127.0.0.1")


def passes(guard: SiteGuard, **fields: str) -> bool:
    try:
        guard.check([(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()])
    except CrossSite:
        return False
    return True


@pytest.mark.parametrize(
    ("fields", "may"),
    [
        ({"host": "127.0.0.1:8081"}, True),
        ({"host": "localhost:8081"}, True),
        ({"host": "LOCALHOST"}, True),
        ({"host": "[::1]:8081"}, True),
        ({"host": "a.localhost"}, True),
        ({"host": ""}, True),
        ({}, True),
        ({"host": "rebind.example:8081"}, False),
        ({"host": "127.0.0.1.example"}, False),
        ({"host": "localhost.example"}, False),
        ({"host": "10.0.0.1"}, False),
        ({"host": "localhost:8081", "origin": "http://localhost:8081"}, True),
        ({"host": "localhost:8081", "origin": "http://localhost:3000"}, False),
        ({"host": "localhost:8081", "origin": "https://page.example"}, False),
        ({"host": "localhost:8081", "origin": "null"}, False),
        ({"host": "localhost:8081", "origin": "http://[::1"}, False),
        (
            {"host": "localhost:8081", "sec_fetch_site": "same-origin", "origin": "http://localhost:8081"},
            True,
        ),
        ({"host": "localhost:8081", "sec_fetch_site": "none"}, True),
        ({"host": "localhost:8081", "sec_fetch_site": "cross-site"}, False),
        ({"host": "localhost:8081", "sec_fetch_site": "same-site", "origin": "http://localhost:8081"}, False),
    ],
)
def test_on_loopback(fields: dict[str, str], may: bool) -> None:
    assert passes(LOOPBACK, **fields) is may


@pytest.mark.parametrize("guard", [SiteGuard("0.0.0.0"), SiteGuard(""), SiteGuard("127.0.0.1", ["*"])])
def test_names_are_looked_at_on_loopback_only_pages_everywhere(guard: SiteGuard) -> None:
    assert passes(guard, host="models.example")
    assert passes(guard, host="models.example", origin="https://models.example")
    assert not passes(guard, host="models.example", origin="https://page.example")


def test_settings_let_more_through() -> None:
    named = SiteGuard("127.0.0.1", ["Models.Example", "other:8081"])
    assert passes(named, host="models.example:8081")
    assert passes(named, host="other:8081")
    assert not passes(named, host="other:8082")
    assert passes(SiteGuard("127.0.0.1", origin="*"), host="localhost", origin="https://page.example")
    one = SiteGuard("127.0.0.1", origin="https://page.example")
    assert passes(one, host="localhost", origin="https://page.example", sec_fetch_site="cross-site")
    assert not passes(one, host="localhost", origin="https://other.example")


def test_the_refusal_names_the_setting_that_lets_it_through() -> None:
    with pytest.raises(CrossSite) as refused:
        LOOPBACK.check([(b"host", b"rebind.example")])
    assert (refused.value.status, refused.value.refusal) == (403, True)
    advice = "tokens (the default) or the setting allowed_hosts let it through"
    assert refused.value.cause == f"this server is not called rebind.example; {advice}"


def test_what_loopback_is() -> None:
    assert all(map(is_loopback, ("localhost", "localhost.", "127.1.2.3", "::1", "x.localhost")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "::", "localhost.example", "notlocalhost", "127.1")))
