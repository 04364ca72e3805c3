"""Starts and stops one server (TorchServe or torchkeeper) on ports of its own, in a folder of its own.

Measures what belongs to a server's life: the time from the command to the first right answer, and the memory
of its process tree. Knows nothing of load or of tables.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from servebench.errors import BenchError
from servebench.paths import OURS, THEIRS

START_LIMIT = 90.0
STOP_LIMIT = 30.0
_PORT_KEYS = {
    "inference_address": "http://127.0.0.1:{}",
    "management_address": "http://127.0.0.1:{}",
    "metrics_address": "http://127.0.0.1:{}",
    "grpc_inference_port": "{}",
    "grpc_management_port": "{}",
}
_LOGS_OFF = """<Configuration status="off"><Loggers><Root level="off"/></Loggers></Configuration>
"""


@dataclass(frozen=True)
class Kind:
    """A server: its command, whether that is only a launcher, and what tuning means for it."""

    name: str
    venv: Path
    launcher: bool
    tunable: bool

    @property
    def command(self) -> Path:
        """The console command."""
        return self.venv / "bin" / "torchserve"

    @property
    def archiver(self) -> Path:
        """The archiver that comes with it."""
        return self.venv / "bin" / "torch-model-archiver"


#: Its Python launcher waits beside the Java server in the foreground and is not counted as memory.
TORCHSERVE = Kind("TorchServe", THEIRS, launcher=True, tunable=True)
TORCHKEEPER = Kind("torchkeeper", OURS, launcher=False, tunable=False)


@dataclass(frozen=True)
class Question:
    """A request whose right answer is known."""

    path: str
    body: bytes
    answer: bytes
    #: What of an answer is compared with `answer`.
    read: Callable[[bytes], bytes] = lambda body: body


@dataclass(frozen=True)
class Running:
    """A server that has given its first right answer."""

    port: int
    management_port: int
    grpc_port: int
    pid: int
    seconds_to_answer: float
    launcher: bool
    #: Its working folder, where its temporary files are, too.
    folder: Path

    def memory(self) -> float:
        """PSS of the server's processes in MB (10^6 bytes)."""
        return tree_memory(self.pid, itself=not self.launcher)

    @property
    def front(self) -> int:
        """The process that the clients' bytes reach."""
        return children(self.pid)[0] if self.launcher else self.pid


@contextmanager
def serving(
    kind: Kind,
    store: Path,
    models: Mapping[str, str],
    tuned: bool,
    ask: Question,
    settings: Mapping[str, str] | None = None,
    *,
    quiet: bool = False,
    limit: float = START_LIMIT,
) -> Iterator[Running]:
    """Runs `kind` over the models (name → archive file in the store) and stops it in the end.

    `settings` are further lines of config.properties; `quiet`: without logs, as what is tuned is anyway;
    `limit`: seconds to the first right answer.
    """
    with tempfile.TemporaryDirectory(prefix="servebench-") as name:
        folder = Path(name)
        port, management, grpc = _write_config(folder, settings or {})
        command = _command(kind, folder, store)
        command += ["--models", *(f"{model}={file}" for model, file in models.items())]
        if quiet or (tuned and kind.tunable):
            (folder / "log4j2.xml").write_text(_LOGS_OFF)
            command += ["--log-config", str(folder / "log4j2.xml")]
        with (folder / "console").open("wb") as console:
            begin = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=_environment(folder, kind, tuned),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _first_answer(process, kind.name, port, ask, folder, limit)
            seconds = time.perf_counter() - begin
            yield Running(port, management, grpc, process.pid, seconds, kind.launcher, folder)
        finally:
            _stop(process, kind)


def _command(kind: Kind, folder: Path, store: Path) -> list[str]:
    command = [str(kind.command), "--start", "--foreground", "--ncs", "--disable-token-auth"]
    return [*command, "--ts-config", str(folder / "config.properties"), "--model-store", str(store)]


