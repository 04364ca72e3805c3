"""The lines of a running server: request ids, and the sentences that scripts look for when workers die."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from conftest import Start  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

MODEL = """
import os, time

def handle(data, context):
    if data is None:
        return None
    for row in data:
        what = bytes(row["body"]).decode()
        print("asked for", what)
        if what == "exit":
            os._exit(7)
        if what == "hang":
            time.sleep(1000)
    return ["fine"] * len(data)
"""


def json_lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "logs" / name).read_text().splitlines()]


def test_lines_as_json_tell_whose_they_are(serve: Start, tmp_path: Path) -> None:
    server = serve(
        {"m": MODEL}, "minWorkers: 1\nmaxWorkers: 1\nretryOnWorkerDeath: false\n", log_format="json"
    )
    fine = server.client.post("/predictions/m", content=b"fine")
    lost = server.client.post("/predictions/m", content=b"exit")
    missing = server.client.get("/nowhere")
    server.stop()
    assert (fine.status_code, lost.status_code, missing.status_code) == (200, 500, 404)
    accesses = [line for line in json_lines(tmp_path, "access_log.log") if line["path"] != "/ping"]
    assert [(line["request_id"], line.get("model"), line["status"]) for line in accesses] == [
        (fine.headers["x-request-id"], "m", 200),
        (lost.headers["x-request-id"], "m", 500),
        (missing.headers["x-request-id"], None, 404),
    ]
    (line,) = [line for line in json_lines(tmp_path, "ts_log.log") if "request_id" in line]
    assert line["request_id"] == lost.headers["x-request-id"]
    assert (line["model"], line["worker"]) == ("m", "W-9000-m_1.0")
    printed = [line for line in json_lines(tmp_path, "model_log.log") if line["message"] == "asked for fine"]
    assert [(line["model"], line["worker"], line["stream"]) for line in printed] == [
        ("m", "W-9000-m_1.0", "stdout")
    ]


WARNS = """
import logging

logging.getLogger(__name__).warning("the handler's own")
logging.getLogger("torchkeeper.handler.compile").warning("it runs uncompiled")
logging.getLogger("torchkeeper.handler.compile").info("compiled")

def handle(data, context):
    return data and ["x"] * len(data)
"""


def test_what_torchkeeper_warns_of_in_a_worker_is_a_warning(serve: Start, tmp_path: Path) -> None:
    """A handler's own lines are INFO lines whatever their level, as in TorchServe."""
    server = serve({"m": WARNS})
    assert server.client.post("/predictions/m", content=b"x").status_code == 200
    server.stop()
    text = (tmp_path / "logs" / "model_log.log").read_text()
    found = re.findall(r"\[(\w+) ?\] \S+ .*- (it runs uncompiled|compiled|the handler's own)\n", text)
    assert sorted(found) == [
        ("INFO", "compiled"),
        ("INFO", "the handler's own"),
        ("WARN", "it runs uncompiled"),
    ]


def test_torchserves_sentences_about_a_worker_that_hangs(serve: Start, tmp_path: Path) -> None:
    server = serve({"m": MODEL}, "minWorkers: 1\nmaxWorkers: 1\nresponseTimeout: 1\n")
    for _ in range(2):
        assert server.client.post("/predictions/m", content=b"hang").status_code == 500
    assert server.client.post("/predictions/m", content=b"fine").status_code == 200
    assert server.client.post("/predictions/m", content=b"hang").status_code == 500
    server.stop()
    text = (tmp_path / "logs" / "ts_log.log").read_text()
    error = (
        "org.pytorch.serve.wlm.WorkerInitializationException: Backend worker did not respond in given time"
    )
    assert re.findall(r"Backend worker error\n(.*)", text) == [error] * 3
    assert re.findall(r"Number or consecutive unsuccessful inference (\d)", text) == ["1", "2", "1"]
    assert len(re.findall(r"Auto recovery start timestamp: \d{13}\n", text)) == 3
    assert text.count("Auto recovery succeeded, reset recoveryStartTS") >= 2
    assert (
        len(re.findall(r"Worker disconnected\..*\n.*\n.*Retry worker: W-\d+-m_1\.0 in \d+ seconds\.", text))
        == 3
    )


def test_torchserves_sentence_about_a_worker_that_cannot_recover(serve: Start) -> None:
    server = serve({"broken": "import nothing_of_that_name\n"})
    server.wait_for(r"Auto recovery start timestamp: \d{13}\n")
    server.wait_for("Auto recovery failed again")
    server.wait_for("nothing_of_that_name")
