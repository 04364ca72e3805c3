"""What a model URL says: an archive of the store, or from where to fetch it, and which bytes it must be.

Pure. Source of forms and texts: TorchServe's model URLs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from torchkeeper.archive.buckets import CloudObject, split_cloud
from torchkeeper.archive.store import SIGNATURE
from torchkeeper.config.types import is_cloud
from torchkeeper.errors import ModelNotAt

_PIN = re.compile(r"(.*)#sha256=([0-9a-fA-F]{64})", re.DOTALL)
_REMOTE = ("http://", "https://", "file://")


@dataclass(frozen=True)
class ModelUrl:
    """A model URL, read."""

    #: Without the pin.
    bare: str
    #: The sha256 that its bytes must have, if one is given.
    pin: str | None = None
    #: The object of a store, where that is asked for it.
    cloud: CloudObject | None = None

    @property
    def remote(self) -> bool:
        """Whether it has to be fetched; else the store has it or nobody."""
        return self.cloud is not None or self.bare.lower().startswith(_REMOTE)


def read_model_url(url: str, *, signed: bool = False) -> ModelUrl:
    """What a URL says; `#sha256=<64 hex digits>` at its end pins its bytes.

    Args:
        url: the model URL.
        signed: S3's https addresses are S3's, too, and asked with signed requests (TorchServe's s3_sse_kms).

    Raises:
        ModelNotAt: it is empty, or leads out of where it says.
    """
    pinned = _PIN.fullmatch(url)
    bare, pin = (pinned[1], pinned[2].lower()) if pinned else (url, None)
    if not bare:
        raise ModelNotAt("empty url")
    if ".." in bare:
        raise ModelNotAt(f"Relative path is not allowed in url: {bare}")
    return ModelUrl(bare, pin, split_cloud(bare) if signed or is_cloud(bare) else None)


def signature_url(asked: ModelUrl) -> ModelUrl:
    """Where the signature of what is at a URL is."""
    parts = urlsplit(asked.bare)
    cloud = replace(asked.cloud, key=f"{asked.cloud.key}{SIGNATURE}") if asked.cloud else None
    return ModelUrl(parts._replace(path=f"{parts.path}{SIGNATURE}").geturl(), cloud=cloud)
