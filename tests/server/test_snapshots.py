"""A restarted server goes on where the last one ended: real servers, one after the other, in one folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
import pytest

from torchkeeper.archive.archive import MANIFEST

HANDLER = """\
def handle(data, context):
    return data and [context.manifest["model"]["modelVersion"]] * len(data)
"""


def archive(store: Path, folder: str, version: str) -> None:
    """A model called `m`, as a folder."""
    (store / folder / "MAR-INF").mkdir(parents=True)
    (store / folder / "h.py").write_text(HANDLER)
    model = {"modelName": "m", "modelVersion": version, "handler": "h.py"}
    (store / folder / MANIFEST).write_text(json.dumps({"runtime": "python", "model": model}))


def launch(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torchkeeper.cli", "--foreground", "--disable-token-auth", *arguments]
    environ = {**os.environ, "TEMP": str(folder), "TMPDIR": str(folder), "LOG_LOCATION": "logs"}
    return subprocess.Popen(
        command, cwd=folder, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[tuple[httpx.Client, httpx.Client, list[str]]]:
    """Clients of the two ports of a server that stops in the end, and what it said until it was up."""
    process = launch(folder, *arguments)
    try:
        lines = until_up(process.stdout)
        ports = re.findall(r"API bind to: .* \(port (\d+)\)", "\n".join(lines))
        clients = [httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) for port in ports]
        with clients[0] as inference, clients[1] as management:
            yield inference, management, lines
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


def until_up(out: IO[str] | None) -> list[str]:
    lines: list[str] = []
    while out is not None and "Model server started." not in (lines or [""])[-1]:
        line = out.readline()
        assert line, "the server ended:\n" + "".join(lines)
        lines.append(line.rstrip("\n"))
    return lines


def kinds(folder: Path) -> list[str]:
    return [path.stem.split("-")[1] for path in sorted((folder / "logs" / "config").iterdir())]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    archive(tmp_path / "store", "one", "1.0")
    archive(tmp_path / "store", "two", "2.0")
    (tmp_path / "config.properties").write_text(
        "inference_address=http://127.0.0.1:0\nmanagement_address=http://127.0.0.1:0\n"
        "metrics_address=http://127.0.0.1:0\ngrpc_inference_port=0\ngrpc_management_port=0\n"
        "model_store=store\ndefault_workers_per_model=1\nenable_model_api=true\n"
    )
    return tmp_path


@pytest.mark.slow
def test_a_restart_goes_on(home: Path) -> None:
    with running(home, "--models", "one") as (_, management, _):
        management.post(
            "/models", params={"url": "two", "initial_workers": 1, "batch_size": 3, "synchronous": True}
        )
        management.put("/models/m/2.0", params={"min_worker": 1, "max_worker": 2, "synchronous": True})
        management.put("/models/m/2.0/set-default")
    assert kinds(home) == ["startup", "snapshot", "snapshot", "snapshot", "shutdown"]
    with running(home) as (inference, management, lines):
        assert inference.post("/predictions/m", content=b"x").text == "2.0"
        assert inference.post("/predictions/m/1.0", content=b"x").text == "1.0"
        (described,) = management.get("/models/m").json()
        assert (described["batchSize"], described["minWorkers"], described["maxWorkers"]) == (3, 1, 2)
        assert any("THE SNAPSHOT" in line for line in lines)
    with running(home, "--ncs", "--models", "one") as (_, management, _):
        assert management.get("/models/m").json()[0]["modelVersion"] == "1.0"
    assert kinds(home)[5:] == ["startup", "shutdown"]


@pytest.mark.slow
def test_an_archive_that_cannot_be_read_any_more_keeps_the_server_from_starting(home: Path) -> None:
    with running(home, "--models", "one"):
        pass
    (home / "store" / "one" / MANIFEST).write_text("{")
    before = kinds(home)
    process = launch(home)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the snapshot cannot be restored" in said
    assert "Model server started." not in said
    assert kinds(home) == before, "no snapshot of a server that never was"


@pytest.mark.slow
def test_an_archive_that_holds_another_version_now_is_served_and_told(home: Path) -> None:
    with running(home, "--models", "one"):
        pass
    manifest = home / "store" / "one" / MANIFEST
    manifest.write_text(manifest.read_text().replace("1.0", "1.1"))
    with running(home) as (_, management, lines):
        assert management.get("/models/m").json()[0]["modelVersion"] == "1.1"
        said = "the snapshot's version 1.0 of model m is now version 1.1: that is what one holds"
        assert any(said in line for line in lines)
