"""What the server measures of itself: calls in, samples out."""

from __future__ import annotations

import pytest

from torchkeeper.metrics.catalogue import read_catalogue
from torchkeeper.metrics.instruments import Instruments, Meter
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.metrics.registry import Family, Registry
from torchkeeper.wire.messages import Declared


def declared(registry: Registry) -> Registry:
    for metric in read_catalogue(None).ts:
        registry.add(Family(metric, "text"), logged=True)
    return registry


@pytest.fixture
def registry() -> Registry:
    return declared(Registry())


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def instruments(registry: Registry, ledger: Ledger) -> Instruments:
    return Instruments(registry, "vm", ledger)


def shown(registry: Registry, prefix: str) -> dict[str, float]:
    """Samples as `name{values}` without zeros and buckets."""
    found = {}
    for family in registry.exposed():
        for name, labels, value in family.samples():
            if name.startswith(prefix) and value and not name.endswith("_bucket"):
                found[f"{name}{{{','.join(text for _, text in labels)}}}"] = value
    return found


def test_responses_by_status(registry: Registry, instruments: Instruments) -> None:
    for status in (200, 206, 404, 400, 413, 503, 500, 302, 199):
        instruments.responded(status)
    assert shown(registry, "Requests") == {
        "Requests2XX{Host,vm}": 2,
        "Requests4XX{Host,vm}": 3,
        "Requests5XX{Host,vm}": 4,
    }


def test_a_request_and_its_batch(registry: Registry, instruments: Instruments) -> None:
    meter = instruments.meter("m", "1.0", 4)
    meter.accepted(named=False)
    meter.accepted(named=True)
    meter.accepted(named=False)
    meter.batch(2, handler=0.5, overhead=0.0039)
    meter.answered(named=False, queued=[0.25], totals=[0.75])
    meter.answered(named=True, queued=[0.0012], totals=[0.5])
    assert shown(registry, "ts_") == {
        "ts_inference_requests_total{m,default,vm}": 2,
        "ts_inference_requests_total{m,1.0,vm}": 1,
        "ts_inference_latency_microseconds{m,default,vm}": 750_000,
        "ts_inference_latency_microseconds{m,1.0,vm}": 500_000,
        "ts_queue_latency_microseconds{m,default,vm}": 250_000,
        "ts_queue_latency_microseconds{m,1.0,vm}": 1_200,
    }
    assert shown(registry, "QueueTime") == {"QueueTime{Host,vm}": 1}
    assert shown(registry, "WorkerThreadTime") == {"WorkerThreadTime{Host,vm}": 3}
    assert shown(registry, "torchkeeper_") == {
        "torchkeeper_queue_seconds_count{m,1.0}": 2,
        "torchkeeper_queue_seconds_sum{m,1.0}": 0.2512,
        "torchkeeper_request_seconds_count{m,1.0}": 2,
        "torchkeeper_request_seconds_sum{m,1.0}": 1.25,
        "torchkeeper_handler_seconds_count{m,1.0}": 1,
        "torchkeeper_handler_seconds_sum{m,1.0}": 0.5,
        "torchkeeper_batch_size_count{m,1.0}": 1,
        "torchkeeper_batch_size_sum{m,1.0}": 2,
        "torchkeeper_batch_fill{m,1.0}": 0.5,
    }
    meter.batch(4, 0.5, 0, uncompiled=3)
    assert shown(registry, "torchkeeper_uncompiled") == {"torchkeeper_uncompiled_calls{m,1.0}": 3}
    assert shown(registry, "torchkeeper_batch_fill") == {"torchkeeper_batch_fill{m,1.0}": 0.5 + 0.5 / 16}


def test_workers_come_and_go(registry: Registry, instruments: Instruments) -> None:
    meter = instruments.meter("m", "1.0", 1)
    meter.loaded("W-9000-m_1.0", 1.25)
    assert shown(registry, "Worker") == {"WorkerLoadTime{W-9000-m_1.0,Host,vm}": 1250}
    meter.lost("W-9000-m_1.0", replaced=True)
    meter.lost("W-9001-m_1.0", replaced=False)
    assert shown(registry, "Worker") == {}
    assert shown(registry, "torchkeeper_worker") == {"torchkeeper_worker_restarts{m,1.0}": 1}


