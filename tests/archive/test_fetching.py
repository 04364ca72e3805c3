"""Downloads: whole, broken off, or given up; nothing unchecked comes into the store."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchkeeper.archive.source import Source
from torchkeeper.errors import ArchiveError, DownloadFailed, FileExists, ModelNotAt
from torchkeeper.machine.threads import Abandoned

ANY = (re.compile(".*"),)
CONTENT = b"0123456789" * 1000


class Host(http.server.BaseHTTPRequestHandler):
    """Sends the content: all of it, or less than it promised, or what is no HTTP at all."""

    def do_GET(self) -> None:
        if self.path == "/odd.mar":
            self.wfile.write(b"good day\r\n\r\n")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if self.path == "/m.mar" else CONTENT[:500])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_download_is_in_the_store_once_it_is_kept(tmp_path: Path, url: str) -> None:
    source = Source(tmp_path, ANY)
    fetched = source.fetch(f"{url}/m.mar")
    assert not (tmp_path / "m.mar").exists()
    fetched.keep()
    assert (tmp_path / "m.mar").read_bytes() == CONTENT
    with pytest.raises(FileExists):
        source.fetch(f"{url}/m.mar")
    source.close()
    assert [path.name for path in tmp_path.iterdir()] == ["m.mar"]


@pytest.mark.parametrize(
    ("what", "error", "why"),
    [
        ("short.mar", DownloadFailed, "broke off 9500 bytes before its end"),
        ("odd.mar", DownloadFailed, "good day"),
        ("m.mar#sha256=" + "0" * 64, ArchiveError, "not the pinned"),
        ("", ModelNotAt, "Model not found"),
    ],
)
def test_nothing_is_left_of_what_cannot_be_had(
    tmp_path: Path, url: str, what: str, error: type[ArchiveError], why: str
) -> None:
    with pytest.raises(error) as raised:
        Source(tmp_path, ANY).fetch(f"{url}/{what}")
    assert why in f"{raised.value} {raised.value.cause}"
    assert not list(tmp_path.iterdir())


def test_a_download_that_nobody_wants_ends(tmp_path: Path, url: str) -> None:
    def check() -> None:
        raise Abandoned

    with pytest.raises(Abandoned):
        Source(tmp_path, ANY).fetch(f"{url}/m.mar", check)
    assert not list(tmp_path.iterdir())


def test_what_a_download_that_hangs_has_left_goes_at_the_end(tmp_path: Path, url: str) -> None:
    source = Source(tmp_path, ANY)
    seen: list[str] = []

    def check() -> None:
        seen.extend(path.name for path in tmp_path.iterdir())
        source.close()
        assert not list(tmp_path.iterdir())
        raise Abandoned

    with pytest.raises(Abandoned):
        source.fetch(f"{url}/m.mar", check)
    assert seen[0].startswith(".quarantine-")
