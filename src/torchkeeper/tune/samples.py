"""The requests that a model is tuned with: files, as their senders would send them."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchkeeper.tune.refusal import TuneRefused

#: Bytes of all samples together, which are kept in memory.
_MOST = 1 << 30
#: Samples that go into an archive's folder `warmup`: each is answered alone there before a worker is ready.
WARMUP = 16


@dataclass(frozen=True)
class TuneSample:
    """A request's body."""

    name: str
    content: bytes
    content_type: str | None

    @property
    def warmup_name(self) -> str | None:
        """Its file's name in an archive, from which a warm-up has its content type; None: no name says it."""
        if self.content_type in (None, mimetypes.guess_type(self.name)[0]):
            return self.name
        ending = mimetypes.guess_extension(self.content_type or "")
        return f"{self.name}{ending}" if ending else None


def read_samples(texts: Iterable[str]) -> tuple[TuneSample, ...]:
    """The samples that `--sample FILE[:content-type]` name; a folder stands for its files.

    Raises:
        TuneRefused: one cannot be read, or they are too large.
    """
    found = []
    size = 0
    for text in texts:
        for path, content_type in _files(text):
            try:
                content = path.read_bytes()
            except OSError as error:
                raise TuneRefused(f"--sample {text}: {path} cannot be read: {error.strerror}") from None
            if (size := size + len(content)) > _MOST:
                raise TuneRefused(f"--sample: all samples have more than {_MOST >> 30} GB together")
            guessed = content_type or mimetypes.guess_type(path.name)[0]
            found.append(TuneSample(path.name, content, guessed))
    if not found:
        raise TuneRefused("--sample names no file: without requests nothing can be measured")
    return tuple(found)


def _files(text: str) -> Iterator[tuple[Path, str | None]]:
    path, content_type = Path(text), None
    if not path.exists():
        name, colon, after = text.rpartition(":")
        if colon and "/" in after and Path(name).exists():
            path, content_type = Path(name), after
        else:
            raise TuneRefused(f"--sample {text}: there is no such file")
    inside = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
    yield from ((one, content_type) for one in inside if path.is_file() or not one.name.startswith("."))


def digest_of(samples: Sequence[TuneSample]) -> str:
    """The SHA-256 of all samples and their types, in order."""
    sum_ = hashlib.sha256()
    for sample in samples:
        sum_.update(f"{sample.content_type} {len(sample.content)}\n".encode())
        sum_.update(sample.content)
    return sum_.hexdigest()


def warmup_files(samples: Sequence[TuneSample]) -> dict[str, bytes]:
    """Names and contents of an archive's folder `warmup`; none where no name would say the content type."""
    found: dict[str, bytes] = {}
    for sample in samples:
        name = sample.warmup_name
        if name is None or len(found) == WARMUP:
            continue
        found[f"{len(found):02}-{name}" if name in found else name] = sample.content
    return found
