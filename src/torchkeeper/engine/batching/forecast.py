"""How many requests will come, and when. Pure; times are seconds.

Two views of those who ask: clients of which each comes back after its answer (`Returns`), and a crowd of
which nobody knows anything but how many come per second. Which one holds is learned from what came: the
forecast is the even stream, and on top of it as much of what the returns foresee as lately came true.
"""

from __future__ import annotations

from collections import deque

from torchkeeper.engine.batching.returns import Returns

#: Batches over which the rate is measured.
LAST = 16
#: The part of the older experience that is left after a forecast was looked at.
KEPT = 0.8
#: What one forecast can say, however wrong it was.
WORST, BEST = -1.0, 2.0
#: Forecasts that have failed before the first one: at first an even stream is expected.
DOUBT = 2.0


class Forecast:
    """What is expected of those who ask, and how far that came true."""

    def __init__(self) -> None:
        self._returns = Returns()
        #: When the last batches were answered, and requests answered until then in all.
        self._answers: deque[tuple[float, int]] = deque(maxlen=LAST)
        self._answered = 0
        self._arrived = 0
        #: Of a forecast: until when, arrivals before it, whom it foresaw beyond the even stream, and in it.
        self._said: tuple[float, int, float, float] | None = None
        self._came_true, self._weighed = 0.0, DOUBT

    def arrived(self, now: float) -> None:
        """Somebody asks."""
        self._look_back(now)
        self._arrived += 1
        self._returns.arrived(now)

    def answered(self, count: int, now: float) -> None:
        """So many have their answers."""
        self._returns.answered(count, now)
        self._answered += count
        self._answers.append((now, self._answered))

    @property
    def trust(self) -> float:
        """The part of what returns foresee beyond the even stream that came true lately: from 0 to 1."""
        return min(max(self._came_true / self._weighed, 0.0), 1.0)

    def rate(self, now: float) -> float:
        """Requests answered per second, lately; 0: nobody knows."""
        if len(self._answers) < 3 or now <= self._answers[0][0]:
            return 0.0
        moment, answered = self._answers[0]
        return (self._answered - answered) / (now - moment)

    def expected(self, now: float, longest: float) -> list[tuple[float, float]]:
        """How many will ask within how many seconds from now: growing pairs, up to `longest`."""
        self._look_back(now)
        if not self._returns.away:
            return []
        rate, trust = self.rate(now), self.trust
        most, foreseen = 0.0, []
        for seconds, number in self._returns.expected(now, longest):
            even = rate * seconds
            beyond = number - even
            if beyond > most and self._said is None:
                most, said = beyond, (now + seconds, self._arrived, beyond, even)
            foreseen.append((seconds, even + trust * beyond))
        if most > 0.0:
            self._said = said
        return foreseen

    def _look_back(self, now: float) -> None:
        """How far the last forecast came true, once its time is over; before any further arrival."""
        if self._said is None or now < self._said[0]:
            return
        _, arrived, beyond, even = self._said
        self._said = None
        came = (self._arrived - arrived - even) / beyond
        # An even stream varies by the root of its number: what is foreseen beyond that says most.
        weight = beyond * beyond / (beyond * beyond + even)
        self._came_true = KEPT * self._came_true + weight * min(max(came, WORST), BEST)
        self._weighed = KEPT * self._weighed + weight
