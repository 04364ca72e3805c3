"""Where archives come from: the store, and downloads, of which nothing unchecked comes into the store."""

from __future__ import annotations

import hashlib
import http.server
import ipaddress
import os
import re
import shutil
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shortage import files_of_at_most, no_descriptors
from torchkeeper.archive.reach import Reach
from torchkeeper.archive.source import Source
from torchkeeper.errors import ArchiveError, DownloadFailed, FileExists, ModelNotAt, NoRoom, SystemFailed
from torchkeeper.machine.threads import Abandoned

ANY = Reach((re.compile(".*"),))
CONTENT = b"0123456789" * 1000


class Host(http.server.BaseHTTPRequestHandler):
    """Sends the content: all of it, less than it promised, from elsewhere, or what is no HTTP at all."""

    def do_GET(self) -> None:
        if self.path == "/odd.mar":
            self.wfile.write(b"good day\r\n\r\n")
            return
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to"))
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        whole = ("/m.mar", "/a%20b.mar?key=1", "/m.mar.sig", "/a%20b.mar.sig?key=1")
        self.wfile.write(CONTENT if self.path in whole else CONTENT[:500])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
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


def test_a_download_that_nobody_wants_hangs_up_even_while_its_error_is_held(tmp_path: Path) -> None:
    """Else the connection's parts are collected in any order, and what they say then lands on stderr."""
    over = threading.Event()

    def host(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx")
            connection.settimeout(10)
            if not connection.recv(1):
                over.set()

    def check() -> None:
        raise Abandoned

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=host, args=(listener,))
        thread.start()
        with pytest.raises(Abandoned) as held:
            Source(tmp_path, ANY).fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/m.mar", check)
        thread.join()
    assert over.is_set()
    assert held.tb  # whose frames hold what the download had open


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


def test_a_redirect_does_not_lead_around_the_allowed_urls(tmp_path: Path, url: str) -> None:
    source = Source(tmp_path, Reach((re.compile(f"{url}/to/.*"),)))
    with pytest.raises(ModelNotAt, match=f"Given URL {url}/m.mar does not match any allowed URL"):
        source.fetch(f"{url}/to/m.mar")
    assert not list(tmp_path.iterdir())
    Source(tmp_path, ANY).fetch(f"{url}/to/m.mar").keep()
    assert (tmp_path / "m.mar").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("allowed", "asked"),
    [
        ("https://h/.*", "https://h.evil/m.mar"),
        ("https://h/m", "https://h/m.mar"),
        ("file:///models/.*", "http://h/models/m.mar"),
        ("http://h/.*", "s3://bucket/m.mar"),
    ],
)
def test_a_url_is_allowed_as_a_whole(tmp_path: Path, allowed: str, asked: str) -> None:
    with pytest.raises(ModelNotAt):
        Source(tmp_path, Reach((re.compile(allowed),))).fetch(asked)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("", "empty url"),
        ("#sha256=" + "0" * 64, "empty url"),
        ("../m.mar", "Relative path is not allowed in url: ../m.mar"),
        ("https://h/../m.mar", "Relative path is not allowed"),
        ("https://h/.hidden", "Model not found at: https://h/.hidden"),
        ("https://[/m.mar", "Model not found at: https://[/m.mar"),
        ("s3://[/m.mar", "Model not found at: s3://[/m.mar"),
        ("https://h/m.mar%00", "Model not found at: https://h/m.mar%00"),
        ("https://h", "Model not found at: https://h"),
        ("absent.mar", "Model not found at: absent.mar"),
        ("a\0b.mar", "Model not found at: a\0b.mar"),
    ],
)
def test_what_leads_nowhere(tmp_path: Path, asked: str, why: str) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "m.mar").touch()
    with pytest.raises(ModelNotAt) as raised:
        Source(tmp_path / "store", ANY).fetch(asked)
    assert why in raised.value.message


def test_what_lies_in_the_store_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "m.mar").write_bytes(CONTENT)
    (tmp_path / "folder").mkdir()
    source = Source(tmp_path, Reach(()))
    for name in ("m.mar", "folder"):
        fetched = source.fetch(name)
        assert (fetched.path, fetched.name, fetched.place) == (tmp_path / name, name, None)
        fetched.keep()
        fetched.discard()
        assert (tmp_path / name).exists()


def test_a_pinned_file_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "m.mar").write_bytes(CONTENT)
    (tmp_path / "folder").mkdir()
    digest = hashlib.sha256(CONTENT).hexdigest()
    source = Source(tmp_path, Reach(()))
    assert source.fetch(f"m.mar#sha256={digest.upper()}").path == tmp_path / "m.mar"
    with pytest.raises(ArchiveError, match=f"its sha256 is {digest}, not the pinned 00"):
        source.fetch("m.mar#sha256=" + "0" * 64)
    with pytest.raises(ArchiveError, match="only a file can be pinned"):
        source.fetch(f"folder#sha256={digest}")


def test_a_pinned_download(tmp_path: Path, url: str) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    Source(tmp_path, ANY).fetch(f"{url}/m.mar#sha256={digest}").keep()
    assert (tmp_path / "m.mar").read_bytes() == CONTENT


