"""Whether `torch.load(weights_only=True)` would read a file, told from its bytes; nothing is unpickled.

Must not import torch. Source of what is allowed: torch's weights-only unpickler; a test compares the two.
"""

from __future__ import annotations

import enum
import pickletools
import re
import tarfile
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

#: What torch.save wrote before zip files: this number, a version, facts of the system, the object, its keys.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PICKLES = 5
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
    if path.suffix == ".safetensors":
        return Scan(PickleKind.WEIGHTS)
    try:
        if zipfile.is_zipfile(path):
            return _scan_zip(path)
        if tarfile.is_tarfile(path):
            return Scan(PickleKind.REFUSED, "it has torch.save's oldest form, a tar file")
        with path.open("rb") as file:
            return _scan_legacy(file)
    except (OSError, zipfile.BadZipFile) as error:
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
                reasons = refusals(file)
            except ValueError as error:
                return Scan(PickleKind.OTHER, f"its data.pkl is damaged: {error}")
    return _judged(reasons)


def _scan_legacy(file: IO[bytes]) -> Scan:
    try:
        first = list(pickletools.genops(file))
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


def refusals(file: IO[bytes]) -> list[str]:
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


def _globals_and_opcodes(file: IO[bytes]) -> Iterator[tuple[str, str | None]]:
    """Each opcode's name, and what it names if it names something to be imported."""
    texts: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(file):
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
