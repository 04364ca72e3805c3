"""Bad archives, made byte by byte: each with what is wrong with it, and the words by which it is refused."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import json
import lzma
import stat
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

MANIFEST = "MAR-INF/MANIFEST.json"
HANDLER = b"def handle(data, context):\n    return data and ['ok' for row in data]\n"
#: What is said of those that the reader takes.
HANDLERS, WORKERS = "its manifest names no handler", "cannot be handed to workers"
NONE = f"no {MANIFEST} inside"
#: Larger than what every archive may unpack to, whatever its size.
BOMB = 600 << 20


@dataclass(frozen=True)
class Entry:
    """A zip file's entry, as its headers tell of it; None: the truth."""

    name: bytes | str
    data: bytes = b"x"
    method: int = 0
    flags: int = 0
    #: File type and rights; 0: nothing is said of them.
    mode: int = 0o100644
    size: int | None = None
    packed: int | None = None
    crc: int | None = None
    needed: int = 20
    #: What the header beside the data calls it.
    local_name: bytes | None = None
    #: Where the directory says that it begins.
    offset: int | None = None
    local_magic: bytes = b"PK\3\4"
    magic: bytes = b"PK\1\2"


def _text(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def zip_file(
    entries: Sequence[Entry], *, count: int | None = None, size: int | None = None, tail: bytes = b""
) -> bytes:
    """A zip file; `count` and `size` are what its end says of its directory."""
    body, directory = bytearray(), bytearray()
    for entry in entries:
        name, place = _text(entry.name), len(body)
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        packed = len(entry.data) if entry.packed is None else entry.packed
        length = len(entry.data) if entry.size is None else entry.size
        utf8 = 0 if name.isascii() or isinstance(entry.name, bytes) else 0x800
        told = struct.pack("<HHHHLLL", entry.flags | utf8, entry.method, 0, 33, crc, packed, length)
        local = name if entry.local_name is None else entry.local_name
        body += entry.local_magic + struct.pack("<H", entry.needed) + told + struct.pack("<HH", len(local), 0)
        body += local + entry.data
        directory += entry.magic + struct.pack("<BBH", 20, 3, entry.needed) + told
        offset = place if entry.offset is None else entry.offset
        directory += struct.pack("<HHHHHLL", len(name), 0, 0, 0, 0, entry.mode << 16, offset) + name
    number = min(len(entries), 0xFFFE) if count is None else count
    long = len(directory) if size is None else size
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, number, number, long, len(body), 0)
    return bytes(body + directory) + end


def manifest(**model: Any) -> bytes:
    """A manifest of a model that is fine but for what is given."""
    return json.dumps(
        {"model": {"modelName": "m", "modelVersion": "1.0", "handler": "h.py", **model}}
    ).encode()


def archive(*entries: Entry, about: bytes | None = None, **more: Any) -> bytes:
    """A .mar with further entries, or with another manifest."""
    text = manifest() if about is None else about
    return zip_file([Entry(MANIFEST, text), Entry("h.py", HANDLER), *entries], **more)


def tar_file(*entries: tuple[tarfile.TarInfo, bytes], format: int = tarfile.GNU_FORMAT) -> bytes:
    """A plain tar file of a model that is fine, and further entries."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as file:
        for info, data in (
            (_info(MANIFEST, manifest()), manifest()),
            (_info("h.py", HANDLER), HANDLER),
            *entries,
        ):
            file.addfile(info, io.BytesIO(data))
    return target.getvalue()


def endless() -> bytes:
    """The same without what ends it."""
    data = tar_file().rstrip(b"\0")
    return data + bytes(-len(data) % 512)


def _info(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **more: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info


def packed(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """The same as .tar.gz."""
    return gzip.compress(tar_file(*entries), 1)


def named(*names: str) -> bytes:
    """A .tar.gz with small files of those names."""
    return packed(*((_info(name, b"x"), b"x") for name in names))


def special(kind: bytes, **more: Any) -> bytes:
    """A .tar.gz with an entry that is no file."""
    return packed((_info("odd", kind=kind, **more), b""))


@functools.cache
def zeros(size: int, wrap: int) -> bytes:
    """So many zeros, deflated; cheap to make."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wrap)
    one = bytes(1 << 20)
    first = packer.compress(one) + packer.flush(zlib.Z_FULL_FLUSH)
    second = packer.compress(one) + packer.flush(zlib.Z_FULL_FLUSH)
    third = packer.compress(one) + packer.flush(zlib.Z_FINISH)
    return first + second * ((size >> 20) - 2) + third


def deflated(name: str, size: int) -> Entry:
    data = zeros(size, -15)
    return Entry(name, data, method=8, size=size)


