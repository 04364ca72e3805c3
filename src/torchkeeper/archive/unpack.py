"""Packed archives become folders: zip (.mar) and tar (.tar.gz), read with suspicion.

A zip file is judged by its directory before a byte of it is unpacked; a tar file has none, and is judged as
it is read, but for the number of its entries, as far as they are small. Either way nothing is written outside
the folder, no link or device is made, and no more is read, written or kept in memory than the bounds below
allow, whatever the archive claims.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, cast

from torchkeeper.errors import ArchiveError, NoRoom, reason_of, system_error

#: Files and folders of an archive, and how deep they lie.
MAX_ENTRIES = 10_000
MAX_DEPTH = 32
#: Bytes of a part of a path, as file systems have it, and of a whole one.
MAX_PART, MAX_PATH = 255, 1024
#: What is unpacked may have so many times the archive's bytes, above a harmless size; large ones less.
MAX_RATIO, HARMLESS = 200, 64 << 20
_LARGE_RATIO, _LARGE = 10, 4 << 30
#: Bytes of a zip file's directory, and of what stands before a file of a tar file or behind the last one.
_MAX_DIRECTORY = 16 << 20
_MAX_HEADERS, _MAX_REST = 1 << 20, 4 << 20
#: Bytes of a tar file in which entries are counted before they are made: ten thousand of up to 3 KB.
_LOOKED_AHEAD = 32 << 20
_BLOCK = 512
#: Entries of a tar file that are no files or folders but tell of the next one, and those that have no bytes.
_TELLING, _EMPTY = b"xgXLK", b"123456"
_CHUNK = 1 << 20
#: Characters of an entry's name that an error repeats.
_SHOWN = 100
#: What Java's reader knows too. Others may ask for memory without bound.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: What is wrong with an archive's bytes; a text that is no UTF-8 is a ValueError, as is a date.
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, ValueError)
_INSTEAD = "if all of it is wanted, let it be a folder of the model store"

Check = Callable[[], None]


def part_of(into: Path) -> Path:
    """The folder beside the new folder `into` that is unpacked to, and renamed when it is whole."""
    return into.with_name(f".{into.name}.part")


def unpack(path: Path, into: Path, check: Check = lambda: None, called: str | None = None) -> None:
    """Unpacks an archive to the new folder `into`, which is there whole or not at all.

    `check` is called between the pieces that are unpacked; what it raises ends that. Errors name `called`
    instead of the file, if it is given.

    Raises:
        ArchiveError: it cannot be read, passes a bound, or tries to reach outside.
        NoRoom, SystemFailed: the disk has no room for it, or the machine fails.
    """
    name = called or path.name
    part = part_of(into)
    try:
        part.mkdir(parents=True)
        if not path.is_file():
            raise ArchiveError(f"{name}: neither a file nor a folder")
        entries = _Entries(name, path.stat().st_size, part, check)
        with path.open("rb") as file:  # of a file that cannot be opened it would say that it is no zip file
            zipped = zipfile.is_zipfile(file)
        (_unzip if zipped else _untar)(path, entries)
        part.rename(into)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if (failed := system_error(error, f"{name}: cannot be unpacked")) is not None:
            raise failed from None
        if isinstance(error, (OSError, *_DAMAGED)):
            raise ArchiveError(f"{name}: cannot be unpacked: {reason_of(error)}") from None
        raise


def _shown(name: str) -> str:
    """An entry's name for an error, which may be a mebibyte long."""
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}...")


