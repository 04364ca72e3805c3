"""How many requests a batch may have on a device whose memory once did not suffice for more. Pure.

What filled the memory may be gone later: another model, another process, longer rows than usual. So the bound
rises again by itself, carefully, for a batch that does not fit costs the time of running it again in halves.
"""

from __future__ import annotations

#: Full batches that must fit, one after the other, before a larger one is tried.
PATIENCE = 50
#: And most of them, after larger ones have not fitted again and again.
MOST_PATIENCE = 3200


class BatchBound:
    """The bound of one device; it grows by 1, 2, 4 ... while what is tried fits, and waits longer if not.

    Args:
        most: requests for which the memory suffices, as far as is known.
        batch_size: the model's own bound.
    """

    def __init__(self, most: int, batch_size: int) -> None:
        self.most = most
        self._batch_size = batch_size
        self._patience = PATIENCE
        self._step = 1
        self._fitted = 0

    def failed(self, most: int) -> bool:
        """The memory did not suffice, but for `most` requests; whether the bound is lower now."""
        self._fitted = 0
        if most >= self.most:
            return False
        self.most = most
        if self._step > 1:  # it had been raised
            self._patience = min(2 * self._patience, MOST_PATIENCE)
            self._step = 1
        return True

    def fitted(self, count: int) -> bool:
        """A batch of `count` has fitted; whether the bound is higher now. Only full ones say anything."""
        if count < self.most or self.most >= self._batch_size:
            return False
        self._fitted += 1
        if self._fitted < self._patience:
            return False
        self.most = min(self.most + self._step, self._batch_size)
        self._step *= 2
        self._fitted = 0
        return True