def gz_bomb(said: int) -> bytes:
    """A .tar.gz with a large file of zeros; its end says that all of it has `said` bytes."""
    head = endless() + _info("big", size=BOMB).tobuf()
    start = zlib.compressobj(1, zlib.DEFLATED, -15)
    begin = start.compress(head) + start.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + begin + zeros(BOMB, -15) + struct.pack("<LL", 0, said)


def long_header(kind: bytes) -> bytes:
    """A .tar.gz whose header before a file is large and goes to memory."""
    head = _info("x", size=BOMB, type=kind).tobuf()
    start = zlib.compressobj(1, zlib.DEFLATED, -15)
    begin = start.compress(head) + start.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + begin + zeros(BOMB, -15) + struct.pack("<LL", 0, 1000)


def damaged_tar() -> bytes:
    """A .tar.gz whose second header has a wrong checksum; Python's reader ends there without a word."""
    data = bytearray(tar_file())
    data[data.index(b"h.py\0") + 148] ^= 1
    return gzip.compress(bytes(data), 1)


def negative_tar() -> bytes:
    info = _info("odd").tobuf(tarfile.GNU_FORMAT)
    data = bytearray(info)
    data[124:136] = b"\xff" * 10 + b"\xfe\0"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    return gzip.compress(endless() + bytes(data) + bytes(1024), 1)


@functools.cache
def too_many() -> bytes:
    return zip_file([Entry(b"%d" % number, b"") for number in range(10_001)])


def too_many_that_say_one() -> bytes:
    data = too_many()
    return data[:-14] + b"\1\0\1\0" + data[-10:]


def too_many_folders() -> bytes:
    """A .tar.gz with one folder again and again: that alone is no fault."""
    folder = _info("d", kind=tarfile.DIRTYPE).tobuf(tarfile.GNU_FORMAT)
    return gzip.compress(endless() + folder * 10_000 + bytes(1024), 1)


def same_data(times: int) -> bytes:
    """Entries whose data is the same bytes."""
    first = Entry("a", b"y" * 1000)
    return zip_file(
        [
            first,
            *(
                replace(
                    first,
                    name=f"a{number}",
                    data=b"",
                    size=1000,
                    packed=1000,
                    crc=zlib.crc32(first.data),
                    offset=0,
                )
                for number in range(times)
            ),
        ]
    )


def flipped(data: bytes, mark: bytes) -> bytes:
    place = data.index(mark)
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


def _zip_names() -> Iterator[tuple[str, bytes, str]]:
    outside = "would be unpacked outside the model's folder"
    for name in ("../out", "a/../../out", "..", "/out", "C:/out", "..\\out", "\\out", "a/..", "a\0b"):
        yield f"zip name {name!r}", archive(Entry(name)), outside
        if "\0" not in name:
            yield f"tar name {name!r}", named(name), outside
    for name in ("a\nb", "a\x1b[2Jb", "a\x7f", "a/\r/b", "a\x9bb"):
        yield f"zip name {name!r}", archive(Entry(name)), "has control characters in its name"
        yield f"tar name {name!r}", named(name), "has control characters in its name"
    for what, name in (("deep", "d/" * 33 + "f"),):
        yield f"zip {what}", archive(Entry(name)), "lies deeper than 32 folders"
        yield f"tar {what}", named(name), "lies deeper than 32 folders"
    for what, name in (("long part", "n" * 256), ("long path", "/".join(["n" * 200] * 6))):
        yield f"zip {what}", archive(Entry(name)), "has too long a name"
        yield f"tar {what}", named(name), "has too long a name"
    yield "zip no name", archive(Entry("")), "an entry has no name"
    yield "zip dot", archive(Entry(".")), "entry '.' has no name"
    yield "tar dot", named("."), "entry '.' has no name"
    yield "zip no UTF-8", archive(Entry(b"\xff\xfe", flags=0x800)), "cannot be unpacked: .*decode"


def _twice() -> Iterator[tuple[str, bytes, str]]:
    twice, both = "is there twice", "lies in a file, or is a file and a folder"
    for what, names, said in (
        ("the same", ("a", "a"), twice),
        ("a dot before it", ("a", "./a"), twice),
        ("another slash", ("a/b", "a\\b"), twice),
        ("two slashes", ("a/b", "a//b"), twice),
        ("a file in a file", ("a", "a/b"), both),
        ("a folder, then a file", ("a/b", "a"), twice),
        ("the manifest", (MANIFEST,), twice),
    ):
        yield f"zip {what}", archive(*map(Entry, names)), said
        yield f"tar {what}", named(*names), said
    yield "zip a file, then a folder", archive(Entry("a"), Entry("a/", b"")), both


