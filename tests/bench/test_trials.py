"""The trials of bench/reliability.py: each sees a fault that is planted, and calls it what it is."""

from __future__ import annotations

import math
import os
import threading
import time
from pathlib import Path

import pytest
from broken_servers import broken, reply  # type: ignore[import-not-found]  # pytest puts this folder on the path

from reliability import measured
from servebench.asking import Answer
from servebench.errors import BenchError
from servebench.scorecard import Goal, Row, words
from servebench.servers import TORCHKEEPER, Running
from servebench.trials.crowds import SECONDS, closed, good, pings
from servebench.trials.deaths import Clients
from servebench.trials.house import files, new_files, resident, until
from servebench.trials.rights import told
from servebench.trials.starts import fatal
from servebench.trials.strangers import Origin, _escapes, peak, spellings
from servebench.trials.table import ROWS


def running(port: int = 0, management_port: int = 0, folder: Path = Path()) -> Running:
    return Running(port, management_port, 0, 0, 0.0, launcher=False, folder=folder)


def echo(data: bytes) -> bytes:
    return reply(data.decode().rpartition("\r\n")[2])


# --- the scorecard ---------------------------------------------------------------------------------------


def test_figures_in_words() -> None:
    said = words({"lost": 0.0, "s to full capacity": 0.0879, "s until it serves": math.inf, "MB": 1543.2})
    assert said == "lost: 0, s to full capacity: 0.0879, s until it serves: never, MB: 1,543"


@pytest.mark.parametrize(
    ("goal", "value", "met", "said"),
    [
        (Goal("x", most=1), 1.0, True, "x: ≤ 1"),
        (Goal("x", most=1), 1.1, False, "x: ≤ 1"),
        (Goal("x", least=95), 94.9, False, "x: ≥ 95"),
        (Goal("x", most=5, least=5), 4.0, False, "x: 5"),
        (Goal("x", most=5, least=5), 5.0, True, "x: 5"),
        (Goal("x", most=1), math.inf, False, "x: ≤ 1"),
    ],
)
def test_an_aim_is_a_comparison(goal: Goal, value: float, met: bool, said: str) -> None:
    assert goal.met({"x": value}) is met
    assert not goal.met({"y": value}), "what was not measured is not met"
    assert str(goal) == said


def test_a_row_says_what_is_not_met() -> None:
    row = Row("R0", "", lambda kind: {"a": 1.0, "b": 9.0}, (Goal("a", most=1), Goal("b", most=1)))
    assert row.verdict({"a": 1.0, "b": 1.0}) == "met"
    assert row.verdict(measured(row, TORCHKEEPER)[0]) == "not met: b"


@pytest.mark.parametrize("error", [BenchError("no\nmore"), TimeoutError("no"), ValueError("no")])
def test_a_trial_that_cannot_be_made_says_why_and_is_not_met(error: Exception) -> None:
    def fails(kind: object) -> dict[str, float]:
        raise error

    row = Row("R0", "", fails, (Goal("a", most=1),))
    assert measured(row, TORCHKEEPER) == ({}, "no")
    assert row.verdict({}) == "not met: a"


def test_each_row_has_a_name_and_an_aim_of_its_own() -> None:
    assert len({row.what for row in ROWS}) == len(ROWS)
    assert all(row.goals for row in ROWS)


# --- planted faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        lambda number: b"",
        lambda number: reply("sleep 0.02 9 9"),
        lambda number: reply("no", 503),
    ],
    ids=["a lost request", "a swapped answer", "a refusal"],
)
def test_clients_notice_what_is_not_their_answer(fault: object) -> None:
    numbers = iter(range(10**9))

    def answers(data: bytes) -> bytes:
        number = next(numbers)
        return fault(number) if number == 3 else echo(data)  # type: ignore[operator,no-any-return]

    with broken(answers) as port, Clients(running(port), 1) as clients:
        assert until(lambda: len(clients.asked) > 5, 60) < math.inf
    assert clients.lost == 1


