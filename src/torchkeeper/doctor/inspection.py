"""`torchkeeper inspect`: what is in an archive, told without running, importing or unpickling any of it."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torchkeeper.archive.archive import open_archive
from torchkeeper.archive.signatures import SignatureState, Verifier, beside, claimed_signer
from torchkeeper.config.table import Configured
from torchkeeper.doctor.pickles import PickleKind, pickled_names, scan_file
from torchkeeper.errors import ArchiveError, SettingsError
from torchkeeper.handler.formats import CODE, ENGINES

#: Bytes of a source that is parsed: a syntax tree takes many times as much memory.
_LONGEST_SOURCE = 1 << 20


@dataclass(frozen=True)
class InspectedFile:
    """A file of an archive."""

    name: str
    size: int
    sha256: str
    #: What is to be known of it; mostly nothing.
    note: str = ""
    #: The modules that a source imports anywhere.
    imports: tuple[str, ...] = ()
    #: What its pickles name to be imported or called.
    pickled: tuple[str, ...] = ()
    #: Of these, what weights_only refuses.
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """An archive: itself, its manifest, its files."""

    name: str
    #: None for a folder.
    size: int | None
    sha256: str | None
    manifest: dict[str, Any]
    files: tuple[InspectedFile, ...]
    #: What its signature says.
    signature: str
    #: Whether one of the keys that were named has signed it; None if none was named.
    verified: bool | None

    def as_json(self) -> str:
        """All of it, for programs."""
        return json.dumps(asdict(self), indent=2)

    def lines(self) -> Iterator[str]:
        """All of it, for people."""
        yield _shown(self.name) + (f"  {self.size} bytes  sha256 {self.sha256}" if self.sha256 else "")
        yield f"signature: {_shown(self.signature)}"
        yield "manifest" if self.manifest else "no manifest"
        for key, value in _flat(self.manifest):
            yield f"  {_shown(key)}: {json.dumps(value)}"
        yield "files"
        width = max((len(str(file.size)) for file in self.files), default=0)
        for file in self.files:
            yield f"  {file.sha256}  {file.size:>{width}}  {_shown(file.name)}"
            if file.note:
                yield f"    {_shown(file.note)}"
            if file.imports:
                yield f"    imports {_shown(', '.join(file.imports))}"
            for name in file.pickled:
                refused = " (weights_only refuses it)" if name in file.refused else ""
                yield f"    its pickle names {_shown(name)}{refused}"


def run(path: Path, keys: tuple[Path, ...] = (), *, as_json: bool) -> int:
    """The command: prints what is in an archive, or why it cannot be read; returns the exit code.

    With `keys`, public ones in PEM files, it is 1 also if none of them has signed it.
    """
    with tempfile.TemporaryDirectory(prefix="torchkeeper-inspect-") as scratch:
        try:
            found = inspect_archive(path, Path(scratch) / "archive", keys)
        except (ArchiveError, SettingsError, OSError) as error:
            print(f"torchkeeper inspect: error: {error}", file=sys.stderr)
            return 1
    print(found.as_json() if as_json else "\n".join(found.lines()))
    return int(found.verified is False)


def inspect_archive(path: Path, scratch: Path, keys: tuple[Path, ...] = ()) -> Inspection:
    """What is in an archive; a packed one is unpacked into the new folder `scratch`, and left there.

    Raises:
        ArchiveError: the server would not read it either.
        SettingsError: a key cannot be read, or model-signing is not there.
    """
    signature, verified = _signature(path, keys)
    archive = open_archive(path, scratch)
    packed = path.is_file()
    files = sorted(each for each in archive.model_dir.rglob("*") if each.is_file())
    return Inspection(
        path.name,
        path.stat().st_size if packed else None,
        _digest(path) if packed else None,
        archive.raw_manifest,
        tuple(_inspected(each, each.relative_to(archive.model_dir).as_posix()) for each in files),
        signature,
        verified,
    )


def _signature(path: Path, keys: tuple[Path, ...]) -> tuple[str, bool | None]:
    """What the signature of an archive says, and whether one of the keys has made it, if some are named."""
    found = beside(path)
    if keys:
        verifier = Verifier(Configured(verify_models="warn", verify_public_keys=keys))
        verifier.prepare()
        judged = verifier.judge(path, found)
        return f"{judged.state}: {judged.told}", judged.state is SignatureState.VERIFIED
    if found is None:
        return "none", None
    return f"{found.name} says it is of {claimed_signer(found)}; --public-key checks it", None


def _inspected(path: Path, name: str) -> InspectedFile:
    size, digest = path.stat().st_size, _digest(path)
    if path.suffix == ".py":
        try:
            return InspectedFile(name, size, digest, imports=_imports(path))
        except ValueError as error:
            return InspectedFile(name, size, digest, f"its imports are not told: {error}")
    if path.suffix in CODE:
        return InspectedFile(name, size, digest, f"code: {CODE[path.suffix]}")
    if path.suffix in ENGINES:
        return InspectedFile(name, size, digest, "code: it is a TensorRT engine")
    pickled = pickled_names(path)
    if pickled is None:
        return InspectedFile(name, size, digest)
    note = "code: TorchScript" if scan_file(path).kind is PickleKind.TORCHSCRIPT else ""
    note = "; ".join(part for part in (note, pickled.beyond) if part)
    return InspectedFile(name, size, digest, note, pickled=pickled.names, refused=pickled.refused)


def _imports(path: Path) -> tuple[str, ...]:
    """The modules that a source imports, wherever it does.

    Raises:
        ValueError: it cannot be told.
    """
    if path.stat().st_size > _LONGEST_SOURCE:
        raise ValueError(f"it has more than {_LONGEST_SOURCE} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nodes = tuple(ast.walk(ast.parse(path.read_bytes())))
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise ValueError("its code nests too deeply") from None
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {"." * node.level + (node.module or "") for node in nodes if isinstance(node, ast.ImportFrom)}
    return tuple(sorted(found))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flat(value: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested objects, by their paths."""
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _flat(inner, f"{before}{key}.")
        else:
            yield before + key, inner


def _shown(text: str) -> str:
    """A text of the archive's for a terminal, which some characters would tell what to do."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
