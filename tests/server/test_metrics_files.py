"""Metrics of a real server: numbers of handlers and of the server, on the page and in the files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import Start, eventually  # type: ignore[import-not-found]  # pytest puts this folder on the path

HANDLER = """
def handle(data, context):
    if data is not None:
        context.metrics.get_metric("Hits").add_or_update(2, ["a"])
        context.metrics.add_counter("Unknown", 1)
        print("[METRICS]HandlerTime.Milliseconds:7|#ModelName:m,Level:Model|#type:GAUGE|#hostname:h,1,printed")
        print("a plain line")
        return ["ok"] * len(data)
"""
STREAMS = """
import os, time

def handle(data, context):
    return None if data is None else parts()

def parts():
    yield ["one"]
    while not os.path.exists({go!r}):
        time.sleep(0.001)
    yield ["two"]
"""
DECLARED = """
ts_metrics:
  counter:
    - {name: Requests2XX, unit: Count, dimensions: [Level, Hostname]}
    - {name: ts_inference_requests_total, unit: Count, dimensions: [model_name, model_version, hostname]}
  gauge:
    - {name: WorkerLoadTime, unit: Milliseconds, dimensions: [WorkerName, Level, Hostname]}
model_metrics:
  counter:
    - {name: Hits, unit: count, dimensions: [Kind]}
  gauge:
    - {name: HandlerTime, unit: ms, dimensions: [ModelName, Level]}
"""


@pytest.mark.slow
def test_who_has_seen_an_answer_finds_its_lines(serve: Start, tmp_path: Path) -> None:
    """Nothing else is asked of the server meanwhile that could push the lines out."""
    go = tmp_path / "go"
    counted = HANDLER.replace('get_metric("Hits").add_or_update(2, ["a"])', 'add_counter("Hits", 2)')
    server = serve(
        {"m": counted, "s": STREAMS.format(go=str(go))},
        disable_system_metrics="true",
        model_metrics_auto_detect="true",
    )

    def count(name: str, line: str) -> int:
        return len(re.findall(line, (tmp_path / "logs" / name).read_text()))

    for number in (1, 2, 3):
        assert server.client.post("/predictions/m", content=b"x").text == "ok"
        eventually(lambda number=number: count("access_log.log", "/predictions/m") == number)
        eventually(lambda number=number: count("ts_metrics.log", "ts_inference_requests_total") == number)
        eventually(lambda number=number: count("model_metrics.log", "Hits") == number)
    with server.client.stream("POST", "/predictions/s", content=b"x") as answer:
        eventually(lambda: count("ts_metrics.log", "Requests2XX") == 4)
        go.touch()
        assert answer.read() == b"onetwo"
    eventually(lambda: count("ts_metrics.log", r"ts_inference_latency_microseconds.*model_name:s") == 1)
    eventually(lambda: count("access_log.log", "/predictions/s") == 1)


@pytest.mark.slow
def test_files(serve: Start, tmp_path: Path) -> None:
    (tmp_path / "metrics.yaml").write_text(DECLARED)
    server = serve({"m": HANDLER}, metrics_config=tmp_path / "metrics.yaml")
    for path in ("/predictions/m", "/predictions/m", "/predictions/m/1.0"):
        assert server.client.post(path, content=b"x").text == "ok"
    page = server.metrics.get("/metrics?name[]=Requests2XX&name[]=Hits")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert re.search(r'^Requests2XX\{Level="Host",Hostname=".+",\} 3\.0$', page.text, re.MULTILINE)
    assert re.search(r'^Hits\{Kind="a",Hostname=".+",\} 6\.0$', page.text, re.MULTILINE)
    assert "torchkeeper" not in page.text
    server.stop()
    models = (tmp_path / "logs" / "model_metrics.log").read_text()
    assert len(re.findall(r" - Hits\.count:2\.0\|#Kind:a\|#hostname:[^,]+,timestamp:", models)) == 3
    times = r" - HandlerTime\.ms:7\.0\|#ModelName:m,Level:Model\|#hostname:[^,]+,requestID:printed,timestamp:"
    assert len(re.findall(times, models)) == 3
    assert "Unknown" not in models
    assert "PredictionTime" not in models
    lines = (tmp_path / "logs" / "model_log.log").read_text()
    assert lines.count("a plain line") == 3
    assert "[METRICS]" not in lines
    own = (tmp_path / "logs" / "ts_metrics.log").read_text()
    counts: dict[str, float] = {}
    for name, value, labels in re.findall(r" - (\w+)\.\w+:([\d.]+)\|#([^|]*)\|", own):
        key = f"{name} {labels}"
        counts[key] = counts.get(key, 0) + float(value)
    load = next(key for key in counts if key.startswith("WorkerLoadTime WorkerName:W-9000-m_1.0,Level:Host"))
    del counts[load]
    assert counts == {
        "Requests2XX Level:Host": 4,
        "ts_inference_requests_total model_name:m,model_version:default": 2,
        "ts_inference_requests_total model_name:m,model_version:1.0": 1,
    }