def _kinds() -> Iterator[tuple[str, bytes, str]]:
    yield "zip link", archive(Entry("l", b"/etc/passwd", mode=stat.S_IFLNK | 0o777)), "entry 'l' is a link"
    for what, kind in (
        ("fifo", stat.S_IFIFO),
        ("character device", stat.S_IFCHR),
        ("block device", stat.S_IFBLK),
        ("socket", stat.S_IFSOCK),
    ):
        yield f"zip {what}", archive(Entry("odd", mode=kind | 0o644)), "neither a file nor a folder"
    for what, kind in (
        ("symbolic link", tarfile.SYMTYPE),
        ("hard link", tarfile.LNKTYPE),
        ("fifo", tarfile.FIFOTYPE),
        ("character device", tarfile.CHRTYPE),
        ("block device", tarfile.BLKTYPE),
        ("unknown kind", b"V"),
    ):
        yield f"tar {what}", special(kind, linkname="h.py"), "neither a file nor a folder"
    sparse = _info("odd", kind=tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT)
    yield "tar sparse", gzip.compress(sparse + bytes(1024), 1), "neither a file nor a folder"
    link = _info("l", kind=tarfile.SYMTYPE, linkname="/tmp")
    yield "tar file through a link", packed((link, b""), (_info("l/f", b"x"), b"x")), "neither a file nor a"


def _zip_content() -> Iterator[tuple[str, bytes, str]]:
    for method in (1, 9, 12, 14, 93, 95, 98, 99):
        yield (
            f"zip method {method}",
            archive(Entry("a", method=method)),
            f"method {method}, which",
        )
    yield "zip encrypted", archive(Entry("a", flags=1)), "entry 'a' is encrypted"
    yield "zip patched data", archive(Entry("a", flags=0x20)), "cannot be unpacked: compressed patched data"
    yield "zip strong encryption", archive(Entry("a", flags=0x40)), "cannot be unpacked: strong encryption"
    yield "zip version", archive(Entry("a", needed=99)), "cannot be unpacked: zip file version 9.9"
    yield "zip checksum", archive(Entry("a", crc=1)), "cannot be unpacked: Bad CRC-32 for file 'a'"
    yield "zip flipped bit", flipped(archive(), b"def handle"), "Bad CRC-32 for file 'h.py'"
    noise = Entry("a", b"\xff" * 50, method=8, size=500)
    yield "zip no deflate", archive(noise), "cannot be unpacked: Error -3"
    yield "zip shorter than said", archive(Entry("a", b"xx", size=1)), "Bad CRC-32 for file 'a'"
    yield (
        "zip longer than said",
        archive(Entry("a", b"", size=9000, packed=0)),
        "has not the size that it says",
    )
    yield "zip other name", archive(Entry("a", local_name=b"b")), "'a' and header b'b' differ"
    yield (
        "zip no local header",
        archive(Entry("a", local_magic=b"PK\0\0")),
        "Bad magic number for file",
    )
    yield "zip no directory", archive(Entry("a", magic=b"PK\0\0")), "Bad magic number for central directory"
    yield "zip offset behind its end", archive(Entry("a", offset=1 << 30)), "cannot be unpacked"
    yield "zip directory cut off", archive(size=20), "cannot be unpacked"
    yield "zip directory too large", archive(size=1 << 31), "its directory has 2147483648 bytes"
    yield "zip directory before its begin", archive(size=100_000), "cannot be unpacked"
    yield "zip same data", same_data(3), "overlaps another one"
    yield "zip cut off", archive()[:300], "neither a zip file"
    yield "zip begin lost", archive()[100:], "begins before the archive does"
    yield "nothing", b"", "neither a zip file"
    yield "a text", b"hello, this is no archive" * 50, "neither a zip file"
    yield "zeros", bytes(100_000), NONE
    yield "zip end alone", zip_file([]), NONE