def test_queue_depth_is_asked_for_and_goes_with_its_version(
    registry: Registry, instruments: Instruments
) -> None:
    waiting = [1, 2, 3]
    meter = instruments.meter("m", "1.0", 1)
    meter.watch(waiting.__len__, lambda: None)
    assert shown(registry, "torchkeeper_queue_depth") == {"torchkeeper_queue_depth{m,1.0}": 3}
    waiting.append(4)
    assert shown(registry, "torchkeeper_queue_depth") == {"torchkeeper_queue_depth{m,1.0}": 4}
    meter.close()
    assert shown(registry, "torchkeeper_queue_depth") == {}


def test_a_version_that_came_anew_keeps_its_depth(registry: Registry, instruments: Instruments) -> None:
    old = instruments.meter("m", "1.0", 1)
    old.watch([1].__len__, lambda: None)
    instruments.meter("m", "1.0", 1).watch([1, 2].__len__, lambda: 12.5)
    old.close()
    assert shown(registry, "torchkeeper_queue_depth") == {"torchkeeper_queue_depth{m,1.0}": 2}
    assert shown(registry, "torchkeeper_worker_growth_bytes") == {
        "torchkeeper_worker_growth_bytes{m,1.0}": 12.5
    }


def test_growth_is_told_as_long_as_it_is_known(registry: Registry, instruments: Instruments) -> None:
    known: list[float | None] = [12.5]
    instruments.meter("m", "1.0", 1).watch(lambda: 0, lambda: known[-1])
    assert shown(registry, "torchkeeper_worker_growth_bytes")
    known.append(None)
    assert not shown(registry, "torchkeeper_worker_growth_bytes")


def test_the_ledger(registry: Registry, instruments: Instruments, ledger: Ledger) -> None:
    ledger.accepted, ledger.answered, ledger.gone = 5, 3, 2
    expected = {
        "torchkeeper_requests{accepted}": 5,
        "torchkeeper_requests{answered}": 3,
        "torchkeeper_requests{gone}": 2,
    }
    assert shown(registry, "torchkeeper_requests") == expected
    ledger.accepted += 1
    assert shown(registry, "torchkeeper_requests") == expected | {"torchkeeper_requests{accepted}": 6}


def test_log_lines_that_were_lost(registry: Registry, ledger: Ledger) -> None:
    lost = {"queue": 0, "disk": 7, "stdout": 0}
    Instruments(registry, "vm", ledger, lines_lost=lambda: lost)
    assert shown(registry, "torchkeeper_log") == {"torchkeeper_log_lines_lost{disk}": 7}
    lost["disk"], lost["stdout"] = 9, 1
    assert shown(registry, "torchkeeper_log") == {
        "torchkeeper_log_lines_lost{disk}": 9,
        "torchkeeper_log_lines_lost{stdout}": 1,
    }


def test_what_metrics_yaml_lacks_is_not_measured_and_its_types_and_labels_count() -> None:
    registry = Registry()
    declared_otherwise = Declared("QueueTime", "histogram", "Milliseconds", ("Hostname", "Mine"))
    registry.add(Family(declared_otherwise, "text"), logged=True)
    instruments = Instruments(registry, "vm", Ledger())
    instruments.responded(200)
    instruments.meter("m", "1.0", 1).answered(False, [0.25], [0.5])
    assert shown(registry, "Requests") == shown(registry, "ts_") == {}
    assert shown(registry, "QueueTime") == {"QueueTime_count{vm,}": 1, "QueueTime_sum{vm,}": 250}


def test_a_meter_of_nothing_takes_everything() -> None:
    meter = Meter()
    meter.accepted(True)
    meter.answered(True, [1], [1])
    meter.batch(1, 1, 1)
    meter.loaded("w", 1)
    meter.lost("w", True)
    meter.watch(int, float)
    meter.close()
