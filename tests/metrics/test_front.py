"""The front's metrics as a whole: settings in, pages and log lines out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from torchkeeper.api.metrics import MetricsApi
from torchkeeper.config.settings import CommandLine, load_settings
from torchkeeper.metrics.front import Metrics
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.wire.messages import Sample

PRINTED = "[METRICS]HandlerTime.Milliseconds:2|#ModelName:m,Level:Model|#type:GAUGE|#hostname:h,1,id"


class Files:
    """Log files as lists."""

    def __init__(self) -> None:
        self.lost: dict[str, int] = {}
        self.ts: list[Sample] = []
        self.model: list[Sample] = []
        self.lines: list[tuple[str, str, str]] = []
        self.arrived = asyncio.Event()

    def ts_metric(self, sample: Sample, hostname: str) -> None:
        assert hostname == "vm"
        self.ts.append(sample)
        self.arrived.set()

    def model_metric(self, sample: Sample, hostname: str) -> None:
        assert hostname == "vm"
        self.model.append(sample)

    def model_line(self, worker: str, stream: str, line: str) -> None:
        self.lines.append((worker, stream, line))


Make = Callable[..., tuple[Metrics, Files]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def build(text: str = "") -> tuple[Metrics, Files]:
        (tmp_path / "config.properties").write_text(text)
        settings, _ = load_settings(CommandLine(), {}, tmp_path)
        files = Files()
        return Metrics(settings, files, Ledger(), "vm"), files

    return build


def page(metrics: Metrics, *names: str) -> str:
    return MetricsApi(metrics.registry).render(names)[0].decode()


def use(metrics: Metrics) -> None:
    """One request, as the server would report it."""
    meter = metrics.meter("m", "1.0", 1)
    meter.accepted(False)
    meter.batch(1, 0.5, 0)
    meter.answered(False, [0.25], [0.75])
    metrics.responded(200)
    metrics.responded(200)
    metrics.sample(
        Sample("HandlerTime", 1, "Milliseconds", "GAUGE", (("ModelName", "m"), ("Level", "Model")), "id")
    )
    metrics.line("W-1", "stdout", PRINTED)
    metrics.line("W-1", "stderr", PRINTED)
    metrics.line("W-1", "stdout", "hello")
    metrics.flush()


@pytest.mark.parametrize(
    ("text", "in_files", "ts_in_files", "shown"),
    [
        (
            "",
            True,
            True,
            ("Requests2XX", "ts_inference_requests_total", "HandlerTime", "torchkeeper_requests"),
        ),
        (
            "metrics_mode=prometheus",
            False,
            False,
            ("Requests2XX", "ts_inference_requests_total", "HandlerTime", "torchkeeper_requests"),
        ),
        ("metrics_mode=legacy", True, False, ("ts_inference_requests_total",)),
        ("metrics_config=none.yaml\nmodel_metrics_auto_detect=true", False, False, ()),
    ],
)
def test_modes(make: Make, text: str, in_files: bool, ts_in_files: bool, shown: tuple[str, ...]) -> None:
    metrics, files = make(text)
    use(metrics)
    everything = ("Requests2XX", "ts_inference_requests_total", "HandlerTime", "torchkeeper_requests")
    assert tuple(name for name in everything if f"# TYPE {name} " in page(metrics)) == shown
    assert [sample.value for sample in files.model] == ([1, 2] if in_files else [])
    assert ("Requests2XX" in {sample.name for sample in files.ts}) is in_files
    assert ("ts_inference_requests_total" in {sample.name for sample in files.ts}) is ts_in_files
    assert files.lines == [("W-1", "stderr", PRINTED), ("W-1", "stdout", "hello")]


def test_the_servers_lines_say_the_growth_and_leave_the_hostname_to_the_end(make: Make) -> None:
    metrics, files = make()
    use(metrics)
    version = (("model_name", "m"), ("model_version", "default"))
    assert files.ts == [
        Sample("Requests2XX", 2, "Count", "COUNTER", (("Level", "Host"),)),
        Sample("ts_inference_requests_total", 1, "Count", "COUNTER", version),
        Sample("ts_inference_latency_microseconds", 750_000, "Microseconds", "COUNTER", version),
        Sample("ts_queue_latency_microseconds", 250_000, "Microseconds", "COUNTER", version),
        Sample("QueueTime", 250, "Milliseconds", "GAUGE", (("Level", "Host"),)),
        Sample("WorkerThreadTime", 0, "Milliseconds", "GAUGE", (("Level", "Host"),)),
    ]
    files.ts.clear()
    metrics.flush()
    assert files.ts == []


def test_a_load_time_is_written_at_once_for_its_worker_may_die(make: Make) -> None:
    metrics, files = make()
    meter = metrics.meter("m", "1.0", 1)
    meter.loaded("W-9000-m_1.0", 1.25)
    meter.lost("W-9000-m_1.0", True)
    labels = (("WorkerName", "W-9000-m_1.0"), ("Level", "Host"))
    assert files.ts == [Sample("WorkerLoadTime", 1250, "Milliseconds", "GAUGE", labels)]


def test_an_unreadable_file_is_an_error_and_no_metrics(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    metrics, _ = make("metrics_config=none.yaml")
    assert "Failed to load metrics configuration" in caplog.text
    assert "none.yaml" in caplog.text
    assert page(metrics) == ""
    assert metrics.declared == ()


def test_handlers_are_told_what_is_declared(make: Make) -> None:
    metrics, _ = make()
    assert [metric.name for metric in metrics.declared] == ["HandlerTime", "PredictionTime"]


def test_timers_write_what_was_gathered_and_read_the_machine(make: Make) -> None:
    metrics, files = make("metric_time_interval=1000")

    async def life() -> None:
        metrics.start()
        async with asyncio.timeout(10):
            await files.arrived.wait()
        assert {"CPUUtilization", "DiskAvailable"} <= {sample.name for sample in files.ts}
        files.arrived.clear()
        files.ts.clear()
        metrics.responded(404)
        async with asyncio.timeout(10):
            await files.arrived.wait()
        assert [sample.name for sample in files.ts] == ["Requests4XX"]
        metrics.responded(500)
        await metrics.stop()
        assert [sample.name for sample in files.ts] == ["Requests4XX", "Requests5XX"]

    asyncio.run(life())
    assert 'CPUUtilization{Level="Host",Hostname="vm",} ' in page(metrics, "CPUUtilization")


def test_numbers_are_there_before_the_answer_and_gathered_when_many_come(make: Make) -> None:
    metrics, files = make("disable_system_metrics=true")

    async def life() -> None:
        metrics.start()
        metrics.responded(200)
        assert [sample.name for sample in files.ts] == ["Requests2XX"]
        for _ in range(9999):
            metrics.responded(200)
        assert len(files.ts) < 5000
        files.arrived.clear()
        async with asyncio.timeout(10):
            await files.arrived.wait()
        assert sum(sample.value for sample in files.ts) == 10_000
        await metrics.stop()

    asyncio.run(life())


def test_what_a_streamed_answer_adds_at_its_end_needs_no_other_response(make: Make) -> None:
    metrics, files = make("disable_system_metrics=true")

    async def life() -> None:
        metrics.start()
        meter = metrics.meter("m", "1.0", 1)
        metrics.responded(200)
        meter.answered(False, [0.25], [0.75])
        assert [sample.name for sample in files.ts] == ["Requests2XX"]
        meter.streamed()
        assert "ts_inference_latency_microseconds" in {sample.name for sample in files.ts}
        await metrics.stop()

    asyncio.run(life())


def test_system_metrics_can_be_switched_off(make: Make) -> None:
    metrics, files = make("disable_system_metrics=true")

    async def life() -> None:
        metrics.start()
        metrics.responded(200)
        await files.arrived.wait()
        await metrics.stop()

    asyncio.run(life())
    assert [sample.name for sample in files.ts] == ["Requests2XX"]
