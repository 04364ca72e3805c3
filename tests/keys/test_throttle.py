"""Slowing down guesses: who is slowed, by how much, and how much is remembered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.keys.throttle import ADDRESSES, FREE, LONGEST, STEP, WINDOW, Throttle, group


def failing(throttle: Throttle, times: int, address: str = "10.0.0.1", now: float = 100.0) -> list[float]:
    return [throttle.failed(address, now) for _ in range(times)]


def test_ten_failures_are_free_and_the_eleventh_waits() -> None:
    throttle = Throttle()
    assert failing(throttle, FREE) == [0.0] * FREE
    assert throttle.failed("10.0.0.1", 100.0) == pytest.approx(STEP)
    assert throttle.failed("10.0.0.2", 100.0) == 0.0


def test_guesses_side_by_side_are_answered_one_step_apart_up_to_the_longest_wait() -> None:
    throttle = Throttle()
    waits = failing(throttle, FREE + 100)[FREE:]
    assert waits[:3] == pytest.approx([STEP, 2 * STEP, 3 * STEP])
    assert waits[-1] == pytest.approx(LONGEST)
    assert throttle.failed("10.0.0.1", 100.0 + LONGEST) == pytest.approx(STEP)


def test_a_right_key_waits_one_step_while_its_address_is_slowed_down() -> None:
    throttle = Throttle()
    assert throttle.passed("10.0.0.1", 100.0) == 0.0
    failing(throttle, FREE - 1)
    assert throttle.passed("10.0.0.1", 100.0) == 0.0
    failing(throttle, 50)
    assert throttle.passed("10.0.0.1", 100.0) == STEP
    assert throttle.passed("10.0.0.2", 100.0) == 0.0
    assert throttle.passed("10.0.0.1", 100.0 + WINDOW + 1) == 0.0


def test_old_failures_are_forgotten_one_by_one_and_with_their_address() -> None:
    throttle = Throttle()
    for second in range(FREE):
        throttle.failed("10.0.0.1", float(second))
    assert throttle.failed("10.0.0.1", WINDOW + 0.5) == 0.0  # the first one is too old by now
    throttle.failed("10.0.0.2", 3 * WINDOW)
    assert len(throttle) == 1


def test_a_clock_set_back_forgets() -> None:
    throttle = Throttle()
    failing(throttle, 20, now=5000.0)
    assert throttle.passed("10.0.0.1", 1000.0) == 0.0
    assert throttle.failed("10.0.0.1", 1000.0) == 0.0


def test_memory_is_bounded() -> None:
    throttle = Throttle()
    for number in range(ADDRESSES + 100):
        throttle.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    assert len(throttle) == ADDRESSES


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("unix", "unix"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::7", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("no:address", "no:address"),
    ],
)
def test_what_counts_as_one_address(address: str, counted: str) -> None:
    assert group(address) == counted


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(0, 300), st.booleans()), max_size=80))
def test_waits_are_bounded_and_few_failures_cost_nothing(steps: list[tuple[str, float, bool]]) -> None:
    throttle = Throttle()
    failures: dict[str, list[float]] = {}
    for address, now, right in sorted(steps, key=lambda step: step[1]):
        recent = [at for at in failures.get(address, []) if now - at <= WINDOW]
        wait = throttle.passed(address, now) if right else throttle.failed(address, now)
        assert 0 <= wait <= LONGEST + 1e-6
        assert (wait > 0) == (len(recent) >= FREE)
        if not right:
            failures.setdefault(address, []).append(now)
