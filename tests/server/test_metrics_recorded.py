"""The metrics page of a real server against one recorded from the real TorchServe, line by line."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from conftest import Server, eventually, make_archive  # type: ignore[import-not-found]  # pytest puts this folder on the path

RECORDED = Path(__file__).parents[1] / "data" / "torchserve" / "metrics.txt"
ECHO = """
def handle(data, context):
    return data and ["x"] * len(data)
"""
#: Braces stand around labels only: Prometheus' Java client writes none where there is no label.
SAMPLE = re.compile(r"(\w+)(?:\{((?:\w+=\"[^\"]*\",)+)\})? (-?\d+\.\d+(?:E-?\d+)?)")


def families(text: str) -> dict[str, list[str]]:
    """Each metric's lines in their order, numbers left out: HELP, TYPE, then the samples sorted."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith(("# HELP ", "# TYPE ")):
            name = line.split()[2]
            found.setdefault(name, []).append(line)
        elif not line.startswith("#"):
            sample = SAMPLE.fullmatch(line)
            assert sample is not None, f"not TorchServe's form: {line}"
            assert sample[1].startswith(name), "a sample stands below its own HELP and TYPE"
            found[name].append(f"{sample[1]}{{{sample[2] or ''}}}")
    return {name: lines[:2] + sorted(lines[2:]) for name, lines in found.items()}


@pytest.mark.slow
def test_the_page_has_torchserves_lines(tmp_path: Path) -> None:
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "echo", ECHO, config="minWorkers: 1\nmaxWorkers: 1\n")
    server = Server(tmp_path, ("echo-1.0.mar",), {"metrics_mode": "prometheus"})
    for path, status in (("echo", 200), ("echo", 200), ("echo/1.0", 200), ("none", 404)):
        assert server.client.post(f"/predictions/{path}", content=b"x").status_code == status
    eventually(lambda: "CPUUtilization{" in server.metrics.get("/metrics?name[]=CPUUtilization").text)
    page = server.metrics.get("/metrics").text.replace(f'="{socket.gethostname()}"', '="HOST"')
    ours, theirs = families(page), families(RECORDED.read_text())
    assert {name: ours.get(name) for name in theirs} == theirs
    assert all(name.startswith("torchkeeper_") for name in set(ours) - set(theirs))
    server.stop()
