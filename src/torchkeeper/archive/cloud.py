"""Objects of S3 and Google Cloud Storage: their bytes as a stream, and the names in a folder.

obstore asks, with the standard credentials (variables, files, the machine's role). It is an extra, imported
when the first such URL comes. Blocks; runs in threads.
"""

from __future__ import annotations

import contextlib
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torchkeeper.archive.aws import ATTEMPTS, S3Access, s3_access
from torchkeeper.archive.buckets import CloudObject
from torchkeeper.errors import DownloadFailed

if TYPE_CHECKING:
    from obstore.store import ClientConfig, GCSConfig, GCSStore, RetryConfig, S3Config, S3Store

T = TypeVar("T")

_CHUNK = 1 << 20
#: Seconds without a byte after which a request is given up, and until the last one is tried again.
_STALL = timedelta(seconds=60)
#: As long as an object may take to come, if it comes; by default it would be 30 seconds.
_LONG = timedelta(days=1)
#: Google's own variable for a server that stands in for its store.
_EMULATOR = "STORAGE_EMULATOR_HOST"
#: obstore's own variable for another address of Google's store; keys sign what goes there, too.
_BASE = "GOOGLE_BASE_URL"
#: Where S3 answers for the buckets of all regions.
_GLOBAL = "https://s3.amazonaws.com"
#: What S3 says to who asks in the wrong region.
_MISLED = ("redirect without LOCATION", "AuthorizationHeaderMalformed", "IllegalLocationConstraint")


def stream(url: str, place: CloudObject, environ: Mapping[str, str]) -> Generator[bytes, None, None]:
    """The object's bytes in pieces.

    Raises:
        DownloadFailed: obstore is not installed, or the store does not give the object.
    """
    with _obstore(url) as obstore:
        found = _asked(place, environ, lambda store: obstore.get(store, place.key))
        for chunk in found.stream(_CHUNK):
            yield bytes(chunk)


def names_in(url: str, folder: CloudObject, environ: Mapping[str, str]) -> list[str]:
    """The names of the objects that lie directly in a folder.

    Raises:
        DownloadFailed: obstore is not installed, or the store does not tell.
    """
    names: list[str] = []
    with _obstore(url) as obstore:
        found = _asked(folder, environ, lambda store: obstore.list_with_delimiter(store, folder.key or None))
        names += (each["path"].rpartition("/")[2] for each in found["objects"])
    return sorted(names)


@contextlib.contextmanager
def _obstore(url: str) -> Iterator[Any]:
    """The package; whatever it cannot do is a DownloadFailed of the URL."""
    try:
        import obstore
        from obstore.exceptions import BaseError
    except ImportError:
        needed = "object stores need obstore: pip install 'torchkeeper[cloud]'"
        raise DownloadFailed(url, needed) from None
    try:
        yield obstore
    except (BaseError, OSError, ValueError) as error:  # that nothing is there is an OSError
        raise DownloadFailed(url, _reason(error)) from error


def _reason(error: Exception) -> str:
    """What an error says, without obstore's dump of the request, but with the innermost cause in it."""
    text, _, dump = str(error).partition("\n\nDebug source:")
    causes = re.findall(r'(?:message|error): "([^"]+)"', dump)
    return f"{text}: {causes[-1]}" if causes else text


def _asked(place: CloudObject, environ: Mapping[str, str], ask: Callable[[Any], T]) -> T:
    """What a store answers; a bucket in another region than was thought is asked there."""
    if place.service == "gs":
        return ask(_google_store(place.bucket, environ))
    access = s3_access(environ, place.region)
    try:
        return ask(_s3_store(place.bucket, access))
    except Exception as error:
        region = _region(place.bucket, access) if any(said in str(error) for said in _MISLED) else None
        if region is None:
            raise
    return ask(_s3_store(place.bucket, replace(access, region=region)))


def _region(bucket: str, access: S3Access) -> str | None:
    """The region that S3 says a bucket is in; anybody may ask."""
    request = urllib.request.Request(f"{access.endpoint or _GLOBAL}/{bucket}", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_STALL.total_seconds()) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:
        headers = error.headers
    except OSError:
        return None
    found: str | None = headers.get("x-amz-bucket-region")
    return found


def _s3_store(bucket: str, access: S3Access) -> S3Store:
    from obstore.store import S3Store

    config: S3Config = {"region": access.region}
    if access.endpoint:
        config["endpoint"] = access.endpoint
    if access.keys:
        config.update(access.keys)  # type: ignore[typeddict-item]  # the names are obstore's
    return S3Store(
        bucket,
        config=config,
        client_options=_client(access.endpoint, access.ca_bundle),
        retry_config=_retries(access.attempts),
    )


def _google_store(bucket: str, environ: Mapping[str, str]) -> GCSStore:
    from obstore.store import GCSStore

    host = environ.get(_EMULATOR)
    config: GCSConfig = {}
    if host:
        host = host if "://" in host else f"http://{host}"
        config = {"base_url": host, "skip_signature": True}
    return GCSStore(
        bucket,
        config=config,
        client_options=_client(host or environ.get(_BASE), None),
        retry_config=_retries(ATTEMPTS),
    )


def _client(endpoint: str | None, ca_bundle: Path | None) -> ClientConfig:
    options: ClientConfig = {"timeout": _LONG, "read_timeout": _STALL}
    if endpoint is not None and endpoint.startswith("http://"):
        options["allow_http"] = True
    if ca_bundle is not None:
        options["root_certificate"] = ca_bundle.read_bytes()
    return options


def _retries(attempts: int) -> RetryConfig:
    return {"max_retries": attempts - 1, "retry_timeout": _STALL}
