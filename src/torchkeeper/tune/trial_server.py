"""The public server as a child process, on ports of its own, in a folder of its own: asked and measured.

Everything is said to it over HTTP; what it writes, keeps and registers lies in that folder and goes with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil

from torchkeeper.config import kserve_pod, vertex_pod
from torchkeeper.config.properties import parse_properties, properties_text, write_properties
from torchkeeper.config.table import BY_NAME
from torchkeeper.machine.parent import ends_with_this
from torchkeeper.tune.asker import Socket, ask, request
from torchkeeper.tune.refusal import TuneRefused

#: What the server is told whatever the user's own file says: where to listen, and what to load (nothing).
_ADDRESSES = {f"{api}_address": "http://127.0.0.1:0" for api in ("inference", "management", "metrics")}
_OVER = {
    **_ADDRESSES,
    "grpc_inference_port": "0",
    "grpc_management_port": "0",
    "load_models": "",
    "enable_metrics_api": "true",
    # A load is to be answered, not refused: it never has more on their way than this.
    "job_queue_size": "1000",
    "job_queue_bytes": str(1 << 40),
}
_NOT_TAKEN = ("models", "model_snapshot", "model_store", "workflow_store")
_BY_FLAGS = ("disable_token_authorization", "enable_model_api", "log_level")
#: By which a server finds another configuration, or listens where a platform calls.
_ELSEWHERE = {
    *("TS_CONFIG_FILE", kserve_pod.CONFIG_VARIABLE, *kserve_pod.VARIABLES),
    *(variable.name for variable in vertex_pod.VARIABLES),
}
_STARTED = "Model server started"
_LISTENS = re.compile(r"\b(Inference|Management|Metrics) API bind to: .*\(port (\d+)\)")
#: Seconds that a start and an end may take, and a question that is no load.
_START, _END, _QUESTION = 120.0, 30.0, 60.0
#: Bytes of what the server says that are kept.
_KEPT = 1 << 16


class ServerGone(Exception):
    """The server's process has ended; the message has its last lines."""


class Unanswered(ServerGone):
    """The server has not answered in time; the message says what."""


class VariantRefused(Exception):
    """The server does not serve a candidate; the message is its own reason."""


@dataclass(frozen=True)
class BatchFigures:
    """What the server has counted of a model since it was registered."""

    batches: float
    rows: float
    #: That a worker took for all of them, the handler in it.
    seconds: float


