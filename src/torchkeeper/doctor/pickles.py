"""Whether `torch.load(weights_only=True)` would read a file, told from its bytes; nothing is unpickled.

Must not import torch. Source of what is allowed: torch's weights-only unpickler; a test compares the two.
"""

from __future__ import annotations

import enum
import os
import pickletools
import re
import tarfile
import zipfile
import zlib
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from torchkeeper.handler.formats import SAFE

#: What torch.save wrote before zip files: this number, a version, facts of the system, the object, its keys.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PICKLES = 5
#: How pickles of protocol 2 and later begin.
_PROTO = b"\x80"
#: What reading a damaged zip file raises; RuntimeError: it is encrypted, ValueError: a name is no UTF-8.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
#: Bytes that are read of a file's pickles.
MAX_PICKLE = 64 << 20
_OPCODES = frozenset(
    (
        *("GLOBAL", "NEWOBJ", "REDUCE", "BUILD", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "MARK"),
        *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "NONE", "NEWFALSE", "NEWTRUE", "EMPTY_TUPLE", "EMPTY_LIST"),
        *("EMPTY_DICT", "EMPTY_SET", "BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "LONG1"),
        *("SHORT_BINSTRING", "BINPERSID", "BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT", "PROTO", "STOP"),
    )
)
_KINDS = "BFloat16|Bool|Byte|Char|ComplexDouble|ComplexFloat|Double|Float|Half|Int|Long|Short"
_ALLOWED = re.compile(
    r"collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(bytearray|set|complex)"
    r"|torch\.(Size|Tensor|device|nn\.parameter\.Parameter|serialization\._get_layout)"
    r"|torch\.storage\.(Typed|Untyped)Storage|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\._utils\._rebuild_(parameter(_with_state)?|qtensor|tensor(_v[23])?|sparse_tensor|nested_tensor"
    r"|meta_tensor_no_storage|wrapper_subclass|device_tensor_from_(numpy|cpu_tensor))"
    rf"|torch\.(cuda\.)?({_KINDS})Storage|torch\.(QInt32|QInt8|QUInt8|QUInt2x4|QUInt4x2)Storage"
    rf"|torch\.(cuda\.)?(sparse\.)?({_KINDS})Tensor"
    r"|torch\.(bool|u?int[1-9]\d?|complex(32|64|128)|bfloat16|float(16|32|64|[48]_\w+)|q?u?int(8|32)"
    r"|quint(2x4|4x2)|bits(8|16|1x8|2x4|4x2))"
    r"|torch\.per_(tensor|channel)_(affine|symmetric)|torch\.per_channel_affine_float_qparams"
)


class Bounded:
    """A file of which no more is read than pickles of models have: one may stand for gigabytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = MAX_PICKLE

    def read(self, size: int) -> bytes:
        """As the file's, within the bound.

        Raises:
            ValueError: that is beyond it.
        """
        self._left -= size
        if self._left < 0:
            raise ValueError(f"it has more than {MAX_PICKLE} bytes")
        return self._file.read(size)

    def readline(self) -> bytes:
        """A line, within the bound."""
        line = self._file.readline(self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise ValueError(f"it has more than {MAX_PICKLE} bytes")
        return line


class PickleKind(enum.Enum):
    """What a file is."""

    WEIGHTS = "weights"
    TORCHSCRIPT = "TorchScript"
    REFUSED = "a pickle that weights_only refuses"
    OTHER = "something else"


@dataclass(frozen=True)
class Scan:
    """What a file is; for a refused one, why."""

    kind: PickleKind
    why: str = ""
    #: What it holds that weights_only refuses.
    refused: tuple[str, ...] = ()


def scan_file(path: Path) -> Scan:
    """Looks at a file that may be torch.save's."""
    if path.suffix == SAFE:
        return Scan(PickleKind.WEIGHTS)
    try:
        if zipfile.is_zipfile(path):
            return _scan_zip(path)
        if tarfile.is_tarfile(path):
            return Scan(PickleKind.REFUSED, "it has torch.save's oldest form, a tar file")
        with path.open("rb") as file:
            return _scan_legacy(Bounded(file))
    except (OSError, *_DAMAGED) as error:
        return Scan(PickleKind.OTHER, f"it cannot be read: {error}")


