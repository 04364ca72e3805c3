"""A real Prometheus scrapes a real server, and finds what dashboards ask for."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from conftest import Start, eventually  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

ECHO = """
def handle(data, context):
    return data and ["x"] * len(data)
"""


def free_port() -> int:
    """A port that was free a moment ago; Prometheus takes no 0."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_prometheus_reads_the_page(serve: Start, tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        reason = "prometheus is not installed (Debian: apt-get install prometheus)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    server = serve({"echo": ECHO})
    for _ in range(5):
        assert server.client.post("/predictions/echo").status_code == 200
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        "- job_name: torchkeeper\n"
        f"  static_configs: [{{targets: ['{server.metrics.base_url.netloc.decode()}']}}]\n"
    )
    port = free_port()
    prometheus = subprocess.Popen(
        [
            program,
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def found(query: str) -> str | None:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": query}, timeout=60)
        except httpx.TransportError:
            return None
        if answer.status_code != 200:  # 503 until it has read its own files
            return None
        results = answer.json()["data"]["result"]
        value: str | None = results[0]["value"][1] if results else None
        return value

    try:
        eventually(lambda: found('ts_inference_requests_total{model_name="echo"}') == "5")
        assert found("up") == "1"
        assert found("torchkeeper_request_seconds_count") == "5"
        assert found("sum(torchkeeper_requests)") is not None
        assert found("scrape_samples_scraped") not in (None, "0")
    finally:
        prometheus.terminate()
        prometheus.wait(timeout=30)
