"""A server driven from Python: started, asked and stopped, with the names that scripts know."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

import ts.launcher
from servers import make_archive  # type: ignore[import-not-found]  # pytest puts the tests' folder on the path
from torchkeeper.client import control
from torchkeeper.client.control import load_properties, register_model, register_model_with_params

ECHO = """
def handle(data, context):
    return data and ["yes"] * len(data)
"""


@pytest.mark.slow
def test_a_server_is_started_asked_and_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "echo", ECHO)
    (tmp_path / "temp").mkdir()
    addresses = "".join(
        f"{api}_address=http://127.0.0.1:0\n" for api in ("inference", "management", "metrics")
    )
    (tmp_path / "config.properties").write_text(f"{addresses}grpc_inference_port=0\ngrpc_management_port=0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    lines = ts.launcher.start(
        model_store="model_store",
        snapshot_file="config.properties",
        no_config_snapshots=True,
        disable_token=True,
        enable_model_api=True,
    )
    try:
        said = capfd.readouterr().out
        ports = {api: _port(said, api) for api in ("Inference", "Management")}
        monkeypatch.setattr(control, "MANAGEMENT", ("127.0.0.1", ports["Management"]))
        answer = register_model("echo", "echo-1.0.mar")
        assert (answer.status_code, answer.ok) == (200, True), answer.text
        assert "echo" in answer.json()["status"]
        again = register_model_with_params((("model_name", "echo"), ("url", "echo-1.0.mar")))
        assert (again.status_code, again.reason, again.ok) == (409, "Conflict", False)
        with pytest.raises(
            RuntimeError, match=r"409 Conflict: [^`]*Model version 1\.0 is already registered"
        ):
            again.raise_for_status()
        reply = httpx.post(
            f"http://127.0.0.1:{ports['Inference']}/predictions/echo", content=b"x", timeout=60
        )
        assert (reply.status_code, reply.text) == (200, "yes")
    finally:
        ts.launcher.stop()
    told = []
    while (line := lines.get(timeout=60)) is not None:
        told.append(line)
    (ledger,) = [line for line in told if "Ledger:" in line]
    assert "accepted=3 answered=2 refused=1 failed=0 gone=0" in ledger


def _port(said: str, api: str) -> int:
    (line,) = [line for line in said.splitlines() if f"{api} API bind to:" in line and "gRPC" not in line]
    return int(line.rpartition("(port ")[2].rstrip(")"))


@pytest.mark.slow
def test_a_start_that_fails_is_an_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"the server did not start \(exit code 1\)"):
        ts.launcher.start(model_store=str(tmp_path / "nowhere"))


class Asked(BaseHTTPRequestHandler):
    """Answers with the path that was asked for."""

    def do_POST(self) -> None:
        self.send_response(202)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.mark.parametrize(
    ("params", "query"),
    [
        ({"url": "a b&c", "batch_size": 4, "runtime": None}, "url=a+b%26c&batch_size=4"),
        ((("url", "x"),), "url=x"),
    ],
)
def test_parameters_are_a_query(monkeypatch: pytest.MonkeyPatch, params: Any, query: str) -> None:
    with HTTPServer(("127.0.0.1", 0), Asked) as server:
        threading.Thread(target=server.handle_request).start()
        monkeypatch.setattr(control, "MANAGEMENT", server.server_address)
        answer = register_model_with_params(params)
    assert (answer.status_code, answer.text) == (202, f"/models?{query}")
    answer.raise_for_status()


def test_properties(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_text("# no\na=1\nb = two \\\n  lines\na=3\n")
    assert load_properties(str(tmp_path / "config.properties")) == {"a": "3", "b": "two lines"}
