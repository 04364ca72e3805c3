"""An archive's bytes: a folder with the files of a model and nothing else anywhere, or one sentence."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from bad_archives import Entry, archive, bad_archives, deflated, packed, tar_file

from targets.target import Target
from torchkeeper.archive.archive import open_archive
from torchkeeper.archive.unpack import HARMLESS, MAX_DEPTH, MAX_ENTRIES
from torchkeeper.errors import ArchiveError

_MEMORY = Path("/dev/shm")
#: Bytes of the longest input: what is far above that tries bounds which mutations pass seldom.
_LONGEST = 1 << 14


def run(data: bytes) -> None:
    """The bytes are an archive's."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as made:
        folder = Path(made)
        path, into = folder / "m.mar", folder / "store" / "m"
        path.write_bytes(data)
        try:
            open_archive(path, into)
        except ArchiveError as error:
            assert str(folder) not in error.message
            assert error.message.isprintable(), error.message
            left = [each for each in folder.rglob("*") if each not in (path, into.parent)]
            assert not left, left
        else:
            check(folder, path, into)


def check(folder: Path, path: Path, into: Path) -> None:
    """What lies where an archive was unpacked."""
    files = [each for each in folder.rglob("*") if each not in (path, into, into.parent)]
    assert all(each.is_relative_to(into) for each in files)
    assert not [each for each in files if each.is_symlink() or not (each.is_file() or each.is_dir())]
    assert sum(each.stat().st_size for each in files if each.is_file()) <= HARMLESS
    assert len([each for each in files if each.is_file()]) <= MAX_ENTRIES
    assert all(len(each.relative_to(into).parts) <= MAX_DEPTH for each in files)


def seeds() -> Iterator[bytes]:
    yield from (archive(), archive(Entry("a/b/c", b"abc" * 100)), packed(), tar_file())
    yield archive(deflated("zeros", 3 << 20))
    for data, _ in bad_archives().values():
        if len(data) > _LONGEST:
            continue
        yield data
        if data[:2] == b"\x1f\x8b":  # changed bytes would be found out by its checksum at once
            try:
                plain = gzip.decompress(data)
            except (OSError, EOFError, zlib.error):
                continue
            if len(plain) <= _LONGEST:
                yield plain


TARGET = Target(run, seeds, longest=_LONGEST)
