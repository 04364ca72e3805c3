"""All trials, in the order of the scorecard, with what is aimed at."""

from __future__ import annotations

from servebench.scorecard import Goal, Row
from servebench.trials.changes import busy_with_models, scaled, swaps
from servebench.trials.crowds import SLOW, bad_item, chunks, departed, goodput, overload, pipelined, slow
from servebench.trials.deaths import dead, end, hang, kills, queued, unregister
from servebench.trials.rights import privileges
from servebench.trials.starts import exit_codes
from servebench.trials.strangers import bad_archives_one_by_one, bomb, escapes, picture


def none(figure: str) -> Goal:
    """There are to be none of these."""
    return Goal(figure, most=0)


def all_of(figure: str, count: float) -> Goal:
    """All of them."""
    return Goal(figure, most=count, least=count)


ROWS: tuple[Row, ...] = (
    Row(
        "R1, R2",
        "kill -9 of a worker under load, 5 times",
        kills,
        (none("lost per kill"), Goal("s to full capacity", most=0.3)),
    ),
    Row(
        "R3",
        "kill -9 of the only worker, 20 requests wait",
        queued,
        (all_of("answered of 20", 20), Goal("s until the last one", most=0.5)),
    ),
    Row("R4", "SIGTERM with 5 requests running", end, (all_of("answered of 5", 5),)),
    Row("R5", "unregister with 10 requests in hand", unregister, (none("unanswered of 10"),)),
    Row(
        "R6, R7",
        "a model that cannot be loaded any more, then can",
        dead,
        (
            Goal("s until the answer", most=1),
            all_of("with Retry-After", 1),
            Goal("s until it serves again", most=60),
        ),
    ),
    Row(
        "R8",
        "a handler that hangs",
        hang,
        (Goal("s beyond the timeout", most=0.3), Goal("s until another serves", most=0.3)),
    ),
    Row(
        "R9",
        "250 requests for a queue of 100",
        overload,
        (Goal("s for the slowest refusal", most=0.04), none("without Retry-After")),
    ),
    Row(
        "R10",
        "three times as many requests as one worker can take",
        goodput,
        (Goal("% of capacity", least=95), Goal("% where clients leave after 1 s", least=95)),
    ),
    Row("R11", "50 clients give up while they wait", departed, (Goal("computed for nobody of 50", most=1),)),
    Row("R12", "one bad request in a batch of 8", bad_item, (none("good ones lost of 7"),)),
    Row("R13", "200 pipelined requests, delays at random", pipelined, (none("out of turn of 200"),)),
    Row(
        "R16, R17",
        "300 connections that bring a byte a second",
        slow,
        (all_of(f"closed of 300 in {SLOW:g} s", 300), Goal("p99 of others / base", most=2)),
    ),
    Row(
        "R19",
        "6 downloads hang, then 4 models load",
        busy_with_models,
        (Goal("s of a ping, p99", most=0.05),),
    ),
    Row(
        "R20, R21",
        "another version in place of one, 3 times, under load",
        swaps,
        (none("lost"), Goal("p99 / base", most=1.5)),
    ),
    Row("R21", "two workers, one, two, 10 times, under load", scaled, (none("lost"),)),
    Row(
        "R22",
        "a picture of 10 KB, 81 million pixels",
        picture,
        (all_of("refused", 1), Goal("s until the answer", most=0.05), Goal("MB more", most=50)),
    ),
    Row(
        "R23",
        "an archive of 622 KB, 600 MB unpacked",
        bomb,
        (all_of("refused", 1), Goal("s", most=0.2), none("MB left")),
    ),
    Row(
        "R24, R25",
        "bad archives, one after the other",
        bad_archives_one_by_one,
        (Goal("tried", least=60), all_of("% refused with 4xx", 100), none("files left")),
    ),
    Row(
        "R26",
        "URLs that lead where no archive may come from",
        escapes,
        (Goal("tried", least=40), none("escapes")),
        not_theirs="not asked",
    ),
    Row("R30", "fatal configurations: exit code", exit_codes, (all_of("said of 8", 8),)),
    Row(
        "R39",
        "a worker's privileges, strictest",
        privileges,
        (
            none("capabilities"),
            all_of("barred from new ones", 1),
            all_of("filtered", 1),
            Goal("variables", most=12),
        ),
    ),
    Row(
        "R47", "100 bodies of a million chunks", chunks, (Goal("MB more", most=1.05),), not_theirs="not asked"
    ),
)
