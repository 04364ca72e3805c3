"""What a manifest is made from, checked: every value that a cluster would refuse is refused here first.

Pure. Source of the forms: Kubernetes' names, quantities and image references, and KServe's storage URIs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from torchkeeper.config.kserve_pod import PROTOCOLS
from torchkeeper.deadlines import DRAIN
from torchkeeper.errors import SettingsError

#: Where KServe's storage initializer can download from. A `pvc` is mounted, not downloaded.
DOWNLOADED = ("gs", "s3", "hdfs", "webhdfs", "http", "https", "hf")
#: What downloads them where KServe is not there to do it.
DOWNLOADER = "kserve/storage-initializer:v0.19.0"
#: What only KServe itself can do.
KSERVE_ONLY = ("oci", "modelscope", "file")
#: KServe adds `-predictor` to the name, and a Service's name has at most 63 characters.
LONGEST_NAME = 63 - len("-predictor")
#: The most replicas that are not taken for a slip of the finger.
MOST_REPLICAS = 1000

#: And the most seconds: a day.
LONGEST_DRAIN = 86_400

_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]+(-+[a-z0-9]+)*(\.[a-z0-9]+(-+[a-z0-9]+)*)*")
_IMAGE = re.compile(r"[a-z0-9][\w.:/-]{0,500}(@sha256:[0-9a-f]{64})?", re.ASCII)
_CPU = re.compile(r"(?=.*[1-9])(\d{1,6}(\.\d{1,3})?|\d{1,9}m)")
_MEMORY = re.compile(r"(?=.*[1-9])\d{1,15}(\.\d{1,3})?([kMGTPE]|[KMGTPE]i)?")
#: A claim's path inside its volume becomes a subPath, which may not climb out of it.
_CLIMBS = re.compile(r"(^|/)\.\.(/|$)")


@dataclass(frozen=True)
class Values:
    """What a manifest is made from; the attributes are the command's options.

    `cpu` and `memory` are Kubernetes quantities and are both asked for and the limit; `target_cpu` is in
    percent of the first; `drain_delay` and `drain_timeout` are what the models' config.properties says, in
    seconds. An empty namespace leaves it to whoever applies the manifest. `runtime` is KServe's
    only; `storage_secret` (environment variables) and `downloader` (an image) are for models that are fetched
    without KServe.

    Raises:
        SettingsError: one line that names the option, the value and what would do.
    """

    name: str
    image: str
    storage_uri: str
    namespace: str = ""
    protocol: str = "v2"
    min_replicas: int = 1
    max_replicas: int = 4
    target_cpu: int = 70
    cpu: str = "1"
    memory: str = "2Gi"
    service_account: str = ""
    runtime: str = "torchkeeper"
    drain_delay: int = 0
    drain_timeout: int = int(DRAIN)
    storage_secret: str = ""
    downloader: str = DOWNLOADER

    def __post_init__(self) -> None:
        if len(self.name) > LONGEST_NAME:
            raise SettingsError(f"NAME {self.name[:20]}...: must have at most {LONGEST_NAME} characters")
        _hold("NAME", self.name, _LABEL, "lower-case letters, digits and -, a letter first")
        _hold("--image", self.image, _IMAGE, "an image such as example.org/torchkeeper:1.0")
        _hold("--downloader", self.downloader, _IMAGE, f"an image such as {DOWNLOADER}")
        _hold("--runtime", self.runtime, _SUBDOMAIN, "lower-case letters, digits, - and .")
        if self.namespace:
            _hold("--namespace", self.namespace, _LABEL, "lower-case letters, digits and -")
        if self.service_account:
            _hold("--service-account", self.service_account, _SUBDOMAIN, "the name of a ServiceAccount")
        if self.storage_secret:
            _hold("--storage-secret", self.storage_secret, _SUBDOMAIN, "the name of a Secret")
        if self.protocol not in PROTOCOLS:
            raise SettingsError(f"--protocol {self.protocol!r}: must be one of {', '.join(PROTOCOLS)}")
        if not 1 <= self.min_replicas <= MOST_REPLICAS:
            raise SettingsError(
                f"--min-replicas {self.min_replicas}: must be from 1 to {MOST_REPLICAS} "
                "(none at all needs KServe with Knative or KEDA)"
            )
        if not self.min_replicas <= self.max_replicas <= MOST_REPLICAS:
            raise SettingsError(
                f"--max-replicas {self.max_replicas}: must be from --min-replicas ({self.min_replicas}) "
                f"to {MOST_REPLICAS}"
            )
        if not 1 <= self.target_cpu <= 100:
            raise SettingsError(f"--target-cpu {self.target_cpu}: must be a percentage, from 1 to 100")
        for option, seconds in (("--drain-delay", self.drain_delay), ("--drain-timeout", self.drain_timeout)):
            if not 0 <= seconds <= LONGEST_DRAIN:
                raise SettingsError(f"{option} {seconds}: must be seconds, from 0 to {LONGEST_DRAIN}")
        _hold("--cpu", self.cpu, _CPU, "processors such as 2, 0.5 or 500m")
        _hold("--memory", self.memory, _MEMORY, "bytes such as 2Gi or 512Mi")
        _storage(self.storage_uri)

    @property
    def storage(self) -> Storage:
        """Where the models come from."""
        return _storage(self.storage_uri)


@dataclass(frozen=True)
class Storage:
    """A storage URI, taken apart: for `pvc` the claim and the path inside its volume (empty: all of it)."""

    scheme: str
    claim: str = ""
    path: str = ""


def _storage(uri: str) -> Storage:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise _bad_uri(uri, str(error)) from None
    if not re.fullmatch(r"[!-~]{1,2048}", uri):
        raise _bad_uri(uri, "must be one word of visible ASCII characters, at most 2048 of them")
    if parts.scheme not in ("pvc", *DOWNLOADED, *KSERVE_ONLY):
        known = ", ".join(f"{scheme}://" for scheme in ("pvc", *DOWNLOADED, *KSERVE_ONLY))
        raise _bad_uri(uri, f"must begin with one of {known}")
    if not uri.startswith(f"{parts.scheme}://") or not (parts.netloc or parts.scheme == "file"):
        raise _bad_uri(uri, f"must name a place, as in {parts.scheme}://models/mnist")
    if parts.scheme != "pvc":
        return Storage(parts.scheme)
    if not _SUBDOMAIN.fullmatch(parts.netloc):
        raise _bad_uri(uri, "must be pvc://claim/path with the name of a PersistentVolumeClaim")
    if _CLIMBS.search(parts.path) or parts.query or parts.fragment:
        raise _bad_uri(uri, "must be pvc://claim/path, without .., ? and #")
    return Storage("pvc", parts.netloc, parts.path.strip("/"))


def _bad_uri(uri: str, why: str) -> SettingsError:
    return SettingsError(f"--storage-uri {uri[:100]!r}: {why}")


def _hold(option: str, value: str, form: re.Pattern[str], wanted: str) -> None:
    if not form.fullmatch(value):
        raise SettingsError(f"{option} {value[:100]!r}: must be {wanted}")