class _Entries:
    """What an archive's entries may be called, and how many bytes they may have in all."""

    def __init__(self, archive: str, packed: int, into: Path, check: Check) -> None:
        self._archive = archive
        self._into = into
        self._check = check
        self._count = 0
        self._files: set[tuple[str, ...]] = set()
        self._folders: set[tuple[str, ...]] = set()
        self._allowed = min(max(HARMLESS, packed * MAX_RATIO), packed * _LARGE_RATIO + _LARGE)
        self._declared = 0

    def refused(self, why: str) -> ArchiveError:
        """The error that says why the archive is not taken."""
        return ArchiveError(f"{self._archive}: {why}")

    def count(self, number: int = 1) -> None:
        """Takes so many entries into account."""
        self._count += number
        self.bound(self._count)

    def bound(self, number: int) -> None:
        """Refuses so many entries, if they are too many."""
        if number > MAX_ENTRIES:
            raise self.refused(f"it has more than {MAX_ENTRIES} entries; {_INSTEAD}")

    def declare(self, size: int) -> None:
        """Takes into account what an entry says of its size, or all of them, before it is read."""
        if size < 0:
            raise self.refused("an entry has a negative size")
        self._declared += size
        if self._declared > self._allowed:
            what = f"it unpacks to more than {self._allowed} bytes, far more than its own size"
            raise self.refused(f"{what}; {_INSTEAD}, or pack it by --archive-format zip-store")
        if (free := shutil.disk_usage(self._into).free) < size:
            raise NoRoom(f"{self._archive}: {size} bytes are to be unpacked, the disk has room for {free}")

    def place(self, name: str, *, folder: bool) -> Path:
        """Where an entry goes, judged by its path's parts and by what is there already."""
        parts = self._parts(name)
        if not folder:
            if not parts:
                raise self.refused(f"entry {_shown(name)} has no name")
            if parts in self._files or parts in self._folders:
                raise self.refused(f"entry {_shown(name)} is there twice")
            self._files.add(parts)
        above = [parts[:length] for length in range(1, len(parts) + folder)]
        if not self._files.isdisjoint(above):
            raise self.refused(f"entry {_shown(name)} lies in a file, or is a file and a folder")
        self._folders.update(above)
        return self._into.joinpath(*parts)

    def _parts(self, name: str) -> tuple[str, ...]:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if "\0" in name or ".." in parts or (parts and (parts[0].startswith("/") or ":" in parts[0])):
            raise self.refused(f"entry {_shown(name)} would be unpacked outside the model's folder")
        if not name.isprintable() and any(unicodedata.category(letter) == "Cc" for letter in name):
            raise self.refused(f"entry {_shown(name)} has control characters in its name")
        if len(parts) > MAX_DEPTH:
            raise self.refused(f"entry {_shown(name)} lies deeper than {MAX_DEPTH} folders")
        if len(os.fsencode(name)) > MAX_PATH or any(len(os.fsencode(part)) > MAX_PART for part in parts):
            raise self.refused(f"entry {_shown(name)} has too long a name")
        return parts

    def write(self, source: IO[bytes], target: Path, size: int) -> None:
        """Writes a new file, counting what really comes and not what the archive claims."""
        target.parent.mkdir(parents=True, exist_ok=True)
        left = size
        with target.open("xb") as out:
            while chunk := source.read(_CHUNK):
                self._check()
                left -= len(chunk)
                if left < 0:
                    break
                out.write(chunk)
        if left:
            raise self.refused(
                f"entry {_shown(str(target.relative_to(self._into)))} has not the size that it says"
            )


# --- zip ----------------------------------------------------------------------------------------------


def _unzip(path: Path, entries: _Entries) -> None:
    with path.open("rb") as file:
        _count_directory(file, entries)
        with zipfile.ZipFile(file) as archive:
            listed = archive.infolist()
            _judge(listed, entries)
            places = [entries.place(entry.orig_filename, folder=entry.is_dir()) for entry in listed]
            for entry, place in zip(listed, places, strict=True):
                if entry.is_dir():
                    place.mkdir(parents=True, exist_ok=True)
                else:
                    with archive.open(entry) as source:
                        entries.write(source, place, entry.file_size)


def _count_directory(file: IO[bytes], entries: _Entries) -> None:
    """Counts a zip file's entries before they are read: reading a hundred thousand takes a second.

    Source: APPNOTE.TXT, sections 4.3.12 to 4.3.16. What is no directory is left to zipfile to name.
    """
    end, size = _directory_end(file)
    if size > _MAX_DIRECTORY:
        raise entries.refused(f"its directory has {size} bytes; more than {MAX_ENTRIES} entries, or odd ones")
    file.seek(max(end - size, 0))
    directory, place = file.read(size), 0
    while directory[place : place + 4] == b"PK\1\2" and place + 46 <= len(directory):
        entries.count()
        place += 46 + sum(struct.unpack_from("<HHH", directory, place + 28))


def _directory_end(file: IO[bytes]) -> tuple[int, int]:
    """Where a zip file's directory ends, and its size; it stands right before the records that say so."""
    length = file.seek(0, os.SEEK_END)
    begin = max(length - (76 + 22 + 0xFFFF), 0)
    file.seek(begin)
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) < end + 22:
        return 0, 0
    (size,) = struct.unpack_from("<L", tail, end + 12)
    if end >= 76 and tail[end - 20 : end - 16] == b"PK\6\7" and tail[end - 76 : end - 72] == b"PK\6\6":
        (size,) = struct.unpack_from("<Q", tail, end - 76 + 40)
        end -= 76
    return begin + end, size