def test_the_name_of_a_download_is_its_paths_last_part(tmp_path: Path, url: str) -> None:
    fetched = Source(tmp_path, ANY).fetch(f"{url}/a%20b.mar?key=1")
    fetched.keep()
    assert [path.name for path in tmp_path.iterdir()] == [fetched.name] == ["a b.mar"]
    assert stat.S_IMODE((tmp_path / "a b.mar").stat().st_mode) == 0o644


def test_a_file_of_this_machine(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (tmp_path / "m.mar").write_bytes(CONTENT)
    Source(store, ANY).fetch((tmp_path / "m.mar").as_uri()).keep()
    assert (store / "m.mar").read_bytes() == CONTENT
    assert (tmp_path / "m.mar").exists()
    with pytest.raises(DownloadFailed, match="Failed to download archive from: file:///nowhere"):
        Source(store, ANY).fetch("file:///nowhere.mar")


def test_a_start_takes_what_an_earlier_one_has_left_if_it_is_the_same(tmp_path: Path, url: str) -> None:
    (tmp_path / "m.mar").write_bytes(CONTENT)
    fetched = Source(tmp_path, ANY).fetch(f"{url}/m.mar", at_start=True)
    assert fetched.path == tmp_path / "m.mar"
    assert fetched.place is None, "it may be the user's own, and stays when the model goes"
    fetched.keep()
    fetched.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["m.mar"]
    with pytest.raises(FileExists):
        Source(tmp_path, ANY).fetch(f"{url}/m.mar")


def test_a_start_takes_nothing_else_for_it(tmp_path: Path, url: str) -> None:
    (tmp_path / "m.mar").write_bytes(b"theirs")
    with pytest.raises(FileExists, match=r"Model file already exists m\.mar"):
        Source(tmp_path, ANY).fetch(f"{url}/m.mar", at_start=True)
    assert (tmp_path / "m.mar").read_bytes() == b"theirs"
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "m.mar").unlink()
    (tmp_path / "m.mar").mkdir()
    with pytest.raises(FileExists):
        Source(tmp_path, ANY).fetch(f"{url}/m.mar", at_start=True)


def test_two_downloads_of_the_same_at_a_time_are_one_file(tmp_path: Path, url: str) -> None:
    source = Source(tmp_path, ANY)
    first, second = source.fetch(f"{url}/m.mar"), source.fetch(f"{url}/m.mar")
    first.keep()
    second.keep()
    assert [path.name for path in tmp_path.iterdir()] == ["m.mar"]
    assert first.place == second.place == tmp_path / "m.mar"


def test_what_killed_servers_have_left_in_quarantine_is_swept(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in (".quarantine-1", ".quarantine-2", ".hidden"))
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, time.time() - 3700))
    Source(tmp_path, ANY).sweep()
    assert sorted(tmp_path.iterdir()) == [other, new]
    Source(tmp_path / "absent", ANY).sweep()


def test_a_download_that_is_not_kept_is_gone(tmp_path: Path, url: str) -> None:
    fetched = Source(tmp_path, ANY).fetch(f"{url}/m.mar")
    (tmp_path / "m.mar").write_text("theirs")
    with pytest.raises(FileExists, match=r"Model file already exists m\.mar"):
        fetched.keep()
    fetched.discard()
    fetched.discard()
    assert (tmp_path / "m.mar").read_text() == "theirs"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("folder", "name"), [("absent", "m.mar"), (".", "m" * 300)])
def test_a_store_that_cannot_have_it(tmp_path: Path, url: str, folder: str, name: str) -> None:
    with pytest.raises(DownloadFailed) as raised:
        Source(tmp_path / folder, ANY).fetch(f"{url}/{name}")
    assert str(raised.value.cause).startswith("it cannot be kept: ")


