"""The archive that is tuned: read once, and written again with other settings and with samples."""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from torchkeeper.archive.archive import Archive, Package, created_on, open_archive, write_archive
from torchkeeper.archive.signatures import beside
from torchkeeper.archive.store import name_of
from torchkeeper.errors import ArchiveError, SystemFailed
from torchkeeper.tune.refusal import TuneRefused
from torchkeeper.wire.yaml_text import read_yaml

#: What a candidate sets, and no archive's own value may disturb.
TUNED = ("batchSize", "batchPolicy", "maxBatchDelay", "minWorkers", "maxWorkers", "execution", "tunedFor")
#: By which a model refuses requests, samples among them: what is measured is how fast it answers.
_REFUSING = (
    *("latencyTarget", "jobQueueSize", "jobQueueBytes", "useJobTicket", "clientTimeoutInMills"),
    *("batchCost", "maxBatchCost", "batchBy"),
)
_CONFIG = "model-config.yaml"
_WARMUP = "warmup"


@dataclass(frozen=True)
class TunedArchive:
    """An archive that was unpacked."""

    path: Path
    archive: Archive
    digest: str
    #: Its own model-config.yaml.
    config: Mapping[str, Any]

    @property
    def model_name(self) -> str:
        """The name that its URLs have."""
        return self.archive.manifest.model_name or name_of(self.path.name)

    @property
    def scripted(self) -> bool | None:
        """Whether its model is TorchScript, as far as the manifest tells."""
        manifest = self.archive.manifest
        if manifest.model_file:
            return False
        return True if (manifest.serialized_file or "").endswith(".pt") else None

    @property
    def signature(self) -> Path | None:
        """The signature that lies beside it."""
        return beside(self.path)

    @property
    def brings_samples(self) -> bool:
        """Whether its own files can warm a worker up."""
        own = self.config.get("execution")
        named = isinstance(own, dict) and bool(own.get("warmup"))
        return named or any(name.startswith(f"{_WARMUP}/") for name in self.files())

    def files(self) -> dict[str, Path]:
        """Its files by their names in it."""
        top = self.archive.model_dir
        return {path.relative_to(top).as_posix(): path for path in top.rglob("*") if path.is_file()}

    def merged(self, tuned: Mapping[str, Any]) -> dict[str, Any]:
        """Its own settings with those of a candidate in the place of all that is tuned."""
        own = {key: value for key, value in self.config.items() if key not in TUNED}
        return own | self.with_warmup(tuned)

    def on_trial(self, tuned: Mapping[str, Any]) -> dict[str, Any]:
        """`merged`, but for what would have the server refuse a part of the load."""
        return {key: value for key, value in self.merged(tuned).items() if key not in _REFUSING}

    def with_warmup(self, tuned: Mapping[str, Any]) -> dict[str, Any]:
        """A candidate's settings with the samples that the archive itself names, which would be lost."""
        own = self.config.get("execution")
        named = own.get("warmup") if isinstance(own, dict) else None
        section = tuned.get("execution")
        return {**tuned, "execution": {**section, "warmup": named}} if named and section else dict(tuned)


def open_tuned(path: Path, scratch: Path) -> TunedArchive:
    """Reads an archive, which is unpacked into the folder `scratch`.

    Raises:
        TuneRefused: it cannot be read, or says itself how its model is run.
    """
    if not path.exists():
        raise TuneRefused(f"{path} is not there")
    try:
        archive = open_archive(path, scratch)
        config = _own_config(archive)
    except (ArchiveError, SystemFailed, OSError, ValueError) as error:
        raise TuneRefused(f"{path} cannot be read: {error}") from None
    if not archive.raw_manifest:
        raise TuneRefused(f"{path}: {archive.unhandled}")
    if config.get("pt2"):
        raise TuneRefused(
            f"{path}: its {archive.manifest.config_file} has pt2, which says how the model is run, as "
            "execution does: tune an archive without it"
        )
    return TunedArchive(path, archive, digest_of_file(path), config)


def _own_config(archive: Archive) -> dict[str, Any]:
    name = archive.manifest.config_file
    if not name or not (archive.model_dir / name).is_file():
        return {}
    found = read_yaml((archive.model_dir / name).read_bytes())
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"{name} is not a mapping")
    return {str(key): value for key, value in found.items()}


def digest_of_file(path: Path) -> str:
    """The SHA-256 of an archive, or of all files of a folder and their names."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    sum_ = hashlib.sha256()
    for one in sorted(one for one in path.rglob("*") if one.is_file()):
        sum_.update(f"{one.relative_to(path).as_posix()} {digest_of_file(one)}\n".encode())
    return sum_.hexdigest()


def write_tuned(
    source: TunedArchive, target: Path, config: str, warmup: Mapping[str, bytes], *, packed: bool
) -> None:
    """Writes the archive again, with this model-config.yaml and these files in its folder `warmup`.

    A file of its own there stays: another one of the same name gets a number.

    Args:
        source: what all else is from.
        target: a .mar file.
        config: text of the new model-config.yaml.
        warmup: names and contents.
        packed: whether it is compressed, as archives are; one that only passes on is not.

    Raises:
        OSError: it cannot be written.
    """
    name = source.archive.manifest.config_file or _CONFIG
    manifest = dict(source.archive.raw_manifest)
    manifest["model"] = {**manifest["model"], "configFile": name}
    files = source.files()
    with _made({name: config.encode(), **_beside(files, warmup)}) as made:
        package = Package(target.name, json.dumps(manifest, indent=2), {**files, **made})
        write_archive(package, target, "default" if packed else "zip-store", created_on(None))


def _beside(files: Mapping[str, Path], warmup: Mapping[str, bytes]) -> dict[str, bytes]:
    """The samples by names in the archive under which it has no other file."""
    found: dict[str, bytes] = {}
    for name, content in warmup.items():
        numbered = (f"{_WARMUP}/{number:02}-{name}" for number in itertools.count())
        free = (
            one
            for one in itertools.chain([f"{_WARMUP}/{name}"], numbered)
            if one not in found and (one not in files or files[one].read_bytes() == content)
        )
        found[next(free)] = content
    return found


@contextmanager
def _made(contents: Mapping[str, bytes]) -> Iterator[dict[str, Path]]:
    """Files with these contents, by their names in an archive, in a folder that goes again."""
    with tempfile.TemporaryDirectory(prefix="torchkeeper-tune-") as folder:
        found = {}
        for number, (name, content) in enumerate(contents.items()):
            found[name] = Path(folder, str(number))
            found[name].write_bytes(content)
        yield found


def config_text(config: Mapping[str, Any]) -> str:
    """The text of a model-config.yaml."""
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
