"""Who is taken, and in which words the others are not."""

import math
import time

import pytest

from torchkeeper.engine.admission import Admission
from torchkeeper.errors import ServiceUnavailable
from torchkeeper.pool.worker import NOBODY, Refusal


def admission() -> Admission:
    return Admission(lambda named: "named" if named else "not named")


@pytest.mark.parametrize("named", [False, True])
def test_before_there_is_anybody_nobody_is_taken(named: bool) -> None:
    with pytest.raises(ServiceUnavailable, match="named" if named else "not named") as refused:
        admission().check(named)
    assert (refused.value.cause, refused.value.headers) == (NOBODY.cause, {"Retry-After": "1"})


def test_with_somebody_all_are_taken_unless_closed() -> None:
    door = admission()
    door.nobody = None
    door.check(False)
    door.closed = True
    with pytest.raises(ServiceUnavailable):
        door.check(False)


@pytest.mark.parametrize(("ahead", "seconds"), [(-5.0, 1), (0.2, 1), (6.5, 7), (None, 1)])
def test_who_is_refused_hears_when_to_come_again(ahead: float | None, seconds: int) -> None:
    now = time.monotonic()
    assert Refusal("why", None if ahead is None else now + ahead).retry_after(now) == seconds


def test_the_seconds_of_an_answer_are_counted_from_now() -> None:
    error = admission().unavailable(Refusal("why", time.monotonic() + 100))
    assert math.isclose(int(error.headers["Retry-After"]), 100, abs_tol=1)


def test_who_waited_too_long_or_finds_no_room_hears_when_there_will_be_some() -> None:
    full, late = admission().full("why", True, 7), admission().late(1.5, 9)
    assert (full.message, full.cause, full.headers) == ("named", "why", {"Retry-After": "7"})
    assert (late.message, late.headers) == ("not named", {"Retry-After": "9"})
    assert "1500 ms" in str(late.cause)
