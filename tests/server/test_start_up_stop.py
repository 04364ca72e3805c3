"""SIGTERM is heard in every state: whatever the server waits for while it starts, it ends, in time."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from conftest import BIN, Program, eventually, make_archive  # type: ignore[import-not-found]  # pytest's path

pytestmark = pytest.mark.slow

#: Far less than the drain; a server that waits for what it should leave passes it.
SOON = 20
HANDLER = "def handle(data, context):\n    return data and ['x'] * len(data)\n"
ADDRESSES = (
    "".join(f"{api}_address=http://127.0.0.1:0\n" for api in ("inference", "management", "metrics"))
    + "grpc_inference_port=0\ngrpc_management_port=0\n"
)


class Starting(Program):
    """A server that does not come to an end with its start."""

    def __init__(
        self, folder: Path, *flags: str, config: str = "", environ: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.store = folder / "model_store"
        self.store.mkdir(exist_ok=True)
        self.temp = folder / "temp"
        self.temp.mkdir()
        (folder / "config.properties").write_text(ADDRESSES + config)
        temp = {"TEMP": str(self.temp), "TMPDIR": str(self.temp)}
        command = [
            BIN / "torchserve",
            *("--foreground", "--model-store", "model_store", "--disable-token-auth"),
            *("--ts-config", "config.properties", *flags),
        ]
        super().__init__(command, folder, {**os.environ, **temp, **(environ or {})})

    def stop_soon(self, *numbers: int) -> dict[str, int]:
        """Sends signals (SIGTERM, unless others are given); it is gone soon, with all that it began."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        for number in numbers or (signal.SIGTERM,):
            self.process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=SOON)
        late = self.process.poll() is None
        for process in family if late else ():
            process.kill()
        if late:
            self.process.kill()
        ledger = self.end()
        assert not late, self.output
        assert "Traceback" not in self.output
        eventually(lambda: not [process for process in family if process.is_running()])
        left = [path.name for path in (*self.temp.iterdir(), *self.store.iterdir())]
        assert not [name for name in left if "torchkeeper" in name or name.startswith((".", "pip-"))], left
        return ledger


class Dribble(http.server.BaseHTTPRequestHandler):
    """A host that promises a large file: sends a byte now and then, or, after the head, not one."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: DribblingServer = self.server  # type: ignore[assignment]
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.flush()
        server.asked.set()
        with contextlib.suppress(OSError):
            while not server.over.wait(0.05):
                if "silent" not in self.path:
                    self.wfile.write(b"x")

    def log_message(self, format: str, *args: object) -> None:
        pass


class DribblingServer(http.server.ThreadingHTTPServer):
    """Whether somebody has asked, and whether the test is over."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Dribble)
        self.asked = threading.Event()
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def host() -> Iterator[DribblingServer]:
    with DribblingServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


def with_requirements(store: Path, requirement: str, config: str) -> None:
    """An archive `packages.mar` with a requirements file."""
    model = {"modelName": "packages", "modelVersion": "1.0", "handler": "h", "configFile": "c.yaml"}
    manifest = {"runtime": "python", "model": {**model, "requirementsFile": "r.txt"}}
    with zipfile.ZipFile(store / "packages.mar", "w") as file:
        file.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        file.writestr("h.py", HANDLER)
        file.writestr("c.yaml", config)
        file.writestr("r.txt", requirement)


@pytest.mark.parametrize("path", ["m.mar", "silent/m.mar"])
def test_while_a_model_is_downloaded(tmp_path: Path, host: DribblingServer, path: str) -> None:
    server = Starting(tmp_path, "--ncs", "--models", f"m={host.url}/{path}")
    assert host.asked.wait(60)
    eventually(lambda: any(server.store.iterdir()))
    server.stop_soon()


