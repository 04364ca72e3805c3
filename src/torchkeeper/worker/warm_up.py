"""Warm-up: a loaded model answers samples before it is said to be ready, at 1, 2 and batchSize.

What is slow once (allocations, libraries that choose how to compute, a handler's own caches) is paid before
the first request, and a model that cannot answer does not become ready. It counts as loading.
"""

from __future__ import annotations

import itertools
import mimetypes
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from torchkeeper.wire.execution import AS_IT_IS, Execution
from torchkeeper.wire.messages import Failure, Input, Kind, Part, Reply
from torchkeeper.worker.service import Service

#: The folder of an archive whose files are samples where `execution.warmup` names none.
_FOLDER = "warmup"
#: The least status of an answer that says that something is wrong.
_WRONG = 400


class WarmUpFailed(RuntimeError):
    """A sample was not answered; the message has its file and the cause."""


@dataclass(frozen=True)
class SampleFile:
    """A request's body, as a client would send it."""

    name: str
    content: bytes
    content_type: str | None

    def request(self) -> Input:
        """A request with this body."""
        headers = {"Content-Type": self.content_type} if self.content_type else {}
        part = Part("body", self.content, self.content_type)
        return Input(str(uuid.uuid4()), Kind.PREDICT, (part,), headers)


def samples(wanted: Execution, model_dir: Path, *, needed: bool = False) -> list[SampleFile]:
    """The samples that an archive brings; none where nobody asks for variants, nor `needed` them.

    Raises:
        OSError: one cannot be read.
    """
    return [
        SampleFile(path.name, path.read_bytes(), mimetypes.guess_type(path.name)[0])
        for path in _files(wanted, model_dir, needed=needed)
    ]


def _files(wanted: Execution, model_dir: Path, *, needed: bool) -> list[Path]:
    if wanted.warmup:
        return [model_dir / name for name in wanted.warmup]
    folder = model_dir / _FOLDER
    if (wanted == AS_IT_IS and not needed) or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def sizes_to(batch_size: int) -> list[int]:
    """The sizes of batches that are to be warm."""
    return sorted({1, min(2, batch_size), batch_size})


def warm(service: Service, given: Sequence[SampleFile], batch_size: int) -> None:
    """Has the whole handler answer the samples, each alone and then in batches; what it records is forgotten.

    Raises:
        WarmUpFailed: an answer is a failure.
    """
    with service.forgetting():
        for sample in given:
            answered(service, (sample,))
        for size in sizes_to(batch_size)[1:]:
            answered(service, tuple(itertools.islice(itertools.cycle(given), size)))


def rehearse(service: Service, given: Sequence[SampleFile], batch_size: int, key: str) -> None:
    """Has the handler answer two samples together (one where batches are of one), for others to look on.

    Args:
        key: of `execution`, which needs them.

    Raises:
        WarmUpFailed: there is none, or it was not answered.
    """
    if not given:
        raise WarmUpFailed(
            f"execution.{key} needs a sample: name files of the archive in execution.warmup, or put some "
            f"into its folder {_FOLDER}"
        )
    with service.forgetting():
        answered(service, tuple(itertools.islice(itertools.cycle(given), min(2, batch_size))))


def answered(service: Service, batch: Sequence[SampleFile]) -> list[Reply]:
    """What the whole handler answers to samples together, the parts of each answer joined.

    Raises:
        WarmUpFailed: an answer is a failure.
    """
    audience = Audience(len(batch))
    outcomes = service.predict([sample.request() for sample in batch], audience)
    replies = []
    for sample, outcome, parts in zip(batch, outcomes, audience.parts, strict=True):
        if isinstance(outcome, Failure) or outcome.status >= _WRONG:
            size = "alone" if len(batch) == 1 else f"in a batch of {len(batch)}"
            raise WarmUpFailed(f"warm-up with {sample.name}, {size}, failed: {_fault(outcome)}")
        replies.append(msgspec.structs.replace(outcome, body=b"".join((*parts, outcome.body))))
    return replies


def _fault(outcome: Reply | Failure) -> str:
    if isinstance(outcome, Failure):
        return outcome.cause or outcome.message
    return f"it was answered with {outcome.status}"


class Audience:
    """Where parts of answers go: they are kept; and nobody leaves."""

    def __init__(self, size: int) -> None:
        self.parts: list[list[bytes]] = [[] for _ in range(size)]

    def send(self, parts: Sequence[Reply | None]) -> None:
        for kept, part in zip(self.parts, parts, strict=True):
            if part is not None:
                kept.append(part.body)

    def gone(self) -> Collection[int]:
        return ()
