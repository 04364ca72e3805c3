"""Which requests of a lost worker are sent again. Pure."""

from __future__ import annotations

from torchkeeper.engine.queue import Entry
from torchkeeper.pool.worker import Loss


def is_sent_again(entry: Entry, loss: Loss, *, allowed: bool, anybody: bool) -> bool:
    """Whether a request that ran on a worker when it was lost is tried once more, alone.

    A hang has cost the client a whole response timeout already; sending it again would cost another. Of a
    streamed answer the client has seen a part.

    Args:
        allowed: the model's retryOnWorkerDeath.
        anybody: whether there is, or will be, a worker to send it to.
    """
    return allowed and anybody and not loss.timed_out and not entry.retried and entry.stream is None
