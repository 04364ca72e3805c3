"""Who asks, and when: closed loops of clients that think between an answer and the next request, and arrivals
at random that wait for nobody."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from batching.simulator import Load

#: Seconds that a client thinks.
Think = Callable[[Random], float]


def constant(seconds: float) -> Think:
    """Always the same, but for a tenth: two clients never keep step to the microsecond."""
    return lambda random: seconds * random.uniform(0.95, 1.05)


def exponential(seconds: float) -> Think:
    """As long as calls at random last, with this mean."""
    return lambda random: random.expovariate(1.0 / seconds)


def stragglers(seconds: float, part: float, late: float) -> Think:
    """Constant, but for a part of the requests that come `late`."""
    usual = constant(seconds)
    return lambda random: late * random.uniform(0.5, 1.5) if random.random() < part else usual(random)


def closed(clients: int, think: Think, begin: float = 0.0) -> Load:
    """So many clients, each with one request at a time."""
    first = [(begin + 1e-6 * client, client) for client in range(clients)]
    return Load(first, lambda _, now, random: now + think(random))


def poisson(rate: float) -> Load:
    """Arrivals at random, so many per second, from now on."""
    return Load([(0.0, 0)], lambda _, now, random: now + random.expovariate(rate), answered=False)


def bursts(rate: float, size: int) -> Load:
    """Groups of `size` requests within a moment, `rate` requests per second in all; the groups at random."""

    def again(client: int, now: float, random: Random) -> float:
        if random.random() < 1.0 - 1.0 / size:
            return now + 1e-5
        return now + random.expovariate(rate / size)

    return Load([(0.0, 0)], again, answered=False)
