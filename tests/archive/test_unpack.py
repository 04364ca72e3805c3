"""Unpacking: within its bounds, whole or not at all, whatever is in the bytes."""

from __future__ import annotations

import errno
import gzip
import io
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import warnings
import zipfile
from pathlib import Path

import pytest
from bad_archives import Entry, zip_file
from hypothesis import given
from hypothesis import strategies as st

from shortage import files_of_at_most, no_descriptors
from torchkeeper.archive import unpack as rules
from torchkeeper.archive.unpack import unpack
from torchkeeper.errors import ArchiveError, NoRoom, SystemFailed

FILES = {"MAR-INF/MANIFEST.json": b"{}", "a/b/c.py": b"x = 1\n" * 100, "a/b.bin": bytes(range(256)) * 8}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.mkdir("empty")
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


class Stream(io.RawIOBase):
    """Where nothing can be written anew: sizes come behind the data, and in the directory."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += bytes(data)
        return len(data)


def streamed(files: dict[str, bytes]) -> bytes:
    target = Stream()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("empty")
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(data)
    return target.data


def tarred(files: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as archive:
        for name in (".", "./empty", "a", "a"):
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


LONG = {**FILES, "n" * 180 + "/" + "ü" * 90: b"long"}
GOOD = {
    "deflated": zipped(LONG),
    "stored": zipped(LONG, zipfile.ZIP_STORED),
    "streamed": streamed(LONG),
    "behind a script": b"#!/bin/sh\n" + zipped(LONG),
    "tar": tarred(LONG),
    "GNU tar": tarred(LONG, tarfile.GNU_FORMAT),
    "old tar": tarred(FILES, tarfile.USTAR_FORMAT),
    "tar.gz": gzip.compress(tarred(LONG)),
    "tar.gz in two parts": gzip.compress(tarred(LONG)[:700]) + gzip.compress(tarred(LONG)[700:]),
    "tar.gz, padded": gzip.compress(tarred(LONG) + bytes(1 << 20)) + bytes(512),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_good_is_unpacked(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.mar"
    path.write_bytes(GOOD[name])
    unpack(path, tmp_path / "models" / "m")
    assert contents(tmp_path / "models" / "m") == (FILES if name == "old tar" else LONG)
    assert (tmp_path / "models" / "m" / "empty").is_dir()
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["m"]


def refusal(path: Path, into: Path) -> str:
    try:
        unpack(path, into)
    except ArchiveError as error:
        return error.message
    return ""


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_whatever_is_damaged_is_unpacked_whole_or_refused(name: str, data: st.DataObject) -> None:
    content = bytearray(GOOD[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]
    with tempfile.TemporaryDirectory() as folder:
        path, into = Path(folder, "m.mar"), Path(folder, "in", "m")
        path.write_bytes(content)
        said = refusal(path, into)
        assert [each.name for each in into.parent.iterdir()] == ([] if said else ["m"])
        assert said == "" or (said.startswith("m.mar: ") and folder not in said)
        kinds = {stat.S_IFMT(each.lstat().st_mode) for each in into.rglob("*")}
        assert kinds <= {stat.S_IFREG, stat.S_IFDIR}
        assert {each.name for each in Path(folder).iterdir()} == {"in", "m.mar"}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("size", [1, 512, 1000])
def test_entries_of_a_tar_file_are_counted_before_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: int, size: int
) -> None:
    monkeypatch.setattr(rules, "MAX_ENTRIES", 6)
    path = tmp_path / "m.tar.gz"
    made: list[str] = []

    def check() -> None:
        made.append("a piece of a file")

    for number in (5, 6):
        with tarfile.open(path, "w:gz", format=form) as packed:
            folder = tarfile.TarInfo("folder")
            folder.type = tarfile.DIRTYPE
            packed.addfile(folder)
            for place in range(number):
                # a name of which POSIX's pax and GNU's tar tell in an entry of its own
                entry = tarfile.TarInfo(
                    f"folder/{place}" + ("é" * 60 if form != tarfile.USTAR_FORMAT else "")
                )
                entry.size = size
                packed.addfile(entry, io.BytesIO(bytes(size)))
        if number == 6:
            made.clear()
            with pytest.raises(ArchiveError, match="it has more than 6 entries; if all of it is wanted"):
                unpack(path, tmp_path / "m", check)
            assert made == []
        else:
            unpack(path, tmp_path / "m", check)
            shutil.rmtree(tmp_path / "m")


def test_what_tells_of_a_size_of_its_own_is_counted_as_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tar file that holds one: by the size in its head the inner entries would count, too."""
    monkeypatch.setattr(rules, "MAX_ENTRIES", 3)
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w", format=tarfile.USTAR_FORMAT) as packed:
        for place in range(9):
            packed.addfile(tarfile.TarInfo(str(place)))
    content = inner.getvalue()
    with tarfile.open(tmp_path / "m.tar", "w", format=tarfile.PAX_FORMAT) as packed:
        entry = tarfile.TarInfo("inner.tar")
        entry.pax_headers = {"size": str(len(content))}
        entry.size = 0
        packed.addfile(entry)
        packed.fileobj.write(content)  # type: ignore[union-attr]
        packed.offset += len(content)
    unpack(tmp_path / "m.tar", tmp_path / "m")
    assert (tmp_path / "m" / "inner.tar").read_bytes() == content


