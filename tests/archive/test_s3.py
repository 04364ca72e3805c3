"""S3 URLs: which are some, and objects fetched by boto3 from a server that speaks S3's GET."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchkeeper.archive.s3 import split_s3
from torchkeeper.archive.source import Source
from torchkeeper.errors import DownloadFailed, ModelNotAt

CONTENT = bytes(range(256)) * 10_000
ANY = (re.compile("s3://.*"), re.compile("https://.*"))
MISSING = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("s3://bucket/key.mar", ("bucket", "key.mar")),
        ("s3://bucket/deep/er/key.mar", ("bucket", "deep/er/key.mar")),
        ("s3://bucket", None),
        ("s3:///key", None),
        ("https://bucket.s3.amazonaws.com/key.mar", ("bucket", "key.mar")),
        ("https://my.bucket.s3.eu-west-1.amazonaws.com/a%20b.mar", ("my.bucket", "a b.mar")),
        ("https://bucket.s3-us-west-2.amazonaws.com/key", ("bucket", "key")),
        ("https://s3.us-east-1.amazonaws.com/bucket/key", ("bucket", "key")),
        ("https://s3.amazonaws.com/bucket", None),
        ("https://s3.amazonaws.com.evil.example/bucket/key", None),
        ("https://notamazonaws.com/bucket/key", None),
        ("http://bucket.s3.amazonaws.com/key", None),
    ],
)
def test_which_urls_are_s3s(url: str, found: tuple[str, str] | None) -> None:
    assert split_s3(url) == found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """A server with one object; paths and Authorization headers that it was asked with."""
    found: list[tuple[str, str]] = []

    class Store(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.append((self.path, self.headers.get("Authorization", "")))
            there = self.path == "/bucket/models/m.mar"
            content = CONTENT if there else MISSING
            self.send_response(200 if there else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield found
        server.shutdown()


def test_an_object_is_fetched_with_signed_requests_and_kept(
    tmp_path: Path, asked: list[tuple[str, str]]
) -> None:
    fetched = Source(tmp_path, ANY).fetch("s3://bucket/models/m.mar")
    assert fetched.path.read_bytes() == CONTENT
    assert fetched.name == "m.mar"
    assert not (tmp_path / "m.mar").exists()
    fetched.keep()
    assert (tmp_path / "m.mar").read_bytes() == CONTENT
    ((path, signature),) = asked
    assert path == "/bucket/models/m.mar"
    assert signature.startswith("AWS4-HMAC-SHA256 Credential=id/")


def test_s3s_https_address_is_signed_when_asked_for(tmp_path: Path, asked: list[tuple[str, str]]) -> None:
    url = "https://bucket.s3.eu-west-1.amazonaws.com/models/m.mar"
    assert Source(tmp_path, ANY).fetch(url, signed=True).path.read_bytes() == CONTENT
    assert asked[0][1].startswith("AWS4-HMAC-SHA256 ")


def test_an_object_that_is_not_there_is_named_and_nothing_is_left(
    tmp_path: Path, asked: list[tuple[str, str]]
) -> None:
    with pytest.raises(DownloadFailed, match=r"archive from: s3://bucket/no\.mar") as raised:
        Source(tmp_path, ANY).fetch("s3://bucket/no.mar")
    assert "NoSuchKey" in (raised.value.cause or "")
    assert not list(tmp_path.iterdir())


def test_s3_must_be_allowed(tmp_path: Path) -> None:
    with pytest.raises(ModelNotAt, match=r"Model not found at: s3://bucket/m\.mar"):
        Source(tmp_path, (re.compile("file://.*|http(s)?://.*"),)).fetch("s3://bucket/m.mar")