class TrialServer:
    """A server for trials; `start` before, `stop` after."""

    def __init__(self, folder: Path, ts_config: Path | None, environ: Mapping[str, str]) -> None:
        """`folder` is all its own, in a temporary one; `ts_config` the user's configuration, if any."""
        self.store = folder / "store"
        self._folder = folder
        self._ts_config = ts_config
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._said: deque[bytes] = deque()
        self._size = 0
        self._reader: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._ports: dict[str, int] = {}

    @property
    def inference(self) -> Socket:
        """Where predictions are served."""
        return Socket("127.0.0.1", self._ports["Inference"])

    async def start(self) -> None:
        """Returns when it listens.

        Raises:
            TuneRefused: it does not start; the message has what it said last.
        """
        temp, config = self._folder / "temp", self._folder / "config.properties"
        for folder in (temp, self.store):
            folder.mkdir(parents=True)
        properties = self._properties()
        if properties.get("worker_user"):  # who must get at what lies in this folder
            for passed in (self._folder, self._folder.parent):
                passed.chmod(0o711)
        config.write_text(write_properties(properties))
        flags = ("--ncs", "--disable-token-auth", "--enable-model-api", "--log-level", "info")
        command = [sys.executable, "-P", "-m", "torchkeeper.cli", "--start", "--foreground", *flags]
        command += ["--ts-config", str(config), "--model-store", str(self.store)]
        self._process = await asyncio.create_subprocess_exec(
            *ends_with_this(command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._variables(temp),
            start_new_session=True,  # a Ctrl-C in the terminal is ours
        )
        self._reader = asyncio.create_task(self._read(self._process))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._started.wait(), _START)
        if not self._ports:
            raise TuneRefused(f"the server did not start; it said: {self._last_lines()}")

    async def stop(self) -> None:
        """Ends it, and waits for that."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), _END)
            except TimeoutError:
                self.kill()
                await process.wait()
        if self._reader is not None:  # which waits for all that have its output, whoever they are
            await asyncio.wait({self._reader}, timeout=_END)
            self._reader.cancel()

    def kill(self) -> None:
        """Ends it and all that it has started at once."""
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(psutil.Error):
            server = psutil.Process(self._process.pid)
            for one in (*server.children(recursive=True), server):
                with contextlib.suppress(psutil.Error):
                    one.kill()

    # --- what it is asked ----------------------------------------------------------------------------------

    async def register(self, archive: Path, name: str, workers: int, seconds: float) -> None:
        """Registers an archive of its store and returns when all workers are ready.

        Raises:
            VariantRefused: that cannot be, or takes longer than `seconds`.
            ServerGone: nobody answers any more.
        """
        wanted = {
            "url": archive.name,
            "model_name": name,
            "initial_workers": workers,
            "synchronous": "true",
            "startup_timeout": max(int(seconds), 1),
        }
        try:
            status, body = await self._manage("POST", f"/models?{urlencode(wanted)}", seconds + _QUESTION)
        except Unanswered:
            raise VariantRefused(f"it was not loaded within {seconds:.0f} s") from None
        if status != 200:
            raise VariantRefused(_reason(body))

    async def unregister(self, name: str) -> None:
        """Takes a model away, if it is there.

        Raises:
            ServerGone: nobody answers any more.
        """
        with contextlib.suppress(Unanswered):
            await self._manage("DELETE", f"/models/{name}")

    async def memory(self, name: str) -> int:
        """Bytes that a model's workers have: their own, and their parts of what they share (PSS).

        Raises:
            ServerGone: nobody answers any more.
        """
        _, body = await self._manage("GET", f"/models/{name}")
        workers = json.loads(body)[0]["workers"]
        return sum(_memory(worker["pid"], worker["memoryUsage"]) for worker in workers)

    async def figures(self, name: str) -> BatchFigures:
        """What it has counted of a model.

        Raises:
            ServerGone: nobody answers any more.
        """
        _, body = await self._asked(Socket("127.0.0.1", self._ports["Metrics"]), "GET", "/metrics")
        return read_figures(body.decode(), name)

    async def _manage(self, method: str, target: str, seconds: float = _QUESTION) -> tuple[int, bytes]:
        return await self._asked(Socket("127.0.0.1", self._ports["Management"]), method, target, seconds)

    async def _asked(
        self, place: Socket, method: str, target: str, seconds: float = _QUESTION
    ) -> tuple[int, bytes]:
        try:
            return await ask(place, request(method, target), seconds)
        except TimeoutError:
            raise Unanswered(f"the server did not answer {method} {target} within {seconds:g} s") from None
        except OSError as error:
            raise self.gone(error) from None

    def gone(self, error: OSError) -> ServerGone:
        """What to raise where nobody answers any more."""
        return ServerGone(f"the server is gone ({error}); it said: {self._last_lines()}")

    # --- the process ---------------------------------------------------------------------------------------

    def _properties(self) -> dict[str, str]:
        own: dict[str, str] = {}
        if self._ts_config is not None:
            try:
                text = properties_text(self._ts_config.read_bytes())
            except OSError as error:
                raise TuneRefused(f"--ts-config {self._ts_config}: {error.strerror}") from None
            own = {one.key: one.value for one in parse_properties(text) if one.key not in _NOT_TAKEN}
        if own.get("metrics_mode") == "legacy":  # which shows none of what is read here
            own["metrics_mode"] = "prometheus"
        return own | _OVER

    def _variables(self, temp: Path) -> dict[str, str]:
        said = {BY_NAME[name].variable for name in (*_OVER, *_NOT_TAKEN, *_BY_FLAGS)} | _ELSEWHERE
        kept = {name: value for name, value in self._environ.items() if name not in said}
        places = {"LOG_LOCATION": self._folder / "logs", "METRICS_LOCATION": self._folder / "logs"}
        places |= {"TEMP": temp, "TMPDIR": temp}
        return kept | {name: str(path) for name, path in places.items()}

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Takes what it says, all the time: its access log is long, and a full pipe would stop it."""
        assert process.stdout is not None
        while data := await process.stdout.read(1 << 20):
            self._said.append(data)
            self._size += len(data)
            while self._size - len(self._said[0]) > _KEPT:
                self._size -= len(self._said.popleft())
            if not self._ports and _STARTED in (said := self._text()):
                self._ports = {api: int(port) for api, port in _LISTENS.findall(said)}
                self._started.set()
        self._started.set()

    def _text(self) -> str:
        return b"".join(self._said).decode(errors="replace")

    def _last_lines(self) -> str:
        lines = [line for line in self._text().splitlines() if line.strip()]
        return " / ".join(lines[-5:]) or "nothing"


def read_figures(text: str, name: str) -> BatchFigures:
    """A model's figures of a metrics page in Prometheus' text form; zeros where it has none yet."""

    def value(metric: str) -> float:
        pattern = rf'^torchkeeper_{metric}{{[^}}]*model_name="{re.escape(name)}"[^}}]*}} (\S+)'
        found = re.search(pattern, text, re.M)
        return float(found[1]) if found else 0.0

    return BatchFigures(value("handler_seconds_count"), value("batch_size_sum"), value("handler_seconds_sum"))


def _reason(body: bytes) -> str:
    """Why something was refused, of TorchServe's error body."""
    try:
        found: dict[str, Any] = json.loads(body)
        said = found.get("cause") or found["message"]
    except (ValueError, KeyError, AttributeError):
        said = body.decode(errors="replace")
    return " ".join(str(said).split())


def _memory(pid: int, resident: int) -> int:
    try:
        used = psutil.Process(pid).memory_full_info()
    except (psutil.Error, OSError):
        return resident
    return int(getattr(used, "pss", 0) or resident)
