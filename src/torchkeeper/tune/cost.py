"""What a batch of n costs a worker: a + b n seconds, fitted to what was measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class BatchCost(msgspec.Struct, frozen=True):
    """Seconds of a batch of n: `fixed` + `per_row` n."""

    fixed: float
    per_row: float

    def of(self, rows: float) -> float:
        """Seconds of a batch with so many rows."""
        return self.fixed + self.per_row * rows

    def rate(self, rows: float, workers: int = 1) -> float:
        """Rows a second of workers that are never idle, in batches of so many."""
        seconds = self.of(rows)
        return workers * rows / seconds if seconds > 0 else 0.0


def fitted(points: Sequence[tuple[float, float]]) -> BatchCost:
    """The line through (rows, seconds), each point weighed by its own size; neither part is negative.

    Raises:
        ValueError: there is no point.
    """
    if not points:
        raise ValueError("no batch was measured")
    weights = [1 / seconds**2 if seconds > 0 else 0.0 for _, seconds in points]
    total = sum(weights)
    if not total:
        return BatchCost(0.0, 0.0)

    def mean(values: Sequence[float]) -> float:
        return sum(weight * value for weight, value in zip(weights, values, strict=True)) / total

    rows, seconds = [point[0] for point in points], [point[1] for point in points]
    centre, height = mean(rows), mean(seconds)
    variance = mean([(value - centre) ** 2 for value in rows])
    if not variance:
        return BatchCost(0.0, height / centre)
    shared = mean([(row - centre) * (second - height) for row, second in points])
    slope = shared / variance
    if slope < 0:
        return BatchCost(height, 0.0)
    if height - slope * centre < 0:
        return BatchCost(0.0, mean([r * s for r, s in points]) / mean([r * r for r in rows]))
    return BatchCost(height - slope * centre, slope)