def _bombs() -> Iterator[tuple[str, bytes, str]]:
    much = "it unpacks to more than \\d+ bytes, far more than its own size"
    yield "zip bomb", archive(deflated("big", BOMB)), much
    yield "zip bomb of many", archive(*(deflated(f"b{number}", 1 << 20) for number in range(90))), much
    yield "zip bomb that says little", archive(replace(deflated("big", BOMB), size=1000)), "Bad CRC-32"
    yield "zip of a terabyte", archive(Entry("a", size=0xFFFF_FFF0)), much
    yield "zip of too many", too_many(), "more than 10000 entries"
    yield "zip of too many that says one", too_many_that_say_one(), "more than 10000 entries"
    yield "tar bomb", gz_bomb(BOMB + 20_000), much
    yield "tar bomb that says little", gz_bomb(1000), much
    yield "tar long name", long_header(tarfile.GNUTYPE_LONGNAME), "too many bytes between its files"
    yield "tar long link", long_header(tarfile.GNUTYPE_LONGLINK), "too many bytes between its files"
    yield "tar attributes", long_header(tarfile.XHDTYPE), "too many bytes between its files"
    yield "tar global attributes", long_header(tarfile.XGLTYPE), "too many bytes between its files"
    yield "tar of too many", too_many_folders(), "more than 10000 entries"
    yield (
        "tar rest",
        gzip.compress(tar_file() + bytes(5 << 20), 1),
        "too many bytes between its",
    )


def _tar_damage() -> Iterator[tuple[str, bytes, str]]:
    good = packed()
    yield "tar cut off", good[: len(good) // 2], "cannot be unpacked|neither a zip"
    yield "tar checksum", good[:-8] + b"\0\0\0\0" + good[-4:], "cannot be unpacked: CRC check failed"
    yield "tar length", good[:-4] + b"\1\0\0\0", "cannot be unpacked: Incorrect length"
    yield "tar header", damaged_tar(), "damaged behind its first 1024 bytes"
    yield (
        "tar something behind",
        gzip.compress(tar_file() + b"x" * 512, 1),
        "damaged behind its first 2048",
    )
    yield "tar negative size", negative_tar(), "cannot be unpacked|negative size|damaged behind"
    yield "gzip of a text", gzip.compress(b"hello" * 1000), "neither a zip file"
    yield "gzip of gzip", gzip.compress(good), "neither a zip file"
    yield "gzip head alone", good[:10], "cannot be unpacked"
    yield "gzip and more", good + b"more", "cannot be unpacked: Not a gzipped file"
    yield "bzip2", bz2.compress(tar_file()), "neither a zip file"
    yield "xz", lzma.compress(tar_file()), "neither a zip file"


def _manifests() -> Iterator[tuple[str, bytes, str]]:
    cannot, no_model = f"{MANIFEST} cannot be read", f"{MANIFEST} has no object `model`"
    for what, text, said in (
        ("broken", b"{", cannot),
        ("empty", b"", cannot),
        ("a word", b"manifest", cannot),
        ("deep", b"[" * 100_000, cannot),
        ("no UTF-8", b'{"model": {"modelName": "\xff"}}', cannot),
        ("too large", b" " * (1 << 20) + manifest(), cannot),
        ("null", b"null", no_model),
        ("a list", b"[]", no_model),
        ("a number", b"1", no_model),
        ("without a model", b"{}", no_model),
        ("model null", b'{"model": null}', no_model),
        ("model a list", b'{"model": []}', no_model),
        ("name with a path", manifest(modelName="../x"), "must match"),
        ("name with a tag", manifest(modelName="x<script>"), "must match"),
        ("name with a blank", manifest(modelName="a b"), "must match"),
        ("name with a line's end", manifest(modelName="m\n"), "must match"),
        ("name a list", manifest(modelName=["m"]), "must match"),
        ("name too long", manifest(modelName="m" * 256), "must be one line of at most 255 characters"),
        ("version too long", manifest(modelVersion="1" * 256), "must be one line of at most 255 characters"),
        ("version of two lines", manifest(modelVersion="1\n2"), "must be one line of at most 255 characters"),
        ("config outside", manifest(configFile="../../etc/passwd"), "configFile '.*' is not in the archive"),
        ("config absolute", manifest(configFile="/etc/passwd"), "configFile '.*' is not in the archive"),
        ("requirements outside", manifest(requirementsFile="../r.txt"), "requirementsFile '.*' is not in"),
        ("no handler", manifest(handler=None), HANDLERS),
        ("a number too large", manifest(more=10**30), WORKERS),
    ):
        yield f"manifest {what}", archive(about=text), said
    yield "manifest a folder", zip_file([Entry(f"{MANIFEST}/x")]), cannot
    yield "manifest in a file", zip_file([Entry("MAR-INF")]), cannot


_KINDS: tuple[Callable[[], Iterator[tuple[str, bytes, str]]], ...] = (
    *(_zip_names, _twice, _kinds, _zip_content, _bombs, _tar_damage, _manifests),
)


def bad_archives() -> dict[str, tuple[bytes, str]]:
    """What is wrong -> the archive's bytes, and the words that say so."""
    found: dict[str, tuple[bytes, str]] = {}
    for rows in _KINDS:
        for what, data, said in rows():
            assert what not in found
            found[what] = (data, said)
    return found