def test_while_a_model_is_fetched_from_s3(tmp_path: Path, host: DribblingServer) -> None:
    environ = {
        "AWS_ENDPOINT_URL": host.url,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    config = "allowed_urls=s3://.*\n"
    server = Starting(tmp_path, "--ncs", "--models", "m=s3://bucket/m.mar", config=config, environ=environ)
    assert host.asked.wait(60)
    server.stop_soon()


def test_while_packages_are_built(tmp_path: Path) -> None:
    """The installer is in a child of its own then, which has a child."""
    package = tmp_path / "slow"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    )
    sign = tmp_path / "building"
    (package / "backend.py").write_text(
        "import pathlib, subprocess\n"
        "def build_wheel(*args, **kwargs):\n"
        "    child = subprocess.Popen(['sleep', '600'])\n"
        f"    pathlib.Path({str(sign)!r}).write_text(str(child.pid))\n"
        "    child.wait()\n"
        "def prepare_metadata_for_build_wheel(*args, **kwargs):\n"
        "    build_wheel()\n"
    )
    (tmp_path / "model_store").mkdir()
    with_requirements(tmp_path / "model_store", str(package), "minWorkers: 1\n")
    server = Starting(tmp_path, "--ncs", "--models", "packages.mar", config="install_py_dep_per_model=true\n")
    eventually(lambda: sign.exists() and sign.read_text() != "")
    server.stop_soon()
    assert not psutil.pid_exists(int(sign.read_text()))


def test_while_an_index_of_packages_dribbles(tmp_path: Path, host: DribblingServer) -> None:
    (tmp_path / "model_store").mkdir()
    requirements = f"--index-url {host.url}/simple\nno-such-package\n"
    with_requirements(tmp_path / "model_store", requirements, "minWorkers: 1\n")
    server = Starting(tmp_path, "--ncs", "--models", "packages.mar", config="install_py_dep_per_model=true\n")
    assert host.asked.wait(60)
    server.stop_soon()


@pytest.fixture
def hung_imports(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """An environment in which importing what workers share hangs, and a file that says that it does."""
    shadow, sign = tmp_path / "shadow" / "PIL", tmp_path / "importing"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text(
        f"import pathlib, time\npathlib.Path({str(sign)!r}).touch()\ntime.sleep(600)\n"
    )
    return {"PYTHONPATH": str(tmp_path / "shadow")}, sign


@pytest.mark.parametrize("models", [(), ("--models", "m-1.0.mar")], ids=["no model", "a model"])
def test_while_the_template_hangs_in_its_imports(
    tmp_path: Path, hung_imports: tuple[dict[str, str], Path], models: tuple[str, ...]
) -> None:
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "m", HANDLER)
    environ, sign = hung_imports
    server = Starting(tmp_path, "--ncs", *models, environ=environ)
    eventually(sign.exists)
    server.wait_for("Model server started.")
    server.stop_soon()


def test_while_a_model_loads(tmp_path: Path) -> None:
    sign = tmp_path / "loading"
    (tmp_path / "model_store").mkdir()
    slow = f"import pathlib, time\npathlib.Path({str(sign)!r}).touch()\ntime.sleep(600)\n{HANDLER}"
    make_archive(tmp_path / "model_store", "m", slow)
    server = Starting(tmp_path, "--ncs", "--models", "m-1.0.mar")
    eventually(sign.exists)
    server.stop_soon()


def test_what_is_half_restored_is_no_snapshot(tmp_path: Path, host: DribblingServer) -> None:
    """The next start must go on from what the server had, not from what was there when it ended."""
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "m", HANDLER)
    requirements = f"--index-url {host.url}/simple\nno-such-package\n"
    with_requirements(tmp_path / "model_store", requirements, "minWorkers: 1\n")
    one = {"1.0": {"defaultVersion": True, "marName": "m-1.0.mar", "minWorkers": 1, "maxWorkers": 1}}
    other = {"1.0": {**one["1.0"], "marName": "packages.mar"}}
    snapshot = json.dumps({"name": "kept", "modelCount": 2, "models": {"m": one, "packages": other}})
    config = f"install_py_dep_per_model=true\nmodel_snapshot={snapshot}\n"
    server = Starting(tmp_path, config=config)
    assert host.asked.wait(60)
    server.stop_soon()
    assert not list((tmp_path / "logs").rglob("*.cfg"))


