"""The image played: its entry script, its home and its environment, on ports that are free."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path

import httpx

from servers import BIN, Program

DOCKER = Path(__file__).parents[2] / "docker"
HOME = "/home/model-server"


class Container(Program):
    """A container of the image in the foreground.

    What the Dockerfile and config.properties say holds, but `/home/model-server` is the folder `home` and the
    configured ports are any free ones.
    """

    def __init__(self, home: Path, command: list[str], environ: Mapping[str, str], config: str = "") -> None:
        """`config` is what a derived image appends to config.properties."""
        self.home = home
        for name in ("model-store", "wf-store", "tmp", "logs"):
            (home / name).mkdir(parents=True, exist_ok=True)
        lines = (DOCKER / "config.properties").read_text().replace(HOME, str(home)) + config
        lines = re.sub(r"(address=https?://[\d.]+):80\d\d\b", r"\1:0", lines)
        lines += "grpc_inference_port=0\ngrpc_management_port=0\n"
        (home / "config.properties").write_text(lines)
        inherited = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        own = {"container": "oci", "HOME": str(home), "TEMP": str(home / "tmp"), "TMPDIR": str(home / "tmp")}
        script = DOCKER / "dockerd-entrypoint.sh"
        super().__init__(["bash", script, *command], home, {**inherited, **own, **environ})

    @functools.cached_property
    def client(self) -> httpx.Client:
        """A client of the inference address, once that is served."""
        port = self.wait_for(r"Inference API bind to: .* \(port (\d+)\)")[1]
        return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def stop(self) -> None:
        """`docker stop`: SIGTERM to the first process; checks exit code and ledger."""
        if "client" in vars(self):
            self.client.close()
        self.end()
