"""Where an archive comes from: a model URL becomes a file or folder that can be read.

Blocks (disk, network), so it runs in threads, never on the event loop. What is fetched lies in quarantine, a
hidden file beside the store's archives, until it has been checked; only then `Fetched.keep` gives it its
name. Source of forms and texts: TorchServe's model URLs.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import logging
import re
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from torchkeeper.archive.cloud import stream
from torchkeeper.archive.model_url import ModelUrl, check_allowed, read_model_url
from torchkeeper.archive.remote_store import archives_in, in_store
from torchkeeper.archive.store import (
    QUARANTINE,
    SUFFIXES,
    Stored,
    find_at_start,
    find_stored,
    sweep_quarantine,
)
from torchkeeper.config.settings import process_environ
from torchkeeper.errors import ArchiveError, DownloadFailed, FileExists, ModelNotAt
from torchkeeper.machine.threads import Check, never

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20
#: Seconds without a byte after which a download is given up.
_STALL = 60.0


@dataclass(frozen=True)
class Fetched:
    """An archive on this machine. A download lies in quarantine until `keep` is called."""

    path: Path
    #: What the store calls it; describe and snapshots say this name.
    name: str
    #: Where a download goes, once it is checked; None for what lies in the store already.
    place: Path | None = None
    #: A download's sha256, and those of all that this server's downloads became.
    digest: str = ""
    kept: dict[Path, str] = field(default_factory=dict)

    def keep(self) -> None:
        """Moves a checked download into the store, where the same one may have come meanwhile.

        Raises:
            FileExists: somebody else put a file of that name there meanwhile.
        """
        if self.place is None:
            return
        if not self.place.exists():
            self.path.rename(self.place)
            self.kept[self.place] = self.digest
        elif self.kept.get(self.place) == self.digest:
            self.path.unlink()
        else:
            raise FileExists(self.name)

    def discard(self) -> None:
        """Removes a download that is not kept."""
        if self.place is not None:
            self.path.unlink(missing_ok=True)


class Source:
    """Turns model URLs into archives of one model store."""

    def __init__(self, store: Path, allowed: Sequence[re.Pattern[str]], store_url: str | None = None) -> None:
        """`store_url` is the folder of a bucket whose archives are kept in `store`."""
        self._store = store
        self._store_url = store_url
        self._allowed = tuple(allowed)
        #: Quarantined files of downloads that are under way.
        self._coming: set[Path] = set()
        #: What downloads became, and their sha256.
        self._kept: dict[Path, str] = {}

    def sweep(self) -> None:
        """Removes what downloads of servers that were killed have left; not those that others wait for."""
        sweep_quarantine(self._store, time.time())

    def close(self) -> None:
        """Removes what downloads that hang have left; they write into nothing from now on."""
        for path in tuple(self._coming):
            path.unlink(missing_ok=True)

    def fetch(
        self, url: str, check: Check = never, *, signed: bool = False, at_start: bool = False
    ) -> Fetched:
        """The archive that a URL names; `#sha256=<64 hex digits>` at its end pins its bytes.

        Args:
            url: the model URL.
            check: is asked between the pieces of a download; what it raises ends it.
            signed: ask S3's https addresses with signed requests (TorchServe's s3_sse_kms).
            at_start: the command line or the configuration gives it: a folder may lie anywhere.

        Raises:
            ModelNotAt: it leads nowhere, or nowhere allowed.
            DownloadFailed, FileExists: it cannot be fetched into the store.
            ArchiveError: its bytes are not the pinned ones.
        """
        asked = read_model_url(url, signed=signed)
        if asked.remote:
            check_allowed(asked.bare, self._allowed)
            return self._download(asked, check, again=at_start)
        find = find_at_start if at_start else find_stored
        if self._store_url is not None and find(self._store, asked.bare) is None:
            url, cloud = in_store(self._store_url, Path(asked.bare).name)
            return self._download(ModelUrl(url, asked.pin, cloud), check, again=True)
        found = self._local(asked.bare, find)
        if asked.pin is not None:
            _check_pin(found.path, asked.pin, asked.bare)
        return found

    def named(self, name: str) -> str | None:
        """The store's archive or folder of a model's name; None if there is none.

        Raises:
            DownloadFailed: the store is a folder of a bucket, and does not tell what it has.
        """
        listed = archives_in(self._store_url) if self._store_url is not None else ()
        for wanted in (*(f"{name}{suffix}" for suffix in SUFFIXES), name):
            if wanted in listed or find_stored(self._store, wanted) is not None:
                return wanted
        return None

    def _local(self, url: str, find: Callable[[Path, str], Stored | None]) -> Fetched:
        found = find(self._store, url)
        if found is None:
            raise ModelNotAt(f"Model not found at: {url}")
        if found.path != self._store / url:
            logger.warning("%s is not in the model store; the store's %s is used", url, found.name)
        return Fetched(found.path, found.name)

    # --- downloads ---------------------------------------------------------------------------------------

    def _download(self, asked: ModelUrl, check: Check, *, again: bool) -> Fetched:
        """What is at a URL, in quarantine; `again`: the store may have the same since earlier."""
        url, pin = asked.bare, asked.pin
        name = _file_name(url)
        place = self._store / name
        try:
            there = place.exists()
            if there and not again:
                raise FileExists(name)
            descriptor, quarantine = tempfile.mkstemp(dir=self._store, prefix=QUARANTINE)
        except OSError as error:
            raise _not_kept(url, error) from error
        path = Path(quarantine)
        with open(descriptor, "wb") as file:
            self._coming.add(path)
            try:
                chunks = stream(url, asked.cloud, process_environ()) if asked.cloud else self._open(url)
                digest = _copy(chunks, file, check)
                if pin is not None and not hmac.compare_digest(digest, pin):
                    raise ArchiveError(f"{url}: its sha256 is {digest}, not the pinned {pin}")
                if there and not (place.is_file() and _digest_of(place) == digest):
                    raise FileExists(name)
            except BaseException as error:
                path.unlink(missing_ok=True)
                if isinstance(error, OSError):
                    raise _not_kept(url, error) from error
                raise
            finally:
                self._coming.discard(path)
        if there:
            path.unlink(missing_ok=True)
            return Fetched(place, name)
        path.chmod(0o644)
        return Fetched(path, name, place, digest, self._kept)

    def _open(self, url: str) -> Iterator[bytes]:
        opener = urllib.request.build_opener(_Redirects(self._check_allowed))
        try:
            with closing(opener.open(url, timeout=_STALL)) as answer:
                while chunk := answer.read1(_CHUNK):  # what is there: a slow host is not waited for
                    yield chunk
                if getattr(answer, "length", None):
                    raise DownloadFailed(url, f"it broke off {answer.length} bytes before its end")
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise DownloadFailed(url, str(reason)) from error

    def _check_allowed(self, url: str) -> None:
        check_allowed(url, self._allowed)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to where a model may come from: it must not lead around allowed_urls."""

    def __init__(self, check: Callable[[str], None]) -> None:
        self._check = check

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        self._check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _file_name(url: str) -> str:
    """What the store calls what a URL leads to.

    Raises:
        ModelNotAt: it names no file, or one that a store cannot have.
    """
    try:
        name = Path(unquote(urlsplit(url).path)).name
    except ValueError:
        name = ""
    if not name or name.startswith(".") or "\0" in name:
        raise ModelNotAt(f"Model not found at: {url}")
    return name


def _not_kept(url: str, error: OSError) -> DownloadFailed:
    return DownloadFailed(url, f"it cannot be kept: {error.strerror}")


def _copy(chunks: Iterable[bytes], file: IO[bytes], check: Check) -> str:
    """Writes a stream to a file; returns its sha256."""
    digest = hashlib.sha256()
    for chunk in chunks:
        check()
        digest.update(chunk)
        file.write(chunk)
    return digest.hexdigest()


def _check_pin(path: Path, pin: str, url: str) -> None:
    if not path.is_file():
        raise ArchiveError(f"{url}: only a file can be pinned by #sha256=, not a folder")
    digest = _digest_of(path)
    if not hmac.compare_digest(digest, pin):
        raise ArchiveError(f"{url}: its sha256 is {digest}, not the pinned {pin}")


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
