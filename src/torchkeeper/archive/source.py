"""Where an archive comes from: a model URL becomes a file or folder that can be read.

Blocks (disk, network), so it runs in threads, never on the event loop. What is fetched lies in quarantine, a
hidden file beside the store's archives, until it has been checked; only then `Fetched.keep` gives it its
name. Source of forms and texts: TorchServe's model URLs.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from torchkeeper.archive.cloud import stream
from torchkeeper.archive.download import Expect, chunks
from torchkeeper.archive.model_url import ModelUrl, read_model_url, signature_url
from torchkeeper.archive.reach import Reach
from torchkeeper.archive.remote_store import archives_in, in_store
from torchkeeper.archive.signatures import LARGEST, beside
from torchkeeper.archive.store import (
    QUARANTINE,
    SIGNATURE,
    SUFFIXES,
    Stored,
    find_at_start,
    find_stored,
    remove_file,
    sweep_quarantine,
)
from torchkeeper.config.settings import Settings, process_environ
from torchkeeper.errors import (
    ArchiveError,
    DownloadFailed,
    FileExists,
    ModelNotAt,
    NoRoom,
    TorchkeeperError,
    system_error,
)
from torchkeeper.machine.threads import Check, never

logger = logging.getLogger(__name__)


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
    #: Its signature, where one is looked for and found; a download's lies in quarantine, too.
    signature: Path | None = None

    @property
    def brought(self) -> tuple[Path, ...]:
        """What a download leaves in the store."""
        if self.place is None:
            return ()
        return (self.place,) if self.signature is None else (self.place, _signature_of(self.place))

    def keep(self) -> None:
        """Moves a checked download into the store, wholly or not; the same one may have come meanwhile.

        Raises:
            FileExists: somebody else put a file of that name there meanwhile.
            OSError: the store does not take it.
        """
        there = self.place is not None and self.place.exists()
        if there and self.kept.get(self.place or self.path) != self.digest:
            raise FileExists(self.name)
        beside, signature = _signature_of(self.place or self.path), self._fetched_signature
        if signature is not None:
            signature.replace(beside)
        if there:
            remove_file(self.path)
        elif self.place is not None:
            try:
                self.path.rename(self.place)
            except BaseException:
                if signature is not None:
                    remove_file(beside)
                raise
            self.kept[self.place] = self.digest

    def discard(self) -> None:
        """Removes a download that is not kept."""
        if self.place is not None:
            remove_file(self.path)
        if (signature := self._fetched_signature) is not None:
            remove_file(signature)

    @property
    def _fetched_signature(self) -> Path | None:
        """The signature, if it lies in quarantine."""
        found = self.signature
        return found if found is not None and found.name.startswith(QUARANTINE) else None


class Source:
    """Turns model URLs into archives of one model store."""

    def __init__(
        self,
        store: Path,
        reach: Reach,
        store_url: str | None = None,
        *,
        largest: int | None = None,
        signatures: bool = False,
    ) -> None:
        """`store_url` is the folder of a bucket whose archives are kept in `store`.

        A download may have `largest` bytes, if that is said. With `signatures` those of archives come, too.
        """
        self._store = store
        self._store_url = store_url
        self._reach = reach
        self._largest = largest
        self._signatures = signatures
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
            remove_file(path)

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
            self._reach.check(asked)
            try:
                return self._download(asked, check, again=at_start)
            except (ArchiveError, DownloadFailed, ModelNotAt) as error:
                raise self.told(url, error) from error
        find = find_at_start if at_start else find_stored
        if self._store_url is not None and find(self._store, asked.bare) is None:
            url, cloud = in_store(self._store_url, Path(asked.bare).name)
            return self._download(ModelUrl(url, asked.pin, cloud), check, again=True)
        found = self._local(asked.bare, find)
        if asked.pin is not None:
            _check_pin(found.path, asked.pin, asked.bare)
        return found

    def told(self, url: str, error: TorchkeeperError) -> TorchkeeperError:
        """What is told of a download that failed: strictly the same of each, so that it maps no network."""
        if not self._reach.strict:
            return error
        logger.warning("%s is refused: %s", url, error.text)
        return DownloadFailed(url, "the server's log says why")

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
        return Fetched(found.path, found.name, signature=beside(found.path) if self._signatures else None)

    # --- downloads ---------------------------------------------------------------------------------------

    def _download(self, asked: ModelUrl, check: Check, *, again: bool) -> Fetched:
        """What is at a URL, in quarantine; `again`: the store may have the same since earlier."""
        url, pin = asked.bare, asked.pin
        name = _file_name(url)
        place = self._store / name
        try:
            there, expect = place.exists(), self._expecting(url)
        except OSError as error:
            raise _not_kept(url, error) from error
        if there and not again:
            raise FileExists(name)
        path, digest = self._quarantined(asked, check, expect)
        try:
            if pin is not None and not hmac.compare_digest(digest, pin):
                raise ArchiveError(f"{url}: its sha256 is {digest}, not the pinned {pin}")
            if there and not (place.is_file() and _digest_of(place) == digest):
                raise FileExists(name)
            signature = self._signature(asked, place, check)
        except BaseException as error:
            remove_file(path)
            if isinstance(error, OSError):
                raise _not_kept(url, error) from error
            raise
        finally:  # not before: a signature may hang
            self._coming.discard(path)
        if there:
            remove_file(path)
            return Fetched(place, name, signature=signature)
        path.chmod(0o644)
        return Fetched(path, name, place, digest, self._kept, signature)

    def _quarantined(self, asked: ModelUrl, check: Check, expect: Expect) -> tuple[Path, str]:
        """What is at a URL, in a hidden file of the store, and its sha256; it counts as coming."""
        try:
            descriptor, quarantine = tempfile.mkstemp(dir=self._store, prefix=QUARANTINE)
        except OSError as error:
            raise _not_kept(asked.bare, error) from error
        path = Path(quarantine)
        self._coming.add(path)
        try:
            # What is small is written when the file is closed; the connection ends with the copy, whoever
            # holds the error of it.
            with open(descriptor, "wb") as file, closing(self._chunks(asked, expect)) as pieces:
                return path, _copy(pieces, file, check, expect)
        except BaseException as error:
            remove_file(path)
            self._coming.discard(path)
            if isinstance(error, OSError):
                raise _not_kept(asked.bare, error) from error
            raise

    def _signature(self, asked: ModelUrl, place: Path, check: Check) -> Path | None:
        """The signature of what is at a URL: the store's, else one in quarantine; None if there is none.

        It comes from where its archive does, and may if that may.
        """
        if not self._signatures:
            return None
        if place.exists() and (found := beside(place)):
            return found
        wanted = signature_url(asked)

        def expect(size: int) -> None:
            if size > LARGEST:
                raise DownloadFailed(wanted.bare, f"a signature has at most {LARGEST} bytes")

        try:
            path, _ = self._quarantined(wanted, check, expect)
        except (DownloadFailed, ModelNotAt) as error:
            logger.info("no signature comes from %s: %s", wanted.bare, error.text)
            return None
        self._coming.discard(path)
        path.chmod(0o644)
        return path

    def _chunks(self, asked: ModelUrl, expect: Expect) -> Generator[bytes, None, None]:
        if asked.cloud:
            return stream(asked.bare, asked.cloud, process_environ())
        return chunks(asked.bare, self._reach, expect)

    def _expecting(self, url: str) -> Expect:
        """Refuses a download of so many bytes, as soon as they are known, if they are too many."""
        room = shutil.disk_usage(self._store).free

        def expect(size: int) -> None:
            if self._largest is not None and size > self._largest:
                raise DownloadFailed(url, f"it has more than the {self._largest} bytes of max_download_size")
            if size > room:
                raise NoRoom(f"{url}: the model store has room for {room} bytes, it has {size} or more")

        return expect


def source_of(settings: Settings) -> Source:
    """Where the archives of a server with these settings come from."""
    return Source(
        settings.store,
        Reach(settings.allowed_urls, settings.allowed_addresses, settings.strict),
        settings.store_url,
        largest=settings.max_download_size,
        signatures=settings.verify_models != "off",
    )


def _signature_of(place: Path) -> Path:
    """Where the signature of a file of the store is."""
    return Path(f"{place}{SIGNATURE}")


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


def _not_kept(url: str, error: OSError) -> TorchkeeperError:
    failed = system_error(error, f"{url}: it cannot be kept")
    return failed or DownloadFailed(url, f"it cannot be kept: {error.strerror}")


def _copy(chunks: Iterable[bytes], file: IO[bytes], check: Check, expect: Expect) -> str:
    """Writes a stream to a file; returns its sha256."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        check()
        size += len(chunk)
        expect(size)
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
