"""What becomes of the requests of a lost worker. Pure."""

from __future__ import annotations

import enum
import logging

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


def tell(fate: Fate, entry: Entry, worker: Worker) -> None:
    """Says in the log what becomes of a request."""
    request_id = entry.input.request_id
    known = {**worker.known, "request_id": request_id}
    logger.warning("%s was lost: request %s %s", worker.name, request_id, fate.value, extra=known)
