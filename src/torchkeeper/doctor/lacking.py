"""What an archive's code imports and lacks; "would not run" is said only of what is sure to be imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from torchkeeper.archive.archive import Archive
from torchkeeper.config.table import Configured
from torchkeeper.doctor.finding import Verdict
from torchkeeper.doctor.imports import Import
from torchkeeper.doctor.source import (
    Reached,
    SourceOutline,
    TooDeep,
    local_modules,
    missing_import,
    reachable,
)
from torchkeeper.handler.left_out import why_left_out
from torchkeeper.wire.advice import bring, required

_Check = tuple[str, Verdict, str]


def examine_imports(
    start: Mapping[Path, str],
    initialized: Path | None,
    folders: Sequence[Path],
    archive: Archive,
    setup: Configured,
) -> Iterator[_Check]:
    """What is wrong with the archive's modules from these on, and what they lack.

    Args:
        start: files, and why each may never be imported; nothing if it is. The first is told of elsewhere.
        initialized: the file whose class the server initialises.
        folders: where the worker looks for modules before all others.
    """
    folder, requirements = archive.model_dir, archive.manifest.requirements_file
    found = reachable(start, folders, initialized)
    for file, reached in list(found.items()):
        if isinstance(reached.source, ValueError) and file != next(iter(start)):
            yield _name(file, folder), *unread(reached.source, reached.doubt)
    listed = required(_text(folder / requirements)) if requirements else set()
    brought = _brought(found)
    for lacking, (wanted, file, doubt) in _lacks(found, folders).items():
        why = f"imports {lacking} (line {wanted.line}), which "
        ours = lacking.split(".")[0] == "ts"
        if wanted.level:
            why = f"imports {lacking} relatively (line {wanted.line}), but is in no package"
        elif ours:
            sentence = why_left_out(lacking) or "neither TorchServe nor torchkeeper has that name"
            why = f"imports {lacking} (line {wanted.line}): {sentence}"
        elif requirements and setup.install_py_dep_per_model:
            yield _name(file, folder), Verdict.WORKS, f"{why}{requirements} must bring"
            continue
        else:
            advice = "" if doubt or brought else f"; {bring(lacking, requirements, listed)}"
            why += f"is neither in the archive nor installed{advice}"
        yield _name(file, folder), *_judged(why, doubt or ("" if wanted.level or ours else brought))


def _name(file: Path, folder: Path) -> str:
    return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()


def unread(error: ValueError, doubt: str = "") -> tuple[Verdict, str]:
    """What becomes of a module whose source cannot be read."""
    return (Verdict.UNKNOWN, str(error)) if isinstance(error, TooDeep) else _judged(str(error), doubt)


def _judged(why: str, doubt: str) -> tuple[Verdict, str]:
    return (Verdict.UNKNOWN, f"{why}; {doubt}") if doubt else (Verdict.BROKEN, why)


def _brought(found: Mapping[Path, Reached]) -> str:
    """What may make modules appear that are not there."""
    for file, reached in found.items():
        source = reached.source
        if isinstance(source, TooDeep):
            return f"{file.name} may bring it ({source})"
        if isinstance(source, SourceOutline) and source.brings:
            return f"{file.name} may bring it ({source.brings})"
    return ""


def _lacks(found: Mapping[Path, Reached], folders: Sequence[Path]) -> dict[str, tuple[Import, Path, str]]:
    """What is missing, with its import, file and doubt; of several imports one that is sure, if any is."""
    missing: dict[str, tuple[Import, Path, str]] = {}
    for file, reached in found.items():
        for wanted, doubt in reached.imports():
            lacking = _lacking(wanted, file, folders)
            if lacking is None or (wanted.instead_of and not _any_lacks(wanted, file, folders)):
                continue
            if lacking not in missing or (missing[lacking][2] and not doubt):
                missing[lacking] = wanted, file, doubt
    return missing


def _any_lacks(wanted: Import, file: Path, folders: Sequence[Path]) -> bool:
    return any(_lacking(one, file, folders) is not None for one in wanted.instead_of)


def _lacking(wanted: Import, file: Path, folders: Sequence[Path]) -> str | None:
    if wanted.level:
        alone = file.parent in folders
        return f"{'.' * wanted.level}{wanted.module}" if alone else None
    if wanted.module.partition(".")[0] != "ts" and any(local_modules(wanted, one)[0] for one in folders):
        return None
    return missing_import(wanted)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
