"""The bytes of an archive that lies elsewhere: over HTTP, or in a file of this machine.

A host's name is looked up once, its addresses are judged, and those are connected to: what the name says a
moment later does not count. Redirects are judged like the first URL. Blocks; runs in threads.
"""

from __future__ import annotations

import http.client
import os
import socket
import stat
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from functools import partial
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from torchkeeper.archive.reach import Reach
from torchkeeper.errors import DownloadFailed, system_error

_CHUNK = 1 << 20
#: Seconds that an address may take to answer, and a whole head, and after which a silent host is given up.
_CONNECT, _STALL = 10.0, 60.0
#: Bytes in a second that a host must send, on average, after its first minute.
_SLOWEST = 1024

#: Is told how many bytes there are, as soon as that is known; what it raises ends the download.
Expect = Callable[[int], None]


def chunks(url: str, reach: Reach, expect: Expect) -> Generator[bytes, None, None]:
    """The bytes at a URL of http:, https: or file:, which was checked itself.

    Raises:
        DownloadFailed: they cannot be had.
        SystemFailed: this machine fails.
        ModelNotAt: a redirect leads where nothing may come from.
    """
    try:
        yield from _file(url, expect) if urlsplit(url).scheme.lower() == "file" else _http(url, reach, expect)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason: object = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, OSError) and (failed := system_error(reason, f"{url} cannot be fetched")):
            raise failed from error
        if isinstance(reason, OSError) and reason.filename is not None:
            reason = reason.strerror
        raise DownloadFailed(url, str(reason)) from error


def _http(url: str, reach: Reach, expect: Expect) -> Generator[bytes, None, None]:
    if "@" in urlsplit(url).netloc:
        raise DownloadFailed(url, "it names a user, which is not sent")
    opener = urllib.request.OpenerDirector()
    for handler in (
        *(urllib.request.ProxyHandler(), urllib.request.HTTPDefaultErrorHandler()),
        *(urllib.request.HTTPErrorProcessor(), _Redirects(reach), _Plain(reach), _Tls(reach)),
    ):
        opener.add_handler(handler)
    begin, received = time.monotonic(), 0
    with closing(opener.open(url, timeout=_STALL)) as answer:
        if answer.length is not None:
            expect(answer.length)
        while chunk := answer.read1(_CHUNK):  # what is there: a slow host is not waited for
            yield chunk
            received += len(chunk)
            took = time.monotonic() - begin
            if took > _STALL and received < took * _SLOWEST:
                raise DownloadFailed(url, f"it sent {received} bytes in {took:.0f} seconds")
        if answer.length:
            raise DownloadFailed(url, f"it broke off {answer.length} bytes before its end")


def _file(url: str, expect: Expect) -> Generator[bytes, None, None]:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise DownloadFailed(url, "it is a file of another machine")
    with open(url2pathname(parts.path), "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):  # a device may never end
            raise DownloadFailed(url, "it is no file")
        expect(status.st_size)
        while chunk := file.read(_CHUNK):
            yield chunk


def _without_waiting(path: str, flags: int) -> int:
    """Opens a file; a pipe to which nobody writes keeps nobody."""
    return os.open(path, flags | os.O_NONBLOCK)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to where a model may come from: it must not lead around allowed_urls."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        self._reach.check_url(newurl)
        if not newurl.lower().startswith(("http://", "https://")) or "@" in urlsplit(newurl).netloc:
            raise DownloadFailed(req.full_url, "a redirect leads to what is not fetched")
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any
    ) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except BaseException:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, reach: Reach) -> None:
        super().__init__()
        self._reach = reach

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_Connection, self._reach, req), req)


class _Tls(urllib.request.HTTPSHandler):
    def __init__(self, reach: Reach) -> None:
        super().__init__()
        self._reach = reach

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_TlsConnection, self._reach, req), req)


class _Connection(http.client.HTTPConnection):
    """Connects to what was judged, and gives a host a bounded time for the head of its answer."""

    def __init__(self, reach: Reach, request: urllib.request.Request, host: str, **options: Any) -> None:
        super().__init__(host, **options)
        self._reach = reach
        self._url = request.full_url
        self._by_proxy = request.host != urlsplit(request.full_url).netloc

    def connect(self) -> None:
        if self._by_proxy:
            with suppress(OSError):  # the proxy may know names that nobody here does
                self._judged(urlsplit(self._url).hostname or "")
            super().connect()
            return
        error: OSError | None = None
        for family, kind, protocol, address in self._judged(self.host):
            self.sock = socket.socket(family, kind, protocol)
            try:
                self.sock.settimeout(_CONNECT)
                self.sock.connect(address)
            except OSError as refused:
                self.sock.close()
                error = refused
            else:
                self.sock.settimeout(self.timeout)
                return
        raise error or OSError("the host has no address")

    def _judged(self, host: str) -> list[tuple[int, int, int, Any]]:
        """What to connect to for a host.

        Raises:
            DownloadFailed: one of its addresses may not be reached.
        """
        found = socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM)
        for *_, address in found:
            self._reach.check_address(self._url, str(address[0]))
        return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]

    def getresponse(self) -> http.client.HTTPResponse:
        sock, late = self.sock, threading.Event()

        def give_up() -> None:
            late.set()
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(_STALL, give_up)
        timer.daemon = True
        timer.start()
        try:
            answer = super().getresponse()
        finally:
            timer.cancel()
        if late.is_set():  # what had come by then was taken for the whole head
            answer.close()
            raise TimeoutError("timed out")
        return answer


class _TlsConnection(http.client.HTTPSConnection, _Connection):
    """The same, with TLS over it for the host's name."""
