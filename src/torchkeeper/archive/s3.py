"""Objects of S3 as streams of bytes: `s3://bucket/key`, and S3's own https addresses.

boto3 signs and asks, with the standard credentials (environment, files, instance role) and, for other stores
that speak S3, AWS_ENDPOINT_URL. It is an extra, imported when the first such URL comes. Blocks; runs in
threads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from torchkeeper.errors import DownloadFailed

#: S3's addresses, by Amazon's "Methods for accessing a general purpose bucket": the bucket in the host or
#: path.
_HOST = re.compile(r"(?:(?P<bucket>.+)\.)?s3[.-](?:[a-z0-9-]+\.)?amazonaws\.com(?:\.cn)?")
_CHUNK = 1 << 20


def split_s3(url: str) -> tuple[str, str] | None:
    """Bucket and key of an S3 URL; None for any other."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    path = unquote(parts.path).lstrip("/")
    if parts.scheme == "s3":
        return (parts.netloc, path) if parts.netloc and path else None
    host = _HOST.fullmatch(parts.hostname or "")
    if parts.scheme != "https" or host is None:
        return None
    bucket, key = (host["bucket"], path) if host["bucket"] else path.partition("/")[::2]
    return (bucket, key) if bucket and key else None


def stream(url: str, bucket: str, key: str) -> Iterator[bytes]:
    """The object's bytes in pieces.

    Raises:
        DownloadFailed: boto3 is not installed, or S3 does not give the object.
    """
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise DownloadFailed(url, "S3 needs boto3: pip install 'torchkeeper[s3]'") from None
    try:
        yield from boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(_CHUNK)
    except (BotoCoreError, ClientError) as error:
        raise DownloadFailed(url, str(error)) from error
