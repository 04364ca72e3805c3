"""What the tests of real servers share: the fixture `serve`, and the names of servers.py."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from servers import BIN, EXAMPLE, SECONDS_TO_START, Program, Server, eventually, make_archive, mnist_server

__all__ = [
    "BIN",
    "EXAMPLE",
    "SECONDS_TO_START",
    "Program",
    "Server",
    "Start",
    "eventually",
    "make_archive",
    "mnist_server",
    "serve",
]

Start = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Start]:
    """Starts servers on handlers given as source text; each is stopped and its ledger checked."""
    servers: list[Server] = []

    def start(
        handlers: dict[str, str], config: str = "", *, samples: Sequence[str] = (), **settings: object
    ) -> Server:
        """`samples` are texts that each archive warms up with."""
        store = tmp_path / "model_store"
        store.mkdir()
        extra = tmp_path / "extra"
        (extra / "warmup").mkdir(parents=True)
        for sample in samples:
            (extra / "warmup" / f"{sample}.txt").write_text(sample)
        for name, source in handlers.items():
            handler = tmp_path / f"{name}_handler.py"
            handler.write_text(source)
            (tmp_path / "model-config.yaml").write_text(config or "minWorkers: 1\nmaxWorkers: 1\n")
            subprocess.run(
                [
                    BIN / "torch-model-archiver",
                    *("--model-name", name, "--version", "1.0", "--handler", handler),
                    *("--export-path", store, "-c", tmp_path / "model-config.yaml"),
                    *(("--extra-files", extra) if samples else ()),
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
