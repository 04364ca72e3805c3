"""Real servers for tests: archives made by the real archiver, a real process, a real port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
import psutil

BIN = Path(sys.executable).parent
#: What must come; only a failing test waits for so long, and a busy machine takes its time.
SECONDS_TO_START = 60
EXAMPLE = Path(__file__).parents[1] / "examples" / "image_classifier" / "mnist"


class Program:
    """A process in the foreground, and what it said."""

    def __init__(self, command: Sequence[str | Path], folder: Path, environ: Mapping[str, str]) -> None:
        self.output = ""
        self._said = threading.Condition()
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ
        )
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Takes what the process says as it says it: a full pipe would be a test of its own."""
        assert self.process.stdout is not None
        while data := os.read(self.process.stdout.fileno(), 1 << 16):
            with self._said:
                self.output += data.decode()
                self._said.notify_all()
        with self._said:
            self._ended = True
            self._said.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in the process's output, once it is there."""
        with self._said:
            self._said.wait_for(lambda: re.search(pattern, self.output) or self._ended, SECONDS_TO_START)
            match = re.search(pattern, self.output)
            assert match is not None, f"the server never said {pattern!r}:\n{self.output}"
            return match

    def kill(self) -> None:
        """Ends it by SIGKILL."""
        self.process.kill()
        self.process.wait(timeout=60)
        self._reader.join(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def end(self) -> dict[str, int]:
        """Ends it by SIGTERM, checks its exit code and that the ledger adds up; returns the ledger."""
        self.process.terminate()
        return self.ended(0)

    def ended(self, code: int) -> dict[str, int]:
        """Waits until it has ended, with that exit code and a ledger that adds up; returns the ledger."""
        self.process.wait(timeout=60)
        self._reader.join(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert self.process.returncode == code, self.output
        found = dict(re.findall(r"(accepted|answered|refused|failed|gone)=(\d+)", self.output))
        ledger = {name: int(count) for name, count in found.items()}
        assert ledger["accepted"] == sum(
            ledger[name] for name in ("answered", "refused", "failed", "gone")
        ), ledger
        return ledger


class Server(Program):
    """A torchserve process in the foreground, with its port and what it said."""

    def __init__(
        self,
        folder: Path,
        models: tuple[str, ...],
        settings: dict[str, object],
        flags: tuple[str, ...] = ("--disable-token-auth",),
        *,
        rpc_ports: bool = True,
        environ: dict[str, str] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> None:
        """Starts it on free ports; without `rpc_ports` gRPC has its default ones, if they are free.

        `prefix` is a command that becomes the server after it has prepared something.
        """
        lines = [f"{key}={value}\n" for key, value in settings.items()]
        addresses = "".join(
            f"{api}_address=http://127.0.0.1:0\n" for api in ("inference", "management", "metrics")
        )
        if rpc_ports:
            addresses += "grpc_inference_port=0\ngrpc_management_port=0\n"
        (folder / "config.properties").write_text(addresses + "".join(lines))
        self.folder = folder
        self.temp = folder / "temp"
        self.temp.mkdir(exist_ok=True)
        command = [
            *prefix,
            BIN / "torchserve",
            *("--foreground", "--ncs", *flags, "--ts-config", "config.properties"),
            *("--model-store", "model_store", *(("--models", *models) if models else ())),
        ]
        folders = {name: str(self.temp) for name in ("TEMP", "TMPDIR")} | {
            "XDG_CACHE_HOME": str(folder / "cache")
        }
        super().__init__(command, folder, {**os.environ, **folders, **(environ or {})})
        self.port = int(self.wait_for(r"Inference API bind to: .* \(port (\d+)\)")[1])
        management = int(self.wait_for(r"Management API bind to: .* \(port (\d+)\)")[1])
        metrics = re.compile(r"Metrics API bind to: .* \(port (\d+)\)")
        self.wait_for("Model server started.")
        rpc = dict(re.findall(r"gRPC (\w+) API bind to: .* \(port (\d+)\)", self.output))
        #: Targets of gRPC clients.
        self.grpc, self.grpc_manage = (f"127.0.0.1:{rpc.get(api)}" for api in ("inference", "management"))
        found = metrics.search(self.output)
        self.metrics = httpx.Client(base_url=f"http://127.0.0.1:{found[1] if found else 0}", timeout=60)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        self.manage = httpx.Client(base_url=f"http://127.0.0.1:{management}", timeout=60)

    def workers(self) -> list[psutil.Process]:
        """The forked workers: children of the template, or of those which have imported handlers for them."""
        (template,) = psutil.Process(self.process.pid).children()
        found = []
        for child in template.children():
            found += child.children() if child.name().startswith(("imports:", "weights:")) else [child]
        return found

    def ended(self, code: int) -> dict[str, int]:
        for client in (self.client, self.manage, self.metrics):
            client.close()
        return super().ended(code)

    def stop(self) -> dict[str, int]:
        """Stops by SIGTERM, checks that nothing is left and that the ledger adds up; returns the ledger."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        ledger = self.end()
        assert not [process for process in family if process.is_running()], "orphans"
        # torch may leave folders of its own; whatever is ours must be gone.
        ours = [path for path in self.temp.iterdir() if path.is_socket() or "torchkeeper" in path.name]
        assert not ours, "temp folders or sockets left behind"
        return ledger


def eventually(what: Callable[[], bool], seconds: float = SECONDS_TO_START) -> None:
    """Returns once `what` has come true by asking the server again and again; fails if it never does."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never came true"


def make_archive(store: Path, name: str, source: str, version: str = "1.0", config: str = "") -> Path:
    """An archive `<name>-<version>.mar` in the store, made by the real archiver from a handler's source."""
    work = store.parent / f"make-{name}-{version}"
    work.mkdir()
    handler = work / f"{name}_handler.py"
    handler.write_text(source)
    options: list[str | Path] = []
    if config:
        (work / "model-config.yaml").write_text(config)
        options = ["-c", work / "model-config.yaml"]
    subprocess.run(
        [
            BIN / "torch-model-archiver",
            *("--model-name", name, "--version", version, "--handler", handler),
            *("--export-path", work, *options),
        ],
        check=True,
    )
    return (work / f"{name}.mar").rename(store / f"{name}-{version}.mar")


def mnist_server(folder: Path, config: str = "", *, extra: Path | None = None, **settings: object) -> Server:
    """A server with the MNIST example as the models mnist and mnist_explain; `extra` is packed with it."""
    store = folder / "model_store"
    store.mkdir()
    (folder / "model-config.yaml").write_text(config or "batchSize: 16\n")
    subprocess.run(
        [
            BIN / "torch-model-archiver",
            *("--model-name", "mnist", "--version", "1.0", "--export-path", store),
            *("--model-file", EXAMPLE / "mnist.py", "--serialized-file", EXAMPLE / "mnist_cnn.pt"),
            *("--handler", EXAMPLE / "mnist_handler.py", "-c", folder / "model-config.yaml"),
            *(("--extra-files", extra) if extra else ()),
        ],
        check=True,
    )
    return Server(folder, ("mnist=mnist.mar", "mnist_explain=mnist.mar"), settings)


def compiled_mnist_server(folder: Path, execution: str) -> Server:
    """The same, compiled as `execution` says with two warm-up samples; it has named all digits rightly."""
    pictures = [(EXAMPLE / "test_data" / f"{number}.png").read_bytes() for number in range(10)]
    (folder / "extra" / "warmup").mkdir(parents=True)
    for number in (3, 4):
        (folder / "extra" / "warmup" / f"{number}.png").write_bytes(pictures[number])
    config = f"batchSize: 4\nstartupTimeout: 600\nexecution: {{{execution}}}\n"
    workers = {"default_workers_per_model": 1, "default_response_timeout": 600}
    server = mnist_server(folder, config, extra=folder / "extra", **workers)
    server.client.timeout = 600
    for number, picture in enumerate(pictures):
        assert server.client.put("/predictions/mnist", content=picture).text == str(number)
    return server
