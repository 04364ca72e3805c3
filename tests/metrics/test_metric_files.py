"""The metrics log files: all there from the start, lines in TorchServe's form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from torchkeeper.config.settings import CommandLine, load_settings
from torchkeeper.logs.logs import Logs
from torchkeeper.wire.messages import Sample

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3}"


def test_metrics_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environ = {"METRICS_LOCATION": "metrics"}
    settings, _ = load_settings(CommandLine(), environ, tmp_path)
    model = Sample("PredictionTime", 0.05, "ms", "GAUGE", (("ModelName", "m"), ("Level", "Model")), "5f1c,77")
    with Logs(settings) as logs:
        assert {path.name for path in (tmp_path / "logs").iterdir()} == {
            "access_log.log",
            "model_log.log",
            "ts_log.log",
        }
        assert {path.name for path in (tmp_path / "metrics").iterdir()} == {
            "model_metrics.log",
            "ts_metrics.log",
        }
        logs.model_metric(model, "vm")
        logs.ts_metric(Sample("CPUUtilization", 0, "Percent", "GAUGE", (("Level", "Host"),)), "vm")
        logs.ts_metric(Sample("x", 1.5e8, "Microseconds", "COUNTER", ()), "vm")
    (line,) = (tmp_path / "metrics" / "model_metrics.log").read_text().splitlines()
    assert re.fullmatch(
        TIME + r" - PredictionTime\.ms:0\.05\|#ModelName:m,Level:Model"
        r"\|#hostname:vm,requestID:5f1c,77,timestamp:\d{10}",
        line,
    )
    first, second = (tmp_path / "metrics" / "ts_metrics.log").read_text().splitlines()
    pattern = TIME + r" - CPUUtilization\.Percent:0\.0\|#Level:Host\|#hostname:vm,timestamp:\d{10}"
    assert re.fullmatch(pattern, first)
    assert re.fullmatch(TIME + r" - x\.Microseconds:1\.5E8\|#\|#hostname:vm,timestamp:\d{10}", second)
    assert capsys.readouterr().out.splitlines() == [line, first, second]
