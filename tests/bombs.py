"""Pictures in many formats whose headers promise far more pixels than there are bytes; none is decoded."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image

#: What is said of those that are too large.
TOO_LARGE = r"the picture has \d+ pixels, more than the 50000000 of max_image_pixels"
#: And of those whose texts are.
TEXTS = "Too much memory used in text chunks|Decompressed data too large"
_PALETTE = b"\0\0\0\xff\xff\xff"
_FEW = b"\0" * 100


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, extra: bytes = b"", *, animated: bool = False) -> bytes:
    """A black PNG of one bit per pixel, all of whose pixels are there."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    if animated:
        extra += _chunk(b"acTL", struct.pack(">II", 1000, 0))
        extra += _chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 1, 0, 0))
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes((width + 7) // 8 + 1)) for _ in range(height)) + packer.flush()
    chunks = _chunk(b"IHDR", head) + extra + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _texts(kind: bytes, between: bytes) -> bytes:
    """63 texts of a mebibyte each: Pillow's own bounds are a mebibyte for one and 64 for all."""
    text = zlib.compress(b"a" * (1 << 20), 9)
    return b"".join(_chunk(kind, b"k%d" % number + between + text) for number in range(63))


def _gif(screen: int, frame: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", screen, screen, 0x80, 0, 0) + _PALETTE
    return head + b"," + struct.pack("<HHHHB", 0, 0, frame, frame, 0) + b"\x02\x02\x4c\x01\0;"


def _tiff(side: int) -> bytes:
    entries = {256: side, 257: side, 258: 1, 259: 5, 262: 1, 273: 8, 277: 1, 278: side, 279: 9}
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + tags + b"\0\0\0\0" + _FEW


def _riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _vp8l(side: int) -> bytes:
    size = struct.pack("<I", (side - 1) | (side - 1) << 14)
    return b"VP8L" + struct.pack("<I", 10) + b"\x2f" + size + b"\x88\x88\x08\0\0"


def _animated_webp(side: int) -> bytes:
    canvas = struct.pack("<I", side - 1)[:3] * 2
    frame = bytes(6) + struct.pack("<I", 9)[:3] * 2 + bytes(4) + _vp8l(10)
    parts = ((b"VP8X", b"\x02\0\0\0" + canvas), (b"ANIM", bytes(6)), (b"ANMF", frame))
    return _riff(b"".join(kind + struct.pack("<I", len(data)) + data for kind, data in parts))


def _patched(format: str, mark: bytes, skip: int, size: bytes, **options: Any) -> bytes:
    """A small picture that Pillow writes, with another size behind a mark of its header."""
    target = io.BytesIO()
    Image.new("RGB", (64, 64)).save(target, format, **options)
    data = bytearray(target.getvalue())
    begin = data.index(mark) + skip
    data[begin : begin + len(size)] = size
    return bytes(data)


def _inside(picture: bytes) -> dict[str, bytes]:
    """Containers that say nothing of a size, or that of an icon."""
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(picture), 22)
    element = b"ic07" + struct.pack(">I", 8 + len(picture)) + picture
    return {
        "ico": b"\0\0\1\0\1\0" + entry + picture,
        "icns": b"icns" + struct.pack(">I", 8 + len(element)) + element,
    }


def bombs() -> dict[str, tuple[bytes, str]]:
    """Name -> picture, and what is said of it."""
    side, large = struct.pack(">I", 16000) * 2, png(20000, 20000)
    zeros = zlib.compress(bytes(50 << 20), 9)
    too_large = {
        "png": png(9000, 9000),
        "png-just-above": png(7072, 7072),
        "apng": png(9000, 9000, animated=True),
        "png-large": large,
        **_inside(large),
        "gif": _gif(65000, 65000),
        "gif-frame": _gif(10, 65000),
        "tiff": _tiff(60000),
        "webp": _riff(_vp8l(16383)),
        "webp-just-above": _riff(_vp8l(7072)),
        "webp-animated": _animated_webp(16383),
        "jpeg": _patched("jpeg", b"\xff\xc0", 5, b"\xff\xff\xff\xff"),
        "jpeg2000": _patched("jpeg2000", b"ihdr", 4, side),
        "j2k": _patched("jpeg2000", b"\xff\x51", 6, side, no_jp2=True),
        "bmp": _patched("bmp", b"\x28\0\0\0", 4, struct.pack("<ii", 60000, 60000)),
        "tga": struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, 65000, 65000, 24, 0) + _FEW,
        "psd": b"8BPS\0\1" + struct.pack(">6xHIIHH", 1, 29000, 29000, 8, 1) + bytes(14) + _FEW,
        "qoi": b"qoif" + struct.pack(">IIBB", 60000, 60000, 3, 0) + _FEW,
        "ppm": b"P4 30000 30000\n" + _FEW,
    }
    texts = {
        "ztxt": png(8, 8, _texts(b"zTXt", b"\0\0")),
        "itxt": png(8, 8, _texts(b"iTXt", b"\0\1\0\0\0")),
        "ztxt-alone": png(8, 8, _chunk(b"zTXt", b"k\0\0" + zeros)),
        "iccp": png(8, 8, _chunk(b"iCCP", b"n\0\0" + zeros)),
    }
    found = {name: (data, TOO_LARGE) for name, data in too_large.items()}
    return found | {name: (data, TEXTS) for name, data in texts.items()}
