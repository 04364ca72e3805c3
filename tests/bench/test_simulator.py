"""The simulator, and what adaptive batching gains in it, by its own clock: the same everywhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batching.loads import bursts, closed, constant, exponential, poisson
from batching.simulator import Model, Outcome, Simulation, percentile
from torchkeeper.engine.batching.adaptive import Adaptive
from torchkeeper.engine.batching.delay import Delay
from torchkeeper.engine.batching.greedy import Greedy
from torchkeeper.engine.batching.policy import Policy
from torchkeeper.engine.batching.targeted import Targeted

#: 5 ms and 0.1 ms for each request, one worker, batches of 16.
ACCELERATOR = Model(0.005, 0.0001, 1, 16)
MODELS = (ACCELERATOR, Model(0.040, 0.002, 1, 16), Model(0.005, 0.0005, 2, 32))


def test_one_client_is_answered_after_what_its_batch_costs() -> None:
    exact = Model(0.005, 0.001, 1, 4, noise=0.0)
    outcome = Simulation(Greedy(4), exact, closed(1, constant(0.001)), 1).run(100)
    assert outcome.latencies(0) == pytest.approx([0.006] * 100)
    assert outcome.batches == 100


def test_nobody_is_lost_or_answered_twice() -> None:
    for policy in (Greedy(4), Delay(4, 0.002), Adaptive(4)):
        outcome = Simulation(policy, ACCELERATOR, bursts(500.0, 10), 1).run(3000)
        assert len(outcome.answered) >= 3000
        assert all(came < done for came, done in zip(outcome.arrived, outcome.answered, strict=True))


def test_a_stream_comes_at_its_rate() -> None:
    for load in (poisson(400.0), bursts(400.0, 8)):
        outcome = Simulation(Greedy(16), ACCELERATOR, load, 1).run(8000)
        assert outcome.rate(100) == pytest.approx(400.0, rel=0.1)


def test_after_a_change_only_the_others_ask() -> None:
    simulation = Simulation(Greedy(16), ACCELERATOR, closed(16, constant(0.001)), 1)
    simulation.run(1000)
    simulation.change(closed(1, constant(0.001)))
    outcome = simulation.run(1200)
    assert outcome.latencies(1100) == pytest.approx([0.0051] * 100, rel=0.2)


def ran(policy: Policy, model: Model, clients: int, think: float) -> Outcome:
    load = closed(clients, constant(think))
    return Simulation(policy, model, load, 1).run(max(2000, 40 * clients))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("clients", [1, 2, 8, 16, 24, 64])
def test_closed_loops_are_answered_as_fast_as_by_the_best_delay(model: Model, clients: int) -> None:
    delays = (Delay(model.batch, delay) for delay in (0.0005, 0.002, 0.005))
    others: list[Policy] = [Greedy(model.batch), *delays]
    best = max(ran(policy, model, clients, 0.0005).rate(500) for policy in others)
    assert ran(Adaptive(model.batch), model, clients, 0.0005).rate(500) >= 0.95 * best


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("part", [0.1, 0.4, 0.8])
def test_nobody_waits_longer_in_an_even_stream(model: Model, part: float) -> None:
    def latencies(policy: Policy) -> list[float]:
        return Simulation(policy, model, poisson(part * model.capacity), 1).run(10_000).latencies(1000)

    greedy, adaptive = latencies(Greedy(model.batch)), latencies(Adaptive(model.batch))
    assert percentile(adaptive, 0.5) <= 1.06 * percentile(greedy, 0.5)
    assert percentile(adaptive, 0.99) <= 1.10 * percentile(greedy, 0.99)


def test_clients_at_random_are_waited_for_where_that_pays() -> None:
    load = exponential(0.001)
    greedy, adaptive = (
        Simulation(policy, ACCELERATOR, closed(8, load), 1).run(3000).rate(500)
        for policy in (Greedy(16), Adaptive(16))
    )
    assert adaptive > 1.15 * greedy


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("overload", [1.5, 3.0])
def test_under_overload_who_is_taken_is_answered_in_time(model: Model, overload: float) -> None:
    target = 2.5 * (model.a + model.b * model.batch)
    policy = Targeted(Adaptive(model.batch), model.batch, target)
    outcome = Simulation(policy, model, poisson(overload * model.capacity), 1).run(8000)
    latencies = outcome.latencies(1000)
    in_time = sum(latency <= target for latency in latencies) / len(latencies)
    assert in_time >= 0.99
    assert outcome.rate(1000) * in_time >= 0.9 * model.capacity
    assert outcome.refused / (outcome.refused + 8000) == pytest.approx(1.0 - 1.0 / overload, abs=0.05)


@pytest.mark.parametrize("model", [ACCELERATOR, Model(0.002, 0.0005, 2, 32)])
def test_a_bound_of_costs_keeps_long_requests_from_short_ones(model: Model) -> None:
    """One of a hundred is 64 times as long, and a batch is padded to it."""
    mixed = replace(model, lengths=((0.99, 1.0), (0.01, 64.0)))
    bounded = replace(mixed, max_cost=float(model.batch))
    for clients in (4, 16, 64):
        rates = [
            ran(policy, bounded, clients, 0.001).rate(500)
            for policy in (Adaptive(model.batch), Greedy(model.batch), Delay(model.batch, 0.002))
        ]
        assert rates[0] >= 0.93 * max(rates)
    assert rates[0] > 2.0 * ran(Adaptive(model.batch), mixed, 64, 0.001).rate(500)
