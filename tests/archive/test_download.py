"""Bytes from elsewhere: only from where they may come, from an address that was judged, and in time."""

from __future__ import annotations

import http.server
import ipaddress
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from torchkeeper.archive import download
from torchkeeper.archive.download import chunks
from torchkeeper.archive.reach import Reach
from torchkeeper.errors import DownloadFailed, ModelNotAt, NoRoom, TorchkeeperError

CONTENT = b"0123456789" * 1000
ANY = (re.compile(".*"),)
#: Strictly counts as an entry, but names no host: what is refused is refused by its address.
NEARLY_ANY = (re.compile(r"(?i)http://(?!some-other-host|203\.0\.113|x[:/]).*"),)
PIN = "#sha256=" + "0" * 64


class Host(http.server.BaseHTTPRequestHandler):
    """Sends the content, sends elsewhere, or is slow; remembers who asked for what."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path == "/silent":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            self.rfile.read(1)
        elif self.path == "/slow":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(1000):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return
                threading.Event().wait(0.01)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        pass


Serve = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts hosts on loopback addresses; returns the port and what was asked for."""
    with ExitStack() as stack:

        def start(address: str = "127.0.0.1", port: int = 0) -> tuple[int, list[str]]:
            kind = type("Kind", (Host,), {"asked": []})
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            server_kind = type("Server", (http.server.ThreadingHTTPServer,), {"address_family": family})
            server = stack.enter_context(server_kind((address, port), kind))
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.shutdown)
            return server.server_port, kind.asked  # type: ignore[attr-defined]

        yield start


def fetched(url: str, reach: Reach | None = None, expect: Callable[[int], None] = lambda size: None) -> bytes:
    return b"".join(chunks(url, Reach(ANY) if reach is None else reach, expect))


def judged(url: str, reach: Reach) -> bytes:
    reach.check_url(url)
    return fetched(url, reach)


def refusal(url: str, reach: Reach | None = None) -> TorchkeeperError:
    with pytest.raises((DownloadFailed, ModelNotAt)) as raised:
        fetched(url, reach)
    return raised.value


def test_what_is_there_comes_and_its_size_is_known_first(serve: Serve) -> None:
    port, asked = serve()
    sizes: list[int] = []
    assert fetched(f"HTTP://localhost:{port}/m.mar", expect=sizes.append) == CONTENT
    assert (sizes, asked) == ([len(CONTENT)], ["/m.mar"])

    def too_many(size: int) -> None:
        raise NoRoom("no")

    with pytest.raises(NoRoom):
        fetched(f"http://127.0.0.1:{port}/m.mar", expect=too_many)


#: Ways to write this machine; each has its port at `{}`.
SPELLINGS = (
    *(
        "127.0.0.1:{}",
        "localhost:{}",
        "LOCALHOST:{}",
        "localhost.:{}",
        "LocalHost.:{}",
        "127.1:{}",
        "127.0.1:{}",
    ),
    *("2130706433:{}", "0x7f000001:{}", "0x7f.0.0.1:{}", "0177.0.0.1:{}", "017700000001:{}", "0x7f.1:{}"),
    *("127.0.0.2:{}", "127.255.255.254:{}", "0:{}", "0.0.0.0:{}", "00:{}", "0x0:{}", "[::1]:{}", "[::]:{}"),
    *("[::ffff:127.0.0.1]:{}", "[::ffff:7f00:1]:{}", "[0:0:0:0:0:0:0:1]:{}", "[::ffff:0:127.0.0.1]:{}"),
    *("[::127.0.0.1]:{}", "[64:ff9b::7f00:1]:{}", "[2002:7f00:1::]:{}", "[::1%lo]:{}", "[::1%25lo]:{}"),
    *("①②⑦.⓪.⓪.①:{}", "127。0。0。1:{}", "ｌｏｃａｌｈｏｓｔ:{}", "127.0.0.1.:{}", "1２7.0.0.1:{}"),
    *("user@127.0.0.1:{}", "models.example@127.0.0.1:{}", "models.example:80@127.0.0.1:{}", "@127.0.0.1:{}"),
    *("models.example\\@127.0.0.1:{}", "127.0.0.1:{}#@models.example", "127.0.0.1:{}?@models.example"),
    *("127.0.0.1:{}\\.models.example", "models.example%40127.0.0.1:{}", "127.0.0.1%00.models.example:{}"),
    *("127.0.0.1:0{}", "127.0.0.1:{}\t", "\t127.0.0.1:{}", "127.0.0.1 :{}", "/127.0.0.1:{}"),
)


