"""What a batch of n requests takes: `a + b n` seconds, learned from the batches that were answered. Pure."""

from __future__ import annotations

#: Weight of the newest batch in its size's running mean.
NEWEST = 0.1
#: A batch counts as at most so many times the mean of its size: one that was held up says little.
MOST = 2.0
#: Batches of a new worker that are left out: the first ones fill caches and choose algorithms.
FIRST = 2
#: The weight that is left of what was learned from a size, after each batch of another size.
FADE = 0.995


class Mean:
    """What batches take whose sizes are about the same: running means of their sizes and seconds."""

    __slots__ = ("count", "seconds", "weight")

    def __init__(self, count: float, seconds: float) -> None:
        self.count, self.seconds, self.weight = count, seconds, 1.0

    def took(self, count: int, seconds: float) -> None:
        """One more of them."""
        newest = max(NEWEST, 1.0 / (self.weight + 1.0))
        self.count += newest * (count - self.count)
        self.seconds += newest * (min(seconds, MOST * self.seconds) - self.seconds)
        self.weight = min(self.weight + 1.0, 1.0 / NEWEST)


class Costs:
    """A line through the mean of each size, by powers of two; older means count less.

    As long as only one size was seen, all of its time counts as fixed: that has a policy try others.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, Mean] = {}
        self._left_out: dict[int, int] = {}
        #: Seconds of any batch, and of each request in it.
        self.a, self.b = 0.0, 0.0

    def took(self, worker_id: int, count: int, seconds: float) -> None:
        """A worker computed a batch for so long."""
        left_out = self._left_out.get(worker_id, 0)
        if left_out < FIRST:
            self._left_out[worker_id] = left_out + 1
            return
        for mean in self._sizes.values():
            mean.weight *= FADE
        # Half octaves: 1, 2, 3, 4, 6, 8, 12 … begin one each.
        octave = count.bit_length() - 1
        key = 2 * octave + (2 * count >= 3 << octave)
        if key in self._sizes:
            self._sizes[key].took(count, seconds)
        else:
            self._sizes[key] = Mean(count, seconds)
        self._fit()

    def lost(self, worker_id: int) -> None:
        """A worker is gone; one that comes in its place is new."""
        self._left_out.pop(worker_id, None)

    @property
    def known(self) -> bool:
        """Whether anything was learned."""
        return bool(self._sizes)

    def seconds(self, count: float) -> float:
        """What a batch of so many takes."""
        return self.a + self.b * count

    def _fit(self) -> None:
        total = mean_n = mean_s = 0.0
        for mean in self._sizes.values():
            total += mean.weight
            mean_n += mean.weight * mean.count
            mean_s += mean.weight * mean.seconds
        mean_n /= total
        mean_s /= total
        covariance = variance = 0.0
        for mean in self._sizes.values():
            off = mean.count - mean_n
            covariance += mean.weight * off * (mean.seconds - mean_s)
            variance += mean.weight * off * off
        slope = covariance / variance if variance > 1e-9 else 0.0
        # Neither part can be negative; a batch of none costs nothing less than nothing.
        self.b = min(max(slope, 0.0), mean_s / mean_n)
        self.a = max(mean_s - self.b * mean_n, 0.0)