def exit_code(kind: Kind, store: Path, settings: Mapping[str, str], limit: float) -> int | None:
    """What a server ends with that cannot be started so; None if it runs after `limit` seconds."""
    with tempfile.TemporaryDirectory(prefix="servebench-") as name:
        folder = Path(name)
        _write_config(folder, settings)
        process = subprocess.Popen(
            _command(kind, folder, store),
            cwd=folder,
            env=_environment(folder, kind, tuned=False),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _stop(process, kind)


def _write_config(folder: Path, settings: Mapping[str, str]) -> tuple[int, int, int]:
    """Writes config.properties with five free ports; returns those of inference, management and gRPC."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in _PORT_KEYS]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    rows = zip(_PORT_KEYS.items(), ports, strict=True)
    found = {key: value.format(port) for (key, value), port in rows}
    found |= {"enable_model_api": "true", **settings}
    lines = [f"{key}={value}\n" for key, value in found.items()]
    (folder / "config.properties").write_text("".join(lines))
    return ports[0], ports[1], ports[3]


def _environment(folder: Path, kind: Kind, tuned: bool) -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environ["PATH"] = f"{kind.venv / 'bin'}:{environ.get('PATH', '')}"
    environ["TMPDIR"] = environ["TEMP"] = str(folder)
    environ["LOG_LOCATION"] = environ["METRICS_LOCATION"] = str(folder / "logs")
    if tuned and kind.tunable:
        environ["OMP_NUM_THREADS"] = "1"
    return environ


def _first_answer(
    process: subprocess.Popen[bytes], name: str, port: int, ask: Question, folder: Path, seconds: float
) -> None:
    """Asks every 20 ms until the answer is right; the console's end tells why if it never is."""
    limit = time.perf_counter() + seconds
    answer = b""
    while process.poll() is None and time.perf_counter() < limit:
        try:
            answer = post(port, ask)
        except (OSError, http.client.HTTPException):
            answer = b""
        if ask.read(answer) == ask.answer:
            return
        time.sleep(0.02)
    lines = (folder / "console").read_text(errors="replace").strip().splitlines()[-15:]
    said = f"; it answers {answer[:200]!r}" if answer else ""
    raise BenchError(f"{name} gave no right answer{said}; its console ended with:\n" + "\n".join(lines))


def post(port: int, ask: Question) -> bytes:
    """Posts the question once; returns whatever body comes back."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_LIMIT)
    try:
        connection.request("POST", ask.path, ask.body)
        return connection.getresponse().read()
    finally:
        connection.close()


def drain(port: int, ask: Question) -> None:
    """Waits until the requests that a stopped load left in the queue are done: they would be counted twice.

    TorchServe executes them although their clients left, and refuses new ones while its queue is full.
    """
    limit = time.perf_counter() + START_LIMIT
    while ask.read(post(port, ask)) != ask.answer:
        if time.perf_counter() > limit:
            raise BenchError("the server does not answer rightly any more after a load")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes], kind: Kind) -> None:
    """SIGTERM to the server itself, then SIGKILL to what is left of its session."""
    tree = descendants(process.pid)
    # TorchServe's launcher does not forward SIGTERM: its Java process must get it.
    first = children(process.pid)[:1] if kind.launcher else [process.pid]
    for pid in first:
        _signal(pid, signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    limit = time.perf_counter() + STOP_LIMIT
    while (left := [pid for pid in tree if _alive(pid)]) and time.perf_counter() < limit:
        time.sleep(0.05)
    for pid in left:
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def children(pid: int) -> list[int]:
    """The processes whose parent is `pid`, oldest first."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return sorted(found)


def descendants(pid: int) -> list[int]:
    """`pid` and everything below it."""
    return [pid, *(below for child in children(pid) for below in descendants(child))]


def pss(pid: int) -> float:
    """The proportional set size of a process in MB (10^6 bytes)."""
    return float(psutil.Process(pid).memory_full_info().pss) / 1e6


def tree_memory(pid: int, itself: bool = True) -> float:
    """PSS of the process tree in MB (10^6 bytes), with or without its root."""
    total = 0.0
    for member in descendants(pid)[0 if itself else 1 :]:
        with suppress(psutil.Error):
            total += pss(member)
    return total
