"""Real servers for tests: archives made by the real archiver, a real process, a real port."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

BIN = Path(sys.executable).parent
SECONDS_TO_START = 60


class Server:
    """A torchserve process in the foreground, with its port and what it said."""

    def __init__(self, folder: Path, models: tuple[str, ...], settings: dict[str, object]) -> None:
        lines = [f"{key}={value}\n" for key, value in settings.items()]
        (folder / "config.properties").write_text("inference_address=http://127.0.0.1:0\n" + "".join(lines))
        self.output = ""
        self.temp = folder / "temp"
        self.temp.mkdir()
        self.process = subprocess.Popen(
            [
                BIN / "torchserve",
                *("--foreground", "--ncs", "--disable-token-auth", "--ts-config", "config.properties"),
                *("--model-store", "model_store", "--models", *models),
            ],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TEMP": str(self.temp), "TMPDIR": str(self.temp)},
        )
        self.port = int(self.wait_for(r"Inference API bind to: .* \(port (\d+)\)")[1])
        self.wait_for("Model server started.")
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in the server's output, which is read until it comes."""
        deadline = time.monotonic() + SECONDS_TO_START
        while (match := re.search(pattern, self.output)) is None:
            assert self.process.stdout is not None
            ready, _, _ = select.select([self.process.stdout], [], [], max(deadline - time.monotonic(), 0))
            data = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            assert data, f"the server never said {pattern!r}:\n{self.output}"
            self.output += data.decode()
        return match

    def workers(self) -> list[psutil.Process]:
        """The forked workers: the template's children."""
        (template,) = psutil.Process(self.process.pid).children()
        return template.children()

    def stop(self) -> dict[str, int]:
        """Stops by SIGTERM, checks that nothing is left and that the ledger adds up; returns the ledger."""
        self.client.close()
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()
        rest, _ = self.process.communicate(timeout=60)
        self.output += rest.decode()
        assert self.process.returncode == 0, self.output
        assert not [process for process in family if process.is_running()], "orphans"
        # torch may leave folders of its own; whatever is ours must be gone.
        ours = [path for path in self.temp.iterdir() if path.is_socket() or "torchkeeper" in path.name]
        assert not ours, "temp folders or sockets left behind"
        found = dict(re.findall(r"(accepted|answered|refused|failed|gone)=(\d+)", self.output))
        ledger = {name: int(count) for name, count in found.items()}
        assert ledger["accepted"] == sum(
            ledger[name] for name in ("answered", "refused", "failed", "gone")
        ), ledger
        return ledger


Start = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Start]:
    """Starts servers on handlers given as source text; each is stopped and its ledger checked."""
    servers: list[Server] = []

    def start(handlers: dict[str, str], config: str = "", **settings: object) -> Server:
        store = tmp_path / "model_store"
        store.mkdir()
        for name, source in handlers.items():
            handler = tmp_path / f"{name}_handler.py"
            handler.write_text(source)
            (tmp_path / "model-config.yaml").write_text(config or "minWorkers: 1\nmaxWorkers: 1\n")
            subprocess.run(
                [
                    BIN / "torch-model-archiver",
                    *("--model-name", name, "--version", "1.0", "--handler", handler),
                    *("--export-path", store, "-c", tmp_path / "model-config.yaml"),
                ],
                check=True,
            )
        server = Server(tmp_path, tuple(f"{name}.mar" for name in handlers), settings)
        servers.append(server)
        return server

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()