def test_the_bounds_are_what_may_be_and_no_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.mar"
    monkeypatch.setattr(rules, "MAX_ENTRIES", 5)
    for number in range(2):
        path.write_bytes(zipped(dict.fromkeys(map(str, range(4 + number)), b"")))
        if number:
            with pytest.raises(ArchiveError, match="it has more than 5 entries; if all of it is wanted"):
                unpack(path, tmp_path / "m")
        else:
            unpack(path, tmp_path / "m")
            shutil.rmtree(tmp_path / "m")
    for size in (64 << 20, (64 << 20) + 1):
        path.write_bytes(zipped({"zeros": bytes(size)}))
        if size > 64 << 20:
            with pytest.raises(ArchiveError, match="it unpacks to more than 67108864 bytes"):
                unpack(path, tmp_path / "m")
        else:
            unpack(path, tmp_path / "m")
            shutil.rmtree(tmp_path / "m")


def zip64(data: bytes, *, size: int | None = None) -> bytes:
    """A zip file whose end is told in the records for large ones, with that size of its directory."""
    end = data.rfind(b"PK\5\6")
    count, told, begin = struct.unpack_from("<HLL", data, end + 10)
    told = told if size is None else size
    record = b"PK\6\6" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, count, count, told, begin)
    locator = b"PK\6\7" + struct.pack("<LQL", 0, end, 1)
    last = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:end] + record + locator + last


def test_the_end_of_a_large_zip_file_is_read_as_that_of_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.mar"
    path.write_bytes(zip64(zipped(FILES)))
    unpack(path, tmp_path / "into")
    assert (tmp_path / "into" / "a" / "b.bin").read_bytes() == FILES["a/b.bin"]
    path.write_bytes(zip64(zipped(FILES), size=(16 << 20) + 1))
    with pytest.raises(ArchiveError, match="its directory has 16777217 bytes"):
        unpack(path, tmp_path / "again")
    monkeypatch.setattr(rules, "MAX_ENTRIES", len(FILES))
    path.write_bytes(zip64(zipped(FILES)))
    with pytest.raises(ArchiveError, match=f"more than {len(FILES)} entries"):
        unpack(path, tmp_path / "again")


def test_folders_of_a_zip_file_come_in_any_order_and_more_than_once(tmp_path: Path) -> None:
    path = tmp_path / "m.mar"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x/y/", "x/y/z", "x/", "v/w"):
            archive.writestr(name, b"" if name.endswith("/") else b"1")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is there twice
            archive.writestr("x/y/", b"")
        archive.writestr("v/", b"")
    unpack(path, tmp_path / "into")
    there = {each.relative_to(tmp_path / "into").as_posix() for each in (tmp_path / "into").rglob("*")}
    assert there == {"v", "v/w", "x", "x/y", "x/y/z"}


