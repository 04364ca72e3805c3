"""What a model URL says, before anything is looked for or fetched."""

from __future__ import annotations

import pytest

from torchkeeper.archive.buckets import CloudObject
from torchkeeper.archive.model_url import ModelUrl, read_model_url, signature_url
from torchkeeper.errors import ModelNotAt

PIN = "0f" * 32


@pytest.mark.parametrize(
    ("url", "expected", "remote"),
    [
        ("m.mar", ModelUrl("m.mar"), False),
        ("/store/m.mar", ModelUrl("/store/m.mar"), False),
        (f"m.mar#sha256={PIN.upper()}", ModelUrl("m.mar", PIN), False),
        ("m.mar#sha256=0f", ModelUrl("m.mar#sha256=0f"), False),
        ("ftp://h/m.mar", ModelUrl("ftp://h/m.mar"), False),
        (f"https://h/m.mar?a=b#sha256={PIN}", ModelUrl("https://h/m.mar?a=b", PIN), True),
        ("FILE:///m.mar", ModelUrl("FILE:///m.mar"), True),
        ("s3://b/k/m.mar", ModelUrl("s3://b/k/m.mar", None, CloudObject("s3", "b", "k/m.mar")), True),
        ("s3://b", ModelUrl("s3://b"), False),
        ("https://b.s3.amazonaws.com/m.mar", ModelUrl("https://b.s3.amazonaws.com/m.mar"), True),
    ],
)
def test_what_a_url_says(url: str, expected: ModelUrl, remote: bool) -> None:
    assert read_model_url(url) == expected
    assert expected.remote is remote


def test_who_signs_asks_s3_for_its_https_addresses() -> None:
    assert read_model_url("https://b.s3.amazonaws.com/m.mar", signed=True).cloud == CloudObject(
        "s3", "b", "m.mar"
    )
    assert read_model_url("https://h/m.mar", signed=True).cloud is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "empty url"),
        (f"#sha256={PIN}", "empty url"),
        ("../m.mar", "Relative path is not allowed in url: ../m.mar"),
        (f"https://h/../m.mar#sha256={PIN}", "Relative path is not allowed in url: https://h/../m.mar"),
    ],
)
def test_urls_that_lead_nowhere(url: str, why: str) -> None:
    with pytest.raises(ModelNotAt) as refused:
        read_model_url(url)
    assert refused.value.message == why


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://h/m.mar?key=1", ModelUrl("https://h/m.mar.sig?key=1")),
        (
            f"s3://b/k/m.mar#sha256={PIN}",
            ModelUrl("s3://b/k/m.mar.sig", None, CloudObject("s3", "b", "k/m.mar.sig")),
        ),
    ],
)
def test_where_the_signature_is(url: str, wanted: ModelUrl) -> None:
    assert signature_url(read_model_url(url)) == wanted
