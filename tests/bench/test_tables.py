"""What the benchmark reads out of wrk, how it takes medians, and what its tables say."""

import math

import pytest

from servebench.environment import parse_java_version
from servebench.errors import BenchError
from servebench.inputs import COMPILED, Variant
from servebench.load import Cell, Checked, parse_checked, parse_wrk
from servebench.plan import BATCH_1, BATCH_16, DEFAULTS, WORKLOADS, Case, cases, in_round
from servebench.posting import parse as parse_h2load
from servebench.tables import (
    FIGURE_HEAD,
    REACH_HEAD,
    SPREAD_HEAD,
    Reach,
    Results,
    Sample,
    figure_rows,
    markdown,
    number,
    reach_rows,
    reaches,
    spread_rows,
)

WRK = """Running 4s test @ http://127.0.0.1:40001
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     8.31ms    1.02ms  20.11ms   91.12%
    Req/Sec     1.93k    92.11     2.10k    75.00%
  Latency Distribution
     50%  812.00us
     75%    8.40ms
     90%    9.01ms
     99%    1.20s
  8000 requests in 4.00s, 1.20MB read
Requests/sec:   2000.00
Transfer/sec:    307.20KB
"""
FAILURES = """  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 4000
"""


def test_wrk_report_in_one_unit():
    assert parse_wrk(WRK) == Cell(rate=2000.0, p50=0.812, p99=1200.0, errors=0)


def test_failed_requests_are_errors_and_no_throughput():
    cell = parse_wrk(WRK.replace("Requests/sec", FAILURES + "Requests/sec"))
    assert cell.rate == 1000.0
    assert cell.errors == 4010


def test_a_minute_of_wrk_counts_sixty_seconds():
    assert parse_wrk(WRK.replace("in 4.00s", "in 1.00m")).rate == pytest.approx(8000 / 60)


def test_wrk_without_a_result_is_named():
    with pytest.raises(BenchError, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1")


def test_percentiles_that_wrk_leaves_out_are_nan():
    assert math.isnan(parse_wrk("8 requests in 4.00s, 1KB read").p50)


def test_checked_answers():
    assert parse_checked("...\nChecked: 12 right, 1 wrong, 2 refused\n") == Checked(12, 1, 2)
    with pytest.raises(BenchError, match="compared no answers"):
        parse_checked("")


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_292"', 8),
        ("", 0),
    ],
)
def test_java_version(text, major):
    assert parse_java_version(text) == major


@pytest.mark.parametrize(
    ("variant", "name", "config"),
    [
        (Variant("mnist"), "mnist", None),
        (Variant("echo", 16, 5), "echo-batch16-delay5", "batchSize: 16\nmaxBatchDelay: 5\n"),
        (Variant("accel", workers=1), "accel", "minWorkers: 1\nmaxWorkers: 1\n"),
    ],
)
def test_variant(variant, name, config):
    assert variant.name == name
    assert variant.config == config


def test_a_round_serves_every_figure_and_tunes_torchserve_only():
    rows = cases(WORKLOADS, ("TorchServe", "torchkeeper"))
    for workload in WORKLOADS:
        for server in ("TorchServe", "torchkeeper"):
            setups = {
                s for r in rows if (r.variant.workload, r.server) == (workload, server) for s in r.setups
            }
            served = server == "torchkeeper" or workload != COMPILED
            assert setups == ({DEFAULTS, BATCH_1, BATCH_16} if served else set())
    assert not any(row.tuned for row in rows if row.server == "torchkeeper")
    ours, theirs = (
        {row.variant for row in rows if row.server == server and row.variant.workload != COMPILED}
        for server in ("torchkeeper", "TorchServe")
    )
    assert ours <= theirs
    assert in_round(rows, 1) == in_round(rows, 0)[::-1]


def test_skipped_servers_and_workloads_are_left_out():
    rows = cases(("echo",), ("torchkeeper",))
    assert {row.server for row in rows} == {"torchkeeper"}
    assert {row.variant.workload for row in rows} == {"echo"}


def sample(server, setup, rate, *, workload="echo", delay=None, p50=1.0, errors=0, wrong=0, start=1.0):
    """A run whose three cells are alike."""
    batch = 16 if delay else None
    case = Case(server, Variant(workload, batch, delay), server == "TorchServe", (setup,))
    cells = {connections: Cell(rate, p50, 2 * p50, errors) for connections in (1, 16, 64)}
    return Sample(case, start, 100.0, cells, 10, wrong)


def test_medians_are_taken_per_archive_before_the_better_delay():
    rounds = [(10, 30), (50, 20), (20, 40)]  # medians 20 and 30; the best single round would be 50
    rows = [sample("TorchServe", BATCH_16, a, delay=1, p50=1) for a, _ in rounds]
    rows += [sample("TorchServe", BATCH_16, b, delay=5, p50=4) for _, b in rounds]
    results = Results(rows)
    assert results.rate("TorchServe", "echo", BATCH_16, 64) == 30
    assert results.p50("TorchServe", "echo", BATCH_16, 1) == 1
    assert math.isnan(results.rate("torchkeeper", "echo", BATCH_16, 64))
    assert math.isnan(results.limit)