def _judge(listed: Sequence[zipfile.ZipInfo], entries: _Entries) -> None:
    """Refuses what a zip file's directory says, but for names."""
    for entry in listed:
        if not entry.filename:
            raise entries.refused("an entry has no name")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if stat.S_ISLNK(kind):
            raise entries.refused(f"entry {_shown(entry.filename)} is a link")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) and entry.create_system == 3:  # Unix
            raise entries.refused(f"entry {_shown(entry.filename)} is neither a file nor a folder")
        if entry.flag_bits & 0x1:
            raise entries.refused(f"entry {_shown(entry.filename)} is encrypted")
        if entry.compress_type not in _METHODS:
            how = f"is packed by method {entry.compress_type}, which is not known here"
            raise entries.refused(f"entry {_shown(entry.filename)} {how}")
    entries.declare(sum(entry.file_size for entry in listed))
    end = 0
    for entry in sorted(listed, key=lambda one: one.header_offset):
        if entry.header_offset < 0:
            raise entries.refused(f"entry {_shown(entry.filename)} begins before the archive does")
        if entry.header_offset < end:
            raise entries.refused(f"entry {_shown(entry.filename)} overlaps another one")
        end = entry.header_offset + 30 + len(entry.orig_filename) + entry.compress_size


# --- tar ----------------------------------------------------------------------------------------------


class _Meter:
    """A stream from which only so many bytes may be read until more is allowed."""

    def __init__(self, read: Callable[[int], bytes], entries: _Entries) -> None:
        self._read = read
        self._entries = entries
        self._left = 0
        self._position = 0
        #: Behind the last byte that is not zero.
        self.filled = 0

    def allow(self, size: int) -> None:
        self._left = size

    def read(self, size: int) -> bytes:
        data = self._read(size)
        self._left -= len(data)
        if self._left < 0:
            raise self._entries.refused("it has too many bytes between its files or behind them")
        if filled := len(data.rstrip(b"\0")):
            self.filled = self._position + filled
        self._position += len(data)
        return data


def _untar(path: Path, entries: _Entries) -> None:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        for take in (_count_members, _read_tar):
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if packed else contextlib.nullcontext(raw) as unpacked:
                take(unpacked.read, entries)


def _count_members(read: Callable[[int], bytes], entries: _Entries) -> None:
    """Counts a tar file's entries as far as its first bytes tell: to make ten thousand files takes seconds.

    Where it is in doubt it ends, and leaves the rest to who reads them. Source: POSIX's pax, "ustar
    Interchange Format".
    """
    data, place, number = read(_LOOKED_AHEAD), 0, 0
    while len(head := data[place : place + _BLOCK]) == _BLOCK and any(head):
        kind, size = head[156:157], _octal(head[124:136])
        if head[257:262] != b"ustar" or size < 0:
            return
        body = place + _BLOCK
        if kind in _TELLING:
            if b" size=" in data[body : body + size]:
                return  # of the next one, in place of what its head says
        else:
            number += 1
            entries.bound(number)
        place = body + (0 if kind in _EMPTY else -(-size // _BLOCK) * _BLOCK)


def _octal(field: bytes) -> int:
    """A number in a tar file's head; -1 for one that is none, or in another form."""
    try:
        return int(field.rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        return -1


def _read_tar(read: Callable[[int], bytes], entries: _Entries) -> None:
    meter = _Meter(read, entries)
    meter.allow(_MAX_HEADERS)
    with _opened(meter, entries) as archive:
        while (entry := archive.next()) is not None:
            entries.count()
            if entry.isdir():
                entries.place(entry.name, folder=True).mkdir(parents=True, exist_ok=True)
            elif entry.isreg() and not entry.issparse():
                place = entries.place(entry.name, folder=False)
                entries.declare(entry.size)
                meter.allow(entry.size + _MAX_HEADERS)
                source = archive.extractfile(entry)
                assert source is not None
                with source:
                    entries.write(source, place, entry.size)
            else:
                raise entries.refused(f"entry {_shown(entry.name)} is neither a file nor a folder")
            meter.allow(_MAX_HEADERS)
        _read_rest(meter, archive.offset, entries)


def _opened(meter: _Meter, entries: _Entries) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=cast("IO[bytes]", meter), mode="r|")  # of which it wants `read` alone
    except tarfile.ReadError:
        raise entries.refused("neither a zip file (.mar) nor a tar file (.tar.gz)") from None


def _read_rest(meter: _Meter, end: int, entries: _Entries) -> None:
    """Reads to the end, where the checksum is; behind the last file there is nothing but zeros."""
    meter.allow(_MAX_REST)
    while meter.read(_CHUNK):
        pass
    if meter.filled > end:
        raise entries.refused(f"cannot be unpacked: it is damaged behind its first {end} bytes")
