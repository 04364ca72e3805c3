"""Whom to expect: clients that come back, or a crowd that comes evenly."""

from __future__ import annotations

from random import Random

import pytest

from torchkeeper.engine.batching.forecast import LAST, Forecast


def clients(forecast: Forecast, times: int, start: float = 0.0) -> float:
    """Eight clients that come back 1 ms after their answers, which they have 9 ms later."""
    now = start
    for _ in range(times):
        forecast.answered(8, now)
        forecast.expected(now, 0.005)
        for number in range(8):
            forecast.arrived(now + 0.001 + number * 1e-6)
        now += 0.010
    return now


def crowd(forecast: Forecast, times: int, start: float = 0.0) -> float:
    """Requests at random, 800 per second, answered together every 10 ms."""
    random, now = Random(1), start
    for _ in range(times):
        moment, count = now + random.expovariate(800), 0
        while moment < now + 0.010:
            forecast.arrived(moment)
            count += 1
            moment += random.expovariate(800)
        now += 0.010
        if count:
            forecast.answered(count, now)
        forecast.expected(now, 0.005)
    return now


def soon(forecast: Forecast, now: float) -> float:
    """How many are expected in 2 ms."""
    return max((number for seconds, number in forecast.expected(now, 0.002)), default=0.0)


def test_at_first_an_even_stream_is_expected() -> None:
    forecast = Forecast()
    assert forecast.expected(0.0, 1.0) == []
    assert (forecast.trust, forecast.rate(0.0)) == (0.0, 0.0)


def test_clients_that_come_back_are_foreseen() -> None:
    forecast = Forecast()
    now = clients(forecast, 12)
    forecast.answered(8, now)
    assert forecast.trust > 0.7
    assert soon(forecast, now) > 5.0


def test_of_a_crowd_no_more_than_its_rate_is_foreseen() -> None:
    forecast = Forecast()
    now = crowd(forecast, 400)
    assert forecast.trust < 0.5
    assert soon(forecast, now) == pytest.approx(800 * 0.002, abs=1.5)


def test_a_change_is_noticed_both_ways() -> None:
    forecast = Forecast()
    now = clients(forecast, 30)
    now = crowd(forecast, 100, start=now)
    assert forecast.trust < 0.5
    now = clients(forecast, 15, start=now)
    assert forecast.trust > 0.7


def test_the_rate_is_that_of_the_last_batches() -> None:
    forecast = Forecast()
    now = clients(forecast, LAST)
    assert forecast.rate(now) == pytest.approx(8 * (LAST - 1) / (LAST * 0.010))