def test_errors_and_wrong_answers_add_up():
    results = Results([sample("TorchServe", BATCH_1, 1, errors=2, wrong=1)] * 2)
    assert results.bad("TorchServe", "echo", BATCH_1) == 14


@pytest.mark.parametrize(
    ("ours", "theirs", "goal", "at_least", "verdict"),
    [
        (13, 10, 1.3, True, "pass"),
        (12, 10, 1.3, True, "short"),
        (5, 10, 0.5, False, "pass"),
        (6, 10, 0.5, False, "short"),
        (7, 10, None, True, "told"),
        (math.nan, 10, 1.3, True, "–"),
        (1, 0, 1.3, True, "–"),
    ],
)
def test_verdicts(ours, theirs, goal, at_least, verdict):
    assert Reach("x", ours, theirs, "ms", goal, at_least, "1").verdict == verdict


def test_reach_table_leaves_out_what_was_not_measured():
    results = Results(
        [
            sample("TorchServe", BATCH_16, 14_000, delay=5),
            sample("torchkeeper", BATCH_16, 28_000, delay=5),
        ]
    )
    assert len(reaches(results)) == 19
    rows = reach_rows(reaches(results))
    assert rows == [
        (
            "echo, batch 16, 64 connections",
            "28,000 requests/s",
            "14,000 requests/s",
            "2.00",
            "≥ 1.3",
            "1.6–2",
            "pass",
        )
    ]
    assert len(rows[0]) == len(REACH_HEAD)


def test_a_compiled_model_stands_beside_the_eager_one_of_both_servers():
    results = Results(
        [
            sample("TorchServe", BATCH_16, 1000, workload="mnist", delay=1),
            sample("torchkeeper", BATCH_16, 2000, workload="mnist", delay=5),
            sample("torchkeeper", BATCH_16, 3000, workload=COMPILED, delay=5),
        ]
    )
    rows = [row for row in reach_rows(reaches(results)) if row[0].startswith(COMPILED)]
    assert [(row[0], row[3]) for row in rows] == [
        ("mnist-pt2, batch 16, 16 connections ÷ torchkeeper's mnist", "1.50"),
        ("mnist-pt2, batch 16, 16 connections ÷ TorchServe's mnist", "3.00"),
        ("mnist-pt2, batch 16, 64 connections ÷ torchkeeper's mnist", "1.50"),
        ("mnist-pt2, batch 16, 64 connections ÷ TorchServe's mnist", "3.00"),
    ]


def test_figure_and_spread_tables():
    results = Results([sample("torchkeeper", BATCH_1, 4350.4, p50=0.213, start=1.5)])
    (row,) = figure_rows(results, WORKLOADS)
    assert len(row) == len(FIGURE_HEAD)
    assert row[:4] == ("echo", BATCH_1, "torchkeeper", "4,350 / 4,350 / 4,350")
    assert row[4] == "0.21 / 0.21 / 0.21"
    assert row[6:] == ("0", "1.50", "100")
    (spread,) = spread_rows(results)
    assert len(spread) == len(SPREAD_HEAD)
    assert spread[3] == "4,350"


def test_markdown_escapes_bars():
    assert markdown(("a", "b"), [("1|2", "3")]) == "| a | b |\n| --- | --- |\n| 1\\|2 | 3 |\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.213, "0.21"), (4.354, "4.35"), (87.24, "87.2"), (1849.4, "1,849"), (math.nan, "–")],
)
def test_number(value, text):
    assert number(value) == text


H2LOAD = """
requests: 4 total, 4 started, 4 done, 3 succeeded, 1 failed, 0 errored, 0 timeout
status codes: 3 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 1.02KB (1045) total, 689B (689) headers (space savings 0.00%), 30B (30) data
"""
H2LOAD_LOG = "1\t200\t1000\n2\t200\t3000\n3\t200\t2000\n4\t503\t9000\n"


def test_h2loads_report_and_log() -> None:
    cell = parse_h2load(H2LOAD, H2LOAD_LOG, 2, None)
    assert cell == Cell(rate=1.5, p50=2.0, p99=3.0, errors=2)


def test_answers_without_their_bytes_are_errors() -> None:
    log = "1\t200\t1000\n" * 200
    assert parse_h2load(H2LOAD.replace("1 failed", "0 failed"), log, 1, 10).errors == 200 - 3 - 64


def test_an_h2load_that_counted_nothing_says_so() -> None:
    with pytest.raises(BenchError, match="h2load counted nothing"):
        parse_h2load(H2LOAD, "", 1, None)