@pytest.mark.parametrize("strict", [True, False])
def test_no_spelling_of_a_private_address_is_asked(serve: Serve, strict: bool) -> None:
    port, asked = serve("0.0.0.0")
    _, asked_too = serve("::1", port)
    allowed = NEARLY_ANY if strict else (re.compile(r"http://models\.example(:\d+)?/.*"),)
    reach = Reach(allowed, strict=strict)
    spellings = (*SPELLINGS, f"{socket.gethostname()}:{{}}")
    assert len(spellings) >= 50
    for spelling in spellings:
        url = f"http://{spelling.format(port)}/m.mar"
        with pytest.raises((DownloadFailed, ModelNotAt)):
            judged(url, reach)
    assert (asked, asked_too) == ([], [])
    fetched(f"http://127.0.0.1:{port}/m.mar", Reach(ANY))
    assert asked == ["/m.mar"], "the host hears who asks"


def test_a_redirect_is_judged_by_url_and_by_address(serve: Serve) -> None:
    port, _ = serve()
    other, asked = serve("127.0.0.2")
    home = (ipaddress.ip_network("127.0.0.1/32"),)
    led = f"http://127.0.0.1:{port}/to/http://127.0.0.2:{other}/m.mar"
    said = refusal(led, Reach(NEARLY_ANY, home, strict=True))
    assert said.cause == "its host has the address 127.0.0.2, which is not public; see allowed_addresses"
    assert (
        "does not match any allowed URL"
        in refusal(led, Reach((re.compile(r"http://127\.0\.0\.1:.*"),))).message
    )
    for target in ("ftp://127.0.0.2/m.mar", "file:///etc/passwd", f"http://u@127.0.0.2:{other}/m.mar", "//["):
        refusal(f"http://127.0.0.1:{port}/to/{target}")
    assert asked == []
    assert fetched(led) == CONTENT


def test_a_name_is_looked_up_once_and_that_address_is_asked(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, asked = serve()
    _, rebound = serve("127.0.0.2", port)
    addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.2"]
    real = socket.getaddrinfo

    def changing(host: str, *rest: Any, **more: Any) -> Any:
        return real(addresses.pop(0) if host == "models.example" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    reach = Reach(ANY, (ipaddress.ip_network("127.0.0.1/32"),), strict=False)
    assert fetched(f"http://models.example:{port}/m.mar", reach) == CONTENT
    assert (asked, rebound, len(addresses)) == (["/m.mar"], [], 2)


def test_one_bad_address_of_a_name_is_enough(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    port, asked = serve()
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
        for address in ("127.0.0.1", "169.254.169.254")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *rest, **more: found)
    said = refusal(f"http://models.example:{port}/m.mar").cause
    assert said is not None
    assert said.startswith("its host has the address 169.254.169.254, where clouds tell")
    assert asked == []


def test_a_proxy_is_asked_and_what_it_is_asked_for_is_judged(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, asked = serve()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("no_proxy", "")
    assert fetched("http://models.invalid/m.mar") == CONTENT
    assert asked == ["http://models.invalid/m.mar"]
    refusal("http://169.254.169.254/latest/meta-data")
    refusal("http://127.0.0.2/m.mar", Reach(NEARLY_ANY, strict=True))
    assert len(asked) == 1


@pytest.mark.parametrize("path", ["/silent", "/slow"])
def test_a_host_that_takes_its_time_is_given_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    port, _ = serve()
    monkeypatch.setattr(download, "_STALL", 0.2)
    said = refusal(f"http://127.0.0.1:{port}{path}").cause
    assert said is not None
    assert re.fullmatch(r"timed out|it sent \d+ bytes in 0 seconds", said)


def test_a_closed_port_is_said(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    assert refusal(f"http://127.0.0.1:{port}/m.mar").cause == "[Errno 111] Connection refused"


def test_a_file_is_a_file_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "a b.mar").write_bytes(CONTENT)
    os.mkfifo(tmp_path / "fifo.mar")
    assert fetched((tmp_path / "a b.mar").as_uri()) == CONTENT
    assert fetched(f"FILE://localhost{tmp_path}/a%20b.mar") == CONTENT
    assert refusal(f"file://{tmp_path}/fifo.mar").cause == "it is no file"
    assert refusal("file:///dev/zero").cause == "it is no file"
    assert refusal(f"file://{tmp_path}").cause == "Is a directory"
    assert refusal("file:///nowhere.mar").cause == "No such file or directory"
    assert refusal("file://elsewhere/m.mar").cause == "it is a file of another machine"