@pytest.mark.parametrize("offset", [1, 34])
def test_an_entry_that_begins_in_another_one_is_refused(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "m.mar"
    path.write_bytes(zip_file([Entry("a", b"1234"), Entry("b", b"5678", offset=offset)]))
    with pytest.raises(ArchiveError, match="entry 'b' overlaps another one"):
        unpack(path, tmp_path / "into")
    path.write_bytes(zip_file([Entry("a", b"1234"), Entry("b", b"5678", offset=35)]))
    unpack(path, tmp_path / "into")


@pytest.mark.parametrize(("length", "shown"), [(100, "a" * 99 + ":"), (101, "a" * 100 + "...")])
def test_a_long_name_is_not_repeated_to_its_end(tmp_path: Path, length: int, shown: str) -> None:
    path = tmp_path / "m.mar"
    path.write_bytes(zip_file([Entry("a" * (length - 1) + ":")]))
    with pytest.raises(ArchiveError, match=f"entry '{shown}' would be"):
        unpack(path, tmp_path / "into")


def test_what_is_no_directory_has_no_end() -> None:
    for data in (b"", b"PK\5\6 and too little"):
        assert rules._directory_end(io.BytesIO(data)) == (0, 0)


@pytest.mark.parametrize("data", [b"", b"xy"])
def test_more_or_less_than_was_said_is_refused(tmp_path: Path, data: bytes) -> None:
    entries = rules._Entries("m.mar", 10, tmp_path, lambda: None)
    with pytest.raises(ArchiveError, match="entry 'f' has not the size that it says"):
        entries.write(io.BytesIO(data), tmp_path / "f", 1)
    assert (tmp_path / "f").stat().st_size == 0


def test_a_disk_that_is_too_small_is_not_the_archives_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.mar"
    for data in (GOOD["deflated"], GOOD["tar.gz"]):
        path.write_bytes(data)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda where: shutil._ntuple_diskusage(100, 90, 10))
            with pytest.raises(NoRoom, match="bytes are to be unpacked, the disk has room for 10") as raised:
                unpack(path, tmp_path / "m")
            assert raised.value.status == 507
        assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_grows_full_is_said_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.mar"
    path.write_bytes(GOOD["stored"])

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))

    with pytest.raises(NoRoom, match=r"m\.mar: cannot be unpacked: No space left on device$"):
        unpack(path, tmp_path / "m", full)
    assert list(tmp_path.iterdir()) == [path]


def test_a_machine_without_descriptors_is_not_the_archives_fault(tmp_path: Path) -> None:
    path = tmp_path / "m.mar"
    path.write_bytes(GOOD["stored"])
    with no_descriptors(), pytest.raises(SystemFailed) as raised:
        unpack(path, tmp_path / "m")
    assert raised.value.status == 503
    assert raised.value.message == "m.mar: cannot be unpacked: Too many open files"
    assert not (tmp_path / "m").exists()


def test_a_file_that_may_not_grow_is_no_room(tmp_path: Path) -> None:
    path = tmp_path / "m.mar"
    path.write_bytes(GOOD["stored"])
    with files_of_at_most(100), pytest.raises(NoRoom, match=r"m\.mar: cannot be unpacked: File too large$"):
        unpack(path, tmp_path / "m")
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.mar")
    with pytest.raises(ArchiveError, match=r"x\.mar: neither a file nor a folder"):
        unpack(tmp_path / "m.mar", tmp_path / "m", called="x.mar")


def test_who_no_longer_wants_it_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.mar"
    path.write_bytes(GOOD["tar.gz"])

    def unwanted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(path, tmp_path / "m", unwanted)
    assert list(tmp_path.iterdir()) == [path]
