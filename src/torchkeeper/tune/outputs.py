"""What a run leaves behind: results, report, settings and, if asked for, the archive written anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torchkeeper.tune.candidates import is_compiled
from torchkeeper.tune.choosing import Standing
from torchkeeper.tune.page import PAGE, page
from torchkeeper.tune.repacking import TunedArchive, digest_of_file, write_tuned
from torchkeeper.tune.results import FILE, TuneResults, Winner, save, write_whole
from torchkeeper.tune.tuned_file import tuned_for, tuned_text
from torchkeeper.tune.verdict import Conclusion

_NEEDS_SAMPLES = (
    "Compiling needs samples in the archive, which has none: tune --write brings them into it, and --resume "
    "measures nothing anew"
)


@dataclass(frozen=True)
class Outputs:
    """Where what goes."""

    folder: Path
    #: The settings' file.
    config: Path
    source: TunedArchive
    warmup: Mapping[str, bytes]
    #: Whether the archive is to be written anew.
    write: bool


def write_outputs(where: Outputs, results: TuneResults, conclusion: Conclusion) -> list[str]:
    """Writes what there is to write; returns sentences about it.

    Raises:
        OSError: something cannot be written.
    """
    standing = conclusion.standing
    if standing is not None:
        results.winner = Winner(standing.candidate, tuple(conclusion.told))
    save(results, where.folder)
    write_whole(where.folder / PAGE, page(results, conclusion.told).encode())
    said = [f"{where.folder / FILE} and {PAGE} there have all that was measured"]
    if standing is None:
        return said
    config = standing.candidate.config()
    head = [*conclusion.told]
    if is_compiled(standing.candidate.execution) and not where.source.brings_samples and not where.write:
        head.append(_NEEDS_SAMPLES)
        said.append(_NEEDS_SAMPLES)
    keys = {**where.source.with_warmup(config), "tunedFor": tuned_for(results.subject)}
    write_whole(where.config, tuned_text(results, standing, keys, head).encode())
    model = where.source.model_name
    said.append(f"{where.config} has the settings: torchserve --model-config {model}={where.config}")
    return said + (_into_the_archive(where, results, standing, head) if where.write else [])


def _into_the_archive(where: Outputs, results: TuneResults, standing: Standing, head: list[str]) -> list[str]:
    """Writes settings and samples into the archive itself, where it still is the one that was measured."""
    source = where.source
    if digest_of_file(source.path) != source.digest:
        return [f"{source.path} was changed meanwhile, and so is left as it is"]
    keys = {**source.merged(standing.candidate.config()), "tunedFor": tuned_for(results.subject)}
    mode = source.path.stat().st_mode
    place = source.path.resolve()  # a link stays one
    write_tuned(source, place, tuned_text(results, standing, keys, head), where.warmup, packed=True)
    source.path.chmod(mode & 0o7777)
    said = [
        f"{source.path} has the settings and {len(where.warmup)} samples in warmup/; its sha256 was "
        f"{source.digest} and is {digest_of_file(source.path)}"
    ]
    if source.signature is not None:
        said.append(f"{source.signature} was made for the archive as it was: it is to be signed again")
    return said