def test_clients_who_get_their_answers_have_lost_nothing() -> None:
    with broken(echo) as port, Clients(running(port), 2) as clients:
        begin = time.monotonic()
        assert until(lambda: len(clients.asked) > 20, 60) < math.inf
    assert clients.lost == 0
    assert len(clients.seconds(begin - 60, begin + 60)) == len(clients.asked)
    assert clients.seconds(begin - 60, begin - 30) == []


def test_answers_that_come_too_late_or_are_none_are_no_goodput() -> None:
    answers = [
        Answer(200, begun=1.0, seconds=0.5),
        Answer(503, begun=1.0),
        Answer(-1, begun=1.0),
        Answer(200, begun=SECONDS, seconds=1.5),
    ]
    assert good(answers) == 1


def test_a_connection_that_is_never_closed_is_not_counted_as_one() -> None:
    with broken(lambda data: None) as port:
        assert closed(port, [b"GET /\r\n\r\n"] * 10, limit=0.2) == []
    with broken(lambda data: b"HTTP/1.1 408 x\r\n\r\n") as port:
        assert len(closed(port, [b"GET /\r\n\r\n"] * 10, limit=60)) == 10


def test_a_health_check_that_hangs_is_a_long_one() -> None:
    over = threading.Event()

    def answers(data: bytes) -> bytes | None:
        over.set()
        return None

    with broken(answers) as port:
        assert max(pings(port, over, timeout=0.3)) >= 0.3


def test_what_is_left_is_found_but_for_logs(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    before = files(tmp_path)
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "a").write_bytes(b"123")
    (tmp_path / "logs" / "a.log").write_bytes(b"123")
    after = files(tmp_path)
    assert sorted(path.name for path in new_files(before, after)) == ["a", "left"]


def test_memory_that_a_process_takes_is_seen() -> None:
    before, most = resident(os.getpid()), peak(os.getpid())
    held = bytearray(64 << 20)
    held[::4096] = b"x" * len(held[::4096])
    assert resident(os.getpid()) - before > 50e6
    assert peak(os.getpid()) >= most
    assert resident(2**22 + 1) == peak(2**22 + 1) == 0.0


@pytest.mark.parametrize(
    ("fault", "escaped"),
    [
        ("none", False),
        ("registers", True),
        ("asks the canary", True),
        ("keeps a copy", True),
    ],
)
def test_an_url_that_leads_where_it_may_not_is_an_escape(tmp_path: Path, fault: str, escaped: bool) -> None:
    with Origin() as canary:

        def answers(data: bytes) -> bytes:
            if fault == "asks the canary":
                canary.hits += 1
            if fault == "keeps a copy":
                (tmp_path / "passwd").write_text("x")
            return reply("", 200 if fault == "registers" else 404)

        with broken(answers) as port:
            found = running(management_port=port)
            assert _escapes(found, 1, "http://x/", canary, tmp_path) is escaped
    assert not list(tmp_path.iterdir()), "the next one begins anew"


def test_there_are_forty_spellings_and_each_is_another(tmp_path: Path) -> None:
    with Origin() as allowed, Origin() as canary:
        urls = spellings(allowed, canary, tmp_path / "secret.mar")
    assert len(set(urls.values())) == len(urls) >= 40
    assert len(fatal(1)) == 8


# --- rights ----------------------------------------------------------------------------------------------


def test_a_worker_with_privileges_is_seen(tmp_path: Path) -> None:
    (tmp_path / "environ").write_bytes(b"A=1\0B=2\0")
    (tmp_path / "status").write_text("CapEff:\t000001ffffffffff\nNoNewPrivs:\t0\nSeccomp:\t0\n")
    assert told(tmp_path) == {"capabilities": 41, "barred from new ones": 0, "filtered": 0, "variables": 2}
    (tmp_path / "status").write_text("CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n")
    assert told(tmp_path) == {"capabilities": 0, "barred from new ones": 1, "filtered": 1, "variables": 2}
