"""The clients of the trials: what became of a request, and at which rate and moment requests are sent."""

from __future__ import annotations

import itertools

import pytest
from broken_servers import broken, reply  # type: ignore[import-not-found]  # pytest puts this folder on the path

from servebench.asking import CUT, SILENCE, Answer, ask, at_rate, burst, percentile


@pytest.mark.parametrize(
    ("said", "status", "body"),
    [
        (reply("ok"), 200, "ok"),
        (reply("", 503, "Retry-After: 1\r\n"), 503, ""),
        (b"", CUT, ""),
        (None, SILENCE, ""),
    ],
    ids=["an answer", "a refusal", "a connection that ends", "silence"],
)
def test_what_became_of_a_request(said: bytes | None, status: int, body: str) -> None:
    with broken(lambda data: said) as port:
        found = ask(port, "x", timeout=0.2 if said is None else 60)
        (other,) = at_rate(port, iter("x"), rate=100, seconds=0.01, patience=0.2 if said is None else 60)
    for answer in (found, other):
        assert (answer.status, answer.body) == (status, body)
        assert answer.retry_after == ("1" if status == 503 else None)


def test_a_burst_has_an_answer_for_each() -> None:
    with broken(lambda data: reply(data.decode().rpartition("\r\n")[2])) as port:
        answers = burst(port, [str(number) for number in range(20)])
    assert [answer.body for answer in answers] == [str(number) for number in range(20)]


def test_so_many_are_sent_as_the_rate_says_whoever_answers() -> None:
    with broken(lambda data: None) as port:
        answers = at_rate(port, map(str, itertools.count()), rate=200, seconds=0.1, patience=0.05)
    assert [answer.status for answer in answers] == [SILENCE] * 20
    assert all(one.begun < other.begun for one, other in itertools.pairwise(answers))


def test_percentiles() -> None:
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 2.0, 3.0, 3.0]
    assert Answer(200).seconds == 0.0
