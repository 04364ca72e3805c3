"""The metrics page and files of a real server, in TorchServe's names and forms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import Server, Start, make_archive  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

ECHO = """
def handle(data, context):
    if data is None:
        return None
    context.metrics.add_counter("Digits", len(data))
    print("[METRICS]Old.Count:3|#Level:Model|#type:COUNTER|#hostname:h,1700000000", flush=True)
    return ["x"] * len(data)
"""


def test_a_page_in_torchserves_form(serve: Start) -> None:
    server = serve({"echo": ECHO}, metrics_mode="prometheus", model_metrics_auto_detect="true")
    for _ in range(3):
        assert server.client.post("/predictions/echo").status_code == 200
    assert server.client.post("/predictions/none").status_code == 404
    page = server.metrics.get("/metrics")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = page.text.splitlines()
    assert "# HELP Requests2XX Torchserve prometheus counter metric with unit: Count" in lines
    assert "# TYPE Requests2XX counter" in lines
    assert any(re.fullmatch(r'Requests2XX\{Level="Host",Hostname="[^"]+",\} 3\.0', line) for line in lines)
    assert any(re.fullmatch(r'Requests4XX\{Level="Host",Hostname="[^"]+",\} 1\.0', line) for line in lines)
    total = 'ts_inference_requests_total{model_name="echo",model_version="default",'
    assert any(line.startswith(total) and line.endswith(" 3.0") for line in lines)
    assert any(line.startswith("Digits{") and line.endswith(" 3.0") for line in lines)
    assert any(line.startswith("torchkeeper_queue_seconds_bucket{") for line in lines)
    assert 'torchkeeper_requests{event="answered",' in page.text
    only = server.metrics.get("/metrics", params={"name[]": "Requests2XX"}).text
    assert {line.split("{")[0] for line in only.splitlines() if not line.startswith("#")} == {"Requests2XX"}


def test_files_and_page_in_the_default_mode(serve: Start) -> None:
    server = serve({"echo": ECHO}, model_metrics_auto_detect="true")
    server.client.post("/predictions/echo")
    assert "Requests2XX{" in server.metrics.get("/metrics").text
    server.stop()
    logs = server.folder / "logs"
    own = (logs / "ts_metrics.log").read_text()
    assert re.search(
        r"^\S+ - Requests2XX\.Count:[12]\.0\|#Level:Host\|#hostname:\S+,timestamp:\d+$", own, re.MULTILINE
    )
    models = (logs / "model_metrics.log").read_text()
    assert re.search(r"PredictionTime\.\w+:[\d.]+\|#ModelName:echo,Level:Model\|#hostname:", models)
    assert "Old.Count:3" in models
    assert "[METRICS]" not in (logs / "model_log.log").read_text()


def test_no_metrics_listener_where_the_api_is_off(tmp_path: Path) -> None:
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "echo", ECHO)
    server = Server(tmp_path, ("echo-1.0.mar",), {"enable_metrics_api": "false"})
    assert "Metrics API bind" not in server.output
    server.stop()