def test_a_download_has_a_largest_size_and_the_disk_has_another(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Source(tmp_path, ANY, largest=len(CONTENT)).fetch(f"{url}/m.mar").discard()
    with pytest.raises(DownloadFailed) as raised:
        Source(tmp_path, ANY, largest=len(CONTENT) - 1).fetch(f"{url}/m.mar")
    assert raised.value.cause == "it has more than the 9999 bytes of max_download_size"
    monkeypatch.setattr(shutil, "disk_usage", lambda where: shutil._ntuple_diskusage(10**6, 10**6, 9999))
    with pytest.raises(NoRoom, match="the model store has room for 9999 bytes, it has 10000 or more") as full:
        Source(tmp_path, ANY).fetch(f"{url}/m.mar")
    assert full.value.status == 507
    assert not list(tmp_path.iterdir())


def test_strictly_all_that_cannot_be_had_sounds_the_same(
    tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    home = (ipaddress.ip_network("127.0.0.0/8"),)
    source = Source(tmp_path, Reach((re.compile(r"http://(127\.0\.0\.1|localhost).*"),), home, strict=True))
    wrong = "#sha256=" + "0" * 64
    with socket.create_server(("127.0.0.1", 0)) as sock:
        closed = f"http://127.0.0.1:{sock.getsockname()[1]}"
    for asked in (f"{url}/m.mar", f"{url}/short.mar", f"{closed}/m.mar", f"{url}/to//elsewhere/m.mar"):
        with pytest.raises(DownloadFailed) as raised:
            source.fetch(asked + wrong)
        assert raised.value.message == f"Failed to download archive from: {asked}{wrong}"
        assert raised.value.cause == "the server's log says why"
    said = [record.getMessage() for record in caplog.records]
    for part in ("not the pinned", "broke off", "Connection refused", "elsewhere/m.mar does not match any"):
        assert any(part in line for line in said), part
    digest = hashlib.sha256(CONTENT).hexdigest()
    source.fetch(f"{url}/m.mar#sha256={digest}").keep()
    assert (tmp_path / "m.mar").read_bytes() == CONTENT


@pytest.mark.parametrize(("what", "name"), [("m.mar", "m.mar"), ("a%20b.mar?key=1", "a b.mar")])
def test_a_signature_comes_with_its_archive_and_stays_with_it(
    tmp_path: Path, url: str, what: str, name: str
) -> None:
    only = Reach((re.compile(rf"{url}/[^/]*\.mar(\?.*)?"),))
    fetched = Source(tmp_path, only, signatures=True).fetch(f"{url}/{what}")
    assert fetched.signature is not None
    assert fetched.signature.name.startswith(".quarantine-")
    fetched.discard()
    assert not list(tmp_path.iterdir())
    fetched = Source(tmp_path, only, signatures=True).fetch(f"{url}/{what}")
    fetched.keep()
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}.sig"]
    assert fetched.brought == (tmp_path / name, tmp_path / f"{name}.sig")
    assert Source(tmp_path, ANY, signatures=True).fetch(name).signature == tmp_path / f"{name}.sig"
    assert Source(tmp_path, ANY).fetch(name).signature is None


def test_an_archive_whose_signature_hangs_goes_at_the_end(tmp_path: Path, url: str) -> None:
    source = Source(tmp_path, ANY, signatures=True)
    seen: list[int] = []

    def check() -> None:
        seen.append(len(list(tmp_path.iterdir())))
        if len(seen) > 1 and seen[-1] == 2:  # the signature is coming
            source.close()
            assert not list(tmp_path.iterdir())
            raise Abandoned

    with pytest.raises(Abandoned):
        source.fetch(f"{url}/m.mar", check)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stuck", ["m.mar.sig", "m.mar"])
def test_an_archive_is_kept_with_its_signature_or_not_at_all(tmp_path: Path, url: str, stuck: str) -> None:
    """What does not come into its place is a folder's fault, or a disk's."""
    source = Source(tmp_path, ANY, signatures=True)
    fetched = source.fetch(f"{url}/m.mar")
    if stuck == "m.mar":
        fetched.path.unlink()
    else:
        (tmp_path / stuck).mkdir()
    with pytest.raises(OSError, match=r"Is a directory|No such file"):
        fetched.keep()
    fetched.discard()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_an_archive_without_a_signature_comes_all_the_same(tmp_path: Path, url: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "m.mar").write_bytes(CONTENT)
    source = Source(tmp_path, ANY, signatures=True)
    fetched = source.fetch((tmp_path / "there" / "m.mar").as_uri())
    fetched.keep()
    assert fetched.signature is None
    assert fetched.brought == (tmp_path / "m.mar",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.mar", "there"]


def test_a_start_fetches_the_signature_of_what_an_earlier_one_has_left(tmp_path: Path, url: str) -> None:
    (tmp_path / "m.mar").write_bytes(CONTENT)
    fetched = Source(tmp_path, ANY, signatures=True).fetch(f"{url}/m.mar", at_start=True)
    assert (fetched.path, fetched.brought) == (tmp_path / "m.mar", ())
    fetched.keep()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.mar", "m.mar.sig"]
    (tmp_path / "m.mar.sig").write_bytes(b"the store's own")
    fetched = Source(tmp_path, ANY, signatures=True).fetch(f"{url}/m.mar", at_start=True)
    fetched.discard()
    assert (tmp_path / "m.mar.sig").read_bytes() == b"the store's own"


def test_a_download_that_the_disk_does_not_take_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    store = tmp_path / "store"
    store.mkdir()
    small = tmp_path / "from" / "m.mar"  # it lies in a buffer until the file is closed
    small.write_bytes(b"x" * 100)
    with files_of_at_most(10), pytest.raises(NoRoom, match="it cannot be kept: File too large"):
        Source(store, ANY).fetch(f"file://{small}")
    assert list(store.iterdir()) == []


def test_a_download_for_which_no_descriptor_is_left_may_be_had_later(tmp_path: Path, url: str) -> None:
    source = Source(tmp_path, ANY)
    with no_descriptors(), pytest.raises(SystemFailed) as raised:
        source.fetch(f"{url}/m.mar")
    assert raised.value.status == 503
    assert list(tmp_path.iterdir()) == []
    assert source.fetch(f"{url}/m.mar").path.read_bytes() == CONTENT
