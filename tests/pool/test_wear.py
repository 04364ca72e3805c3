"""What is known of a worker that takes more and more memory, and when it has to go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.pool.wear import MOST, Wear, worn


def wear_of(samples: list[tuple[int, int]]) -> Wear:
    wear = Wear()
    for requests, resident in samples:
        wear.sample(requests, resident)
    return wear


@given(
    st.integers(-1000, 100_000),
    st.integers(10**8, 10**9),
    st.lists(st.integers(1, 500), min_size=8, max_size=3 * MOST),
)
def test_a_steady_growth_is_found_however_long_it_is_watched(
    growth: int, before: int, steps: list[int]
) -> None:
    requests = [sum(steps[:number]) + 100 * number for number in range(len(steps))]
    wear = wear_of([(count, before + growth * count) for count in requests])
    assert wear.growth() == growth


@given(st.lists(st.integers(0, 5_000_000), min_size=40, max_size=40))
def test_noise_is_no_leak(noise: list[int]) -> None:
    found = wear_of([(1000 * number, 10**8 + more) for number, more in enumerate(noise)]).growth()
    assert found is not None
    assert abs(found) <= 5_000


def test_a_cache_that_fills_at_first_and_a_single_peak_do_not_pass_for_one() -> None:
    filled = [(100 * number, 10**8 + min(number, 5) * 10**7) for number in range(60)]
    peak = [(100 * number, 10**8 + (number == 30) * 10**9) for number in range(60)]
    assert wear_of(filled).growth() == wear_of(peak).growth() == 0


@pytest.mark.parametrize(
    "samples",
    [[], [(0, 1)], [(100 * number, 5) for number in range(7)], [(number, 5) for number in range(20)]],
    ids=["nothing", "one sample", "too few samples", "too few requests"],
)
def test_who_knows_too_little_says_nothing(samples: list[tuple[int, int]]) -> None:
    assert wear_of(samples).growth() is None


def test_moments_without_requests_teach_nothing() -> None:
    assert wear_of([(100, 10**8 + number) for number in range(50)]).growth() is None


@pytest.mark.parametrize(
    ("requests", "resident", "loaded", "why"),
    [
        (99, 10**9, 10**9, None),
        (100, 0, 0, "it has answered 100 requests (maxRequestsPerWorker: 100)"),
        (1, 2 * 10**9, 1500 * 10**6, "it holds 2000 MB of memory (maxWorkerRss: 1500 MB)"),
        (1, 2 * 10**9, 1501 * 10**6, None),
    ],
)
def test_when_a_worker_has_to_go(requests: int, resident: int, loaded: int, why: str | None) -> None:
    bounds = {"most_requests": 100, "most_resident": 1500 * 10**6}
    assert worn(requests, resident, loaded=loaded, **bounds) == why
    assert worn(requests, resident, loaded=loaded, most_requests=0, most_resident=0) is None
