"""Model archives: written reproducibly, read with suspicion.

Owns the formats (.mar as zip, .tar.gz, a plain folder) and the manifest; `unpack` unpacks. Source of names
and layout: TorchServe's model archiver.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from torchkeeper.archive.unpack import unpack
from torchkeeper.errors import ArchiveError, reason_of, system_error

MANIFEST = "MAR-INF/MANIFEST.json"
#: Format -> the ending of its archives.
ENDINGS = {"tgz": ".tar.gz", "no-archive": "", "zip-store": ".mar", "default": ".mar"}
FORMATS = tuple(ENDINGS)
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_\-.]*$"
#: Bytes of a manifest, and characters of what it says of names and versions.
_LONGEST_MANIFEST, _LONGEST_TEXT = 1 << 20, 255
#: The earliest time a zip file can hold.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Manifest:
    """What a model's MANIFEST.json says."""

    model_name: str | None
    model_version: str
    handler: str | None
    serialized_file: str | None
    model_file: str | None
    config_file: str | None
    requirements_file: str | None
    runtime: str


@dataclass(frozen=True)
class Archive:
    """An archive that was read: its folder and what its manifest says."""

    model_dir: Path
    manifest: Manifest
    #: Empty where there is none.
    raw_manifest: dict[str, Any]

    @property
    def unhandled(self) -> str:
        """What to say where nobody else names a handler, and its manifest does not either."""
        if self.raw_manifest:
            return "its manifest names no handler."
        return f"no {MANIFEST} inside; is it made by torch-model-archiver?"


def read_manifest(folder: Path, where: str) -> tuple[Manifest, dict[str, Any]]:
    """The manifest of an unpacked archive; an empty one where there is none, as in TorchServe.

    Raises:
        ArchiveError: it is none; `where` names the archive.
        SystemFailed: the machine fails.
    """
    try:
        with (folder / MANIFEST).open("rb") as file:
            text = file.read(_LONGEST_MANIFEST + 1)
        if len(text) > _LONGEST_MANIFEST:
            raise ValueError(f"it has more than {_LONGEST_MANIFEST} bytes")
        raw = json.loads(text.decode())
    except FileNotFoundError:
        return _manifest({}, "python"), {}
    except (ValueError, OSError, RecursionError) as error:
        if (failed := system_error(error, f"{where}: {MANIFEST} cannot be read")) is not None:
            raise failed from None
        raise ArchiveError(f"{where}: {MANIFEST} cannot be read: {reason_of(error)}") from None
    model = raw.get("model") if isinstance(raw, dict) else None
    if not isinstance(model, dict):
        raise ArchiveError(f"{where}: {MANIFEST} has no object `model`")
    name = model.get("modelName")
    if name is not None and not re.fullmatch(NAME_PATTERN, str(name)):
        raise ArchiveError(f"{where}: {MANIFEST}: modelName {name!r} must match {NAME_PATTERN}")
    for what in ("modelName", "modelVersion"):
        said = str(model.get(what) or "")
        if len(said) > _LONGEST_TEXT or not said.isprintable():
            wanted = f"must be one line of at most {_LONGEST_TEXT} characters"
            raise ArchiveError(f"{where}: {MANIFEST}: {what} {said[:50]!r} {wanted}")
    return _manifest(model, str(raw.get("runtime", "python"))), raw


def _manifest(model: Mapping[str, Any], runtime: str) -> Manifest:
    def text(key: str) -> str | None:
        value = model.get(key)
        return str(value) if value not in (None, "") else None

    return Manifest(
        model_name=text("modelName"),
        model_version=text("modelVersion") or "1.0",
        handler=text("handler"),
        serialized_file=text("serializedFile"),
        model_file=text("modelFile"),
        config_file=text("configFile"),
        requirements_file=text("requirementsFile"),
        runtime=runtime,
    )


# --- reading ------------------------------------------------------------------------------------------


def open_archive(
    path: Path, into: Path, check: Callable[[], None] = lambda: None, *, called: str | None = None
) -> Archive:
    """Reads an archive: packed ones are unpacked to the new folder `into`, folders are used in place.

    `check` is called between the pieces that are unpacked; what it raises ends that. `called` is the
    archive's name where the file has another one.

    Raises:
        ArchiveError: it cannot be read, is too large or tries to reach outside; nothing of it is left.
        NoRoom, SystemFailed: the disk has no room for it, or the machine fails.
    """
    if path.is_dir():
        model_dir = _top(path)
        manifest, raw = read_manifest(model_dir, str(path))
        return Archive(model_dir, manifest, raw)
    name = called or path.name
    unpack(path, into, check, name)
    try:
        model_dir = _top(into)
        manifest, raw = read_manifest(model_dir, name)
        _check_files(manifest, name)
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise
    return Archive(model_dir, manifest, raw)