def test_again_and_again(tmp_path: Path, host: DribblingServer) -> None:
    """Supervisors send SIGTERM twice: the second one changes nothing."""
    server = Starting(tmp_path, "--ncs", "--models", f"m={host.url}/m.mar")
    assert host.asked.wait(60)
    server.stop_soon(signal.SIGTERM, signal.SIGTERM)


def test_by_the_keyboard(tmp_path: Path, host: DribblingServer) -> None:
    server = Starting(tmp_path, "--ncs", "--models", f"m={host.url}/m.mar")
    assert host.asked.wait(60)
    server.stop_soon(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_before_it_serves_it_ends_without_a_word(tmp_path: Path, number: int) -> None:
    """While the server's modules are imported: one of them is a stand-in that says so and waits."""
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "uvloop.py").write_text(
        "import time\nprint('importing', flush=True)\ntime.sleep(600)\n"
    )
    server = Starting(tmp_path, "--ncs", environ={"PYTHONPATH": str(tmp_path / "shadow")})
    server.wait_for("importing")
    server.process.send_signal(number)
    assert server.process.wait(timeout=SOON) == 0
    assert "Traceback" not in server.output
    assert server.process.stdout is not None
    server.process.stdout.close()


STUCK = """
import pathlib, time
def handle(data, context):
    if data is None:
        return None
    pathlib.Path({sign!r}).touch()
    time.sleep(600)
"""


def test_ctrl_c_again_waits_for_no_request(tmp_path: Path) -> None:
    sign = tmp_path / "computing"
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "m", STUCK.format(sign=str(sign)))
    server = Starting(tmp_path, "--ncs", "--models", "m-1.0.mar")
    port = int(server.wait_for(r"Inference API bind to: .* \(port (\d+)\)")[1])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        eventually(sign.exists)
        server.process.send_signal(signal.SIGINT)
        server.wait_for("Stopping: ")
        server.process.send_signal(signal.SIGINT)
        assert client.recv(65536).startswith(b"HTTP/1.1 50")
    assert server.process.wait(timeout=SOON) == 128 + signal.SIGINT
    assert re.search("Ledger: accepted=1 answered=0 .* gone=0", server.output)
    assert server.process.stdout is not None
    server.process.stdout.close()


# --- the detached launcher ------------------------------------------------------------------------------


class Launching(Program):
    """`torchserve --start` of a server that does not come to an end with its start."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "model_store").mkdir()
        (folder / "config.properties").write_text(ADDRESSES)
        (folder / "dataclasses.py").write_text("raise ImportError('of the folder that it is started in')\n")
        self.environ = {**os.environ, "TMPDIR": str(folder)}
        self.pid_file = folder / ".model_server.pid"
        command = [BIN / "torchserve", "--start", "--ncs", "--model-store", "model_store", "--models", url]
        super().__init__(command, folder, self.environ)

    def over(self) -> int:
        """Its exit code; the server is gone, too."""
        server = psutil.Process(int(self.pid_file.read_text())) if self.pid_file.exists() else None
        code = self.process.wait(timeout=60)
        assert server is None or not server.is_running()
        self.wait_for("TorchServe was stopped before it had started.")
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert not self.pid_file.exists()
        return code


def test_a_start_can_be_stopped(tmp_path: Path, host: DribblingServer) -> None:
    launching = Launching(tmp_path, f"{host.url}/m.mar")
    assert host.asked.wait(60)
    stop = [sys.executable, "-m", "torchkeeper.cli", "--stop", "--foreground"]
    said = subprocess.run(stop, env=launching.environ, capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stdout) == (0, "")
    assert launching.over() == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_launcher_that_is_stopped_stops_its_server(
    tmp_path: Path, host: DribblingServer, number: int
) -> None:
    launching = Launching(tmp_path, f"{host.url}/m.mar")
    assert host.asked.wait(60)
    launching.process.send_signal(number)
    assert launching.over() == 128 + number
