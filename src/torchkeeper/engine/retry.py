"""What becomes of the requests of a lost worker."""

from __future__ import annotations

import enum
import logging
from collections.abc import Sequence

from torchkeeper.engine.queue import Entry
from torchkeeper.pool.worker import Loss, Worker

logger = logging.getLogger(__name__)


class Fate(enum.Enum):
    """What becomes of a request that ran on a worker when it was lost."""

    AGAIN = "is sent again"
    FAILS = "fails"
    QUARANTINED = "fails and is quarantined"


def fate_of(entry: Entry, loss: Loss, *, allowed: bool, anybody: bool) -> Fate:
    """A request is tried once more, alone; if both workers crashed, it is the culprit.

    A hang has cost the client a whole response timeout already; sending it again would cost another. Of a
    streamed answer the client has seen a part. Who is killed from outside, or by the kernel for its memory,
    may have been with anybody.

    Args:
        allowed: the model's retryOnWorkerDeath.
        anybody: whether there is, or will be, a worker to send it to.
    """
    if entry.retried:
        return Fate.QUARANTINED if entry.crashed and loss.crashed else Fate.FAILS
    return Fate.AGAIN if allowed and anybody and not loss.timed_out and entry.stream is None else Fate.FAILS


def decided(
    worker: Worker, entries: Sequence[Entry], loss: Loss, *, allowed: bool, anybody: bool
) -> dict[Fate, list[Entry]]:
    """The same for all that ran on a worker and whose clients wait; the log tells of each.

    Those that are sent again may be: they know that this worker had them. Arguments are as above.
    """
    fates: dict[Fate, list[Entry]] = {fate: [] for fate in Fate}
    for entry in entries:
        if entry.gone:
            continue
        fate = fate_of(entry, loss, allowed=allowed, anybody=anybody)
        _tell(fate, entry, worker)
        if fate is Fate.AGAIN:
            entry.begin_again(crashed=loss.crashed)
        fates[fate].append(entry)
    return fates


def _tell(fate: Fate, entry: Entry, worker: Worker) -> None:
    request_id = entry.input.request_id
    known = {**worker.known, "request_id": request_id}
    logger.warning("%s was lost: request %s %s", worker.name, request_id, fate.value, extra=known)