def _check_files(manifest: Manifest, where: str) -> None:
    """Refuses a packed archive whose files for the server, by its manifest, lie outside of it."""
    for what, name in (
        ("configFile", manifest.config_file),
        ("requirementsFile", manifest.requirements_file),
    ):
        if name and (name.startswith("/") or ".." in PurePosixPath(name).parts or "\0" in name):
            raise ArchiveError(f"{where}: {MANIFEST}: {what} {name!r} is not in the archive")


def _top(folder: Path) -> Path:
    """The folder with the manifest: this one, or its only sub-folder, as an unpacked tar file has it.

    A link that leads out of the folder is no sub-folder of it.
    """
    if (folder / MANIFEST).exists():
        return folder
    inside = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if len(inside) != 1 or folder.resolve() not in inside[0].resolve().parents:
        return folder
    return inside[0] if (inside[0] / MANIFEST).exists() else folder


# --- writing ------------------------------------------------------------------------------------------

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Package:
    """What goes into an archive: its manifest and its files, by the name they get inside."""

    name: str
    #: The text of MANIFEST.json.
    manifest: str
    files: Mapping[str, Path]


def created_on(epoch: str | None) -> datetime:
    """The archive's time: SOURCE_DATE_EPOCH (reproducible-builds.org, in UTC), else now.

    Raises:
        ValueError: it is no number of seconds that an archive can hold.
    """
    if not epoch:
        return datetime.now()
    if not re.fullmatch(r"\d{1,10}", epoch, re.ASCII) or int(epoch) >= 1 << 32:
        raise ValueError(f"SOURCE_DATE_EPOCH={epoch} must be a number of seconds from 0 to {(1 << 32) - 1}")
    return datetime.fromtimestamp(int(epoch), UTC)


def output_path(name: str, folder: Path, archive_format: str) -> Path:
    """Where an archive of that format goes."""
    return folder / f"{name}{ENDINGS.get(archive_format, '.mar')}"


def write_archive(
    package: Package, target: Path, archive_format: str, moment: datetime, progress: Progress | None = None
) -> Path:
    """Writes an archive beside its place and moves it there when it is whole.

    Files of another archive's manifest, and the archive that it replaces, are left out.

    Raises:
        OSError: a file cannot be read or written; nothing half-written is left.
    """
    package = replace(package, files=_own(package.files, target))
    scratch = Path(tempfile.mkdtemp(prefix=f".{package.name}.", dir=target.parent))
    try:
        part = scratch / package.name
        if archive_format == "no-archive":
            _write_folder(package, part, progress)
            if target.is_dir():  # it may hold more than an archive
                shutil.copytree(part, target, dirs_exist_ok=True)
                return target
        elif archive_format == "tgz":
            _write_tar(package, part, moment, progress)
        else:
            method = zipfile.ZIP_STORED if archive_format == "zip-store" else zipfile.ZIP_DEFLATED
            _write_zip(package, part, method, moment, progress)
        os.replace(part, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _own(files: Mapping[str, Path], target: Path) -> dict[str, Path]:
    """The files that go into an archive as `target`: neither itself nor a manifest are among them."""
    place = target.resolve()
    return {name: path for name, path in files.items() if name != MANIFEST and path.resolve() != place}


def _entries(package: Package) -> Iterator[tuple[str, Path | bytes]]:
    yield MANIFEST, package.manifest.encode()
    for name in sorted(package.files):
        yield name, package.files[name]


def _copy(content: Path | bytes, name: str, out: IO[bytes], progress: Progress | None) -> None:
    if isinstance(content, bytes):
        out.write(content)
        return
    with content.open("rb") as source:
        while chunk := source.read(1 << 20):
            out.write(chunk)
            if progress is not None:
                progress(name, len(chunk))


def _write_folder(package: Package, folder: Path, progress: Progress | None) -> None:
    for name, content in _entries(package):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            _copy(content, name, out, progress)


def _write_zip(
    package: Package, path: Path, method: int, moment: datetime, progress: Progress | None
) -> None:
    date = max(moment.timetuple()[:6], _ZIP_EPOCH)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in _entries(package):
            entry = zipfile.ZipInfo(name, date)
            entry.compress_type = method
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            with archive.open(entry, "w", force_zip64=True) as out:
                _copy(content, name, out, progress)


def _write_tar(package: Package, path: Path, moment: datetime, progress: Progress | None) -> None:
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=int(moment.timestamp())) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, content in _entries(package):
            entry = tarfile.TarInfo(f"{package.name}/{name}")
            entry.mtime = int(moment.timestamp())
            entry.size = len(content) if isinstance(content, bytes) else content.stat().st_size
            if isinstance(content, bytes):
                archive.addfile(entry, io.BytesIO(content))
            else:
                with content.open("rb") as source:
                    archive.addfile(entry, source)
                if progress is not None:
                    progress(name, entry.size)
