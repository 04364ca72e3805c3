"""Addresses of objects in S3 and Google Cloud Storage: `s3://bucket/key`, `gs://bucket/key`, S3's https form.

Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from torchkeeper.config.types import SERVICES, bucket_of

#: S3's addresses, by Amazon's "Methods for accessing a general purpose bucket": the bucket in the host or
#: path.
_HOST = re.compile(r"(?:(?P<bucket>.+)\.)?s3[.-](?:(?P<region>[a-z0-9-]+)\.)?amazonaws\.com(?:\.cn)?")
#: What stands in a region's place and is one; `accelerate` is none.
_REGION = re.compile(r"[a-z]+(-[a-z]+)+-\d")


@dataclass(frozen=True)
class CloudObject:
    """An object, or a folder of objects."""

    #: One of SERVICES.
    service: str
    bucket: str
    key: str
    #: The region of S3 that the URL names.
    region: str | None = None


def split_cloud(url: str) -> CloudObject | None:
    """What a URL of `s3:`, `gs:` or an https address of S3 leads to; None for any other, or without a key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    path = unquote(parts.path).lstrip("/")
    if parts.scheme in SERVICES:
        return CloudObject(parts.scheme, parts.netloc, path) if parts.netloc and path else None
    host = _HOST.fullmatch(parts.hostname or "")
    if parts.scheme != "https" or host is None:
        return None
    bucket, key = (host["bucket"], path) if host["bucket"] else path.partition("/")[::2]
    region = host["region"] if host["region"] and _REGION.fullmatch(host["region"]) else None
    return CloudObject("s3", bucket, key, region) if bucket and key else None


def folder_of(url: str) -> CloudObject:
    """The folder that a URL of a service's own scheme leads to; its key may be empty.

    Raises:
        ValueError: it has no bucket.
    """
    parts = urlsplit(url)
    return CloudObject(parts.scheme, bucket_of(url), unquote(parts.path).strip("/"))
