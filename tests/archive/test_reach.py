"""Which URLs archives may come from, and which addresses these may lead to."""

from __future__ import annotations

import ipaddress
import re

import pytest

from torchkeeper.archive.model_url import read_model_url
from torchkeeper.archive.reach import Reach
from torchkeeper.errors import DownloadFailed, ModelNotAt

PIN = "#sha256=" + "0f" * 32
TORCHSERVES = (re.compile("file://.*"), re.compile("http(s)?://.*"))


def allowed(*patterns: str, strict: bool = False) -> Reach:
    return Reach(tuple(map(re.compile, patterns)), strict=strict)


def test_a_pattern_must_match_the_whole_of_it() -> None:
    reach = allowed("https://h/.*", "s3://b/m")
    reach.check(read_model_url("https://h/m.mar"))
    with pytest.raises(ModelNotAt, match=r"Given URL xhttps://h/m\.mar does not match any allowed URL"):
        reach.check_url("xhttps://h/m.mar")
    with pytest.raises(ModelNotAt, match=r"Model not found at: s3://b/m\.mar") as refused:
        reach.check_url("s3://b/m.mar")
    assert refused.value.cause == "allowed_urls does not match it"


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("https://h/.*", "https://h/m.mar"),
        ("https?://h:8000/.*", "http://h:8000/m.mar"),
        (r"https://[a-z-]+\.example/.*", "https://models.example/m.mar"),
        (r"http://10\..*", "http://10.1.2.3/m.mar"),
        (r"https://\[2001:db8::1\]:1/.*", "https://[2001:db8::1]:1/m.mar"),
        ("s3://models/.*", "s3://models/m.mar"),
        ("file:///models/.*", "file:///models/m.mar"),
    ],
)
def test_strictly_an_entry_names_a_host_or_a_folder(pattern: str, url: str) -> None:
    reach = allowed(pattern, strict=True)
    reach.check(read_model_url(url + PIN))
    with pytest.raises(ModelNotAt) as refused:
        reach.check(read_model_url(url))
    assert refused.value.cause == "strict=true wants #sha256=<64 hex digits> at the end of a download's URL"
    allowed(pattern).check(read_model_url(url))


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        (".*", "https://h/m.mar"),
        ("http(s)?://.*", "https://h/m.mar"),
        ("http(s)?://.*", "https://h:1/m.mar"),
        ("https://[^/]+/m.mar", "https://h/m.mar"),
        (r"http://[0-9.]+/.*", "http://10.1.2.3/m.mar"),
        (r"https://\w+/.*", "https://h/m.mar"),
        ("https://.*", "https://h:port/m.mar"),
        ("s3://.*", "s3://models/m.mar"),
        ("file://.*", "file:///models/m.mar"),
        (r"file:///[\w/.-]+", "file:///models/m.mar"),
    ],
)
def test_strictly_a_pattern_of_any_host_is_no_entry(pattern: str, url: str) -> None:
    allowed(pattern).check(read_model_url(url))
    with pytest.raises(ModelNotAt) as refused:
        allowed(pattern, strict=True).check(read_model_url(url + PIN))
    assert (
        refused.value.cause == "strict=true wants an entry of allowed_urls that names its host, or its folder"
    )


METADATA = (
    *("169.254.169.254", "169.254.170.2", "fe80::1%eth0", "fd00:ec2::254", "100.100.100.200"),
    *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "168.63.129.16"),
)
PRIVATE = (
    *(
        "127.0.0.1",
        "127.9.9.9",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
    ),
    *(
        "::1",
        "::",
        "fc00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "ff02::1",
        "255.255.255.255",
    ),
    *("198.18.0.1", "192.0.2.1"),
)
PUBLIC = ("1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1")


@pytest.mark.parametrize(
    ("strict", "address"),
    [*((False, one) for one in METADATA), *((True, one) for one in (*METADATA, *PRIVATE))],
)
def test_addresses_that_are_not_reached(strict: bool, address: str) -> None:
    with pytest.raises(DownloadFailed) as refused:
        Reach(TORCHSERVES, strict=strict).check_address("http://h/m.mar", address)
    assert refused.value.cause is not None
    assert refused.value.cause.startswith(f"its host has the address {address}, ")
    assert refused.value.cause.endswith("; see allowed_addresses")
    plain = ipaddress.ip_address(address.partition("%")[0])
    Reach(TORCHSERVES, (ipaddress.ip_network(plain),), strict).check_address("http://h/m.mar", address)


@pytest.mark.parametrize(
    ("strict", "address"), [*((False, one) for one in (*PRIVATE, *PUBLIC)), *((True, one) for one in PUBLIC)]
)
def test_addresses_that_are(strict: bool, address: str) -> None:
    Reach(TORCHSERVES, strict=strict).check_address("http://h/m.mar", address)


def test_a_network_is_allowed_whole_and_by_what_an_address_stands_for() -> None:
    reach = Reach(TORCHSERVES, (ipaddress.ip_network("10.0.0.0/8"),), strict=True)
    reach.check_address("http://h/m.mar", "10.200.0.1")
    reach.check_address("http://h/m.mar", "::ffff:10.200.0.1")
    with pytest.raises(DownloadFailed):
        reach.check_address("http://h/m.mar", "192.168.0.1")