def _scan_zip(path: Path) -> Scan:
    with zipfile.ZipFile(path) as archive:
        names = {name.rpartition("/")[2]: name for name in archive.namelist()}
        if "constants.pkl" in names:
            return Scan(PickleKind.TORCHSCRIPT)
        if "data.pkl" not in names:
            return Scan(PickleKind.OTHER)
        with archive.open(names["data.pkl"]) as file:
            try:
                reasons = refusals(Bounded(file))
            except ValueError as error:
                return Scan(PickleKind.OTHER, f"its data.pkl is damaged: {error}")
    return _judged(reasons)


def _scan_legacy(file: Bounded) -> Scan:
    try:
        first = list(pickletools.genops(cast("IO[bytes]", file)))
    except (ValueError, IndexError, OverflowError, UnicodeDecodeError):
        return Scan(PickleKind.OTHER)
    if _LEGACY_MAGIC not in [argument for _, argument, _ in first]:
        return Scan(PickleKind.OTHER)
    reasons: list[str] = []
    try:
        for _ in range(_LEGACY_PICKLES - 1):
            reasons += refusals(file)
    except ValueError as error:
        return Scan(PickleKind.OTHER, f"it is damaged: {error}")
    return _judged(reasons)


def _judged(reasons: list[str]) -> Scan:
    if not reasons:
        return Scan(PickleKind.WEIGHTS)
    refused = tuple(dict.fromkeys(reasons))
    return Scan(PickleKind.REFUSED, "it holds " + ", ".join(refused), refused)


@dataclass(frozen=True)
class Pickled:
    """What a file's pickles name to be imported, and perhaps called, when they are loaded."""

    names: tuple[str, ...]
    #: Those that weights_only refuses.
    refused: tuple[str, ...]
    #: Why there may be more; nothing if that is all.
    beyond: str = ""


def pickled_names(path: Path) -> Pickled | None:
    """What the pickles in a file name; None if it holds none. Nothing is unpickled."""
    found: list[str] = []
    beyond = ""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inner = [name for name in archive.namelist() if name.endswith(".pkl")]
                for name in inner:
                    with archive.open(name) as file:
                        _take_names(Bounded(file), found)
            if not inner:
                return None
        else:
            with path.open("rb") as raw:
                if raw.read(1) != _PROTO:
                    return None
                beyond = _take_names_in_row(raw, found)
    except (OSError, *_DAMAGED) as error:
        beyond = f"it cannot be read to its end: {error}"
    names = tuple(dict.fromkeys(found))
    return Pickled(names, tuple(name for name in names if not _ALLOWED.fullmatch(name)), beyond)


def _take_names(file: Bounded, found: list[str]) -> None:
    for _, called in _globals_and_opcodes(file):
        if called is not None:
            found.append(called)


def _take_names_in_row(raw: IO[bytes], found: list[str]) -> str:
    """Takes the names of pickles in a row; returns what is to be said of what stands behind them."""
    size, file = raw.seek(0, os.SEEK_END), Bounded(raw)
    raw.seek(0)
    while (begin := raw.tell()) < size:
        try:
            _take_names(file, found)
        except ValueError as error:
            return f"from byte {begin} on it is no pickle: {error}"
    return ""


def refusals(file: Bounded) -> list[str]:
    """What the weights-only unpickler would not take of one pickle, in order.

    Raises:
        ValueError: it is no pickle.
    """
    found = []
    for name, called in _globals_and_opcodes(file):
        if called is not None and not _ALLOWED.fullmatch(called):
            found.append(called)
        elif called is None and name not in _OPCODES:
            found.append(f"pickle's {name}")
    return found


def _globals_and_opcodes(file: Bounded) -> Iterator[tuple[str, str | None]]:
    """Each opcode's name, and what it names if it names something to be imported."""
    texts: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(cast("IO[bytes]", file)):
            if opcode.name in ("GLOBAL", "INST"):
                module, _, name = str(argument).partition(" ")
                yield opcode.name, _modern(module, name)
            elif opcode.name == "STACK_GLOBAL":
                yield opcode.name, None
                yield opcode.name, ".".join(texts[-2:])
            else:
                yield opcode.name, None
            if isinstance(argument, str):
                texts.append(argument)
    except (IndexError, OverflowError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


def _modern(module: str, name: str) -> str:
    """The name that Python 3 has for something of Python 2, as torch looks it up."""
    if (module, name) in NAME_MAPPING:
        module, name = NAME_MAPPING[module, name]
    return f"{IMPORT_MAPPING.get(module, module)}.{name}"
