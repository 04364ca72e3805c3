"""Start, stop and register from Python, as scripts and notebooks do through `ts.launcher`.

Runs the command `torchserve` of this installation and calls its management API. Source of names and
parameters: TorchServe's `ts.launcher`; a start that fails is an exception here.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Full, Queue
from typing import IO, Any

from torchkeeper import TS_NAMESPACE as TS_NAMESPACE
from torchkeeper.config.properties import parse_properties, properties_text

#: Where the management API listens unless it is configured otherwise.
MANAGEMENT = ("localhost", 8081)
STARTED = "Model server started"
_COMMAND = (sys.executable, "-P", "-m", "torchkeeper.cli")
_LINES = 1000

Params = Mapping[str, Any] | Iterable[tuple[str, Any]]


@dataclass(frozen=True)
class ManagementAnswer:
    """What the management API said, under the names of `requests.Response`."""

    status_code: int
    reason: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode(errors="replace")

    @property
    def ok(self) -> bool:
        """Whether the status is no error's."""
        return self.status_code < http.client.BAD_REQUEST

    def json(self) -> Any:
        """The body as JSON; raises ValueError when it is none."""
        return json.loads(self.content)

    def raise_for_status(self) -> None:
        """Raises RuntimeError with the body where the status is an error's."""
        if not self.ok:
            raise RuntimeError(f"{self.status_code} {self.reason}: {self.text}")


def start(
    model_store: str | Path | None = None,
    snapshot_file: str | Path | None = None,
    no_config_snapshots: bool = False,
    plugin_folder: str | Path | None = None,
    disable_token: bool = False,
    models: str | Sequence[str] | None = None,
    enable_model_api: bool = False,
) -> Queue[str | None]:
    """Stops the running server, if there is one, starts another and returns when it listens.

    What it says is printed, and put into the queue that is returned: line by line, None after the last one;
    lines that nobody fetches are dropped when there are too many.

    Args:
        model_store: folder of the archives.
        snapshot_file: config.properties, or a snapshot.
        no_config_snapshots: whether the server writes no snapshots.
        plugin_folder: passed on.
        disable_token: whether requests need no token.
        models: what to load.
        enable_model_api: whether models can be registered while it runs.

    Raises:
        RuntimeError: the server did not start; what it said was printed.
    """
    stop()
    command = [*_COMMAND, "--start"]
    for flag, path in (
        ("--model-store", model_store),
        ("--plugins-path", plugin_folder),
        ("--ts-config", snapshot_file),
    ):
        command += [flag, str(path)] if path else []
    command += ["--no-config-snapshots"] * no_config_snapshots
    command += ["--disable-token-auth"] * disable_token
    command += ["--enable-model-api"] * enable_model_api
    if models:
        command += ["--models", *([models] if isinstance(models, str) else models)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        print(line.rstrip())
        if STARTED in line:
            break
    else:
        process.stdout.close()
        raise RuntimeError(f"the server did not start (exit code {process.wait()}); what it said is above")
    lines: Queue[str | None] = Queue(_LINES)
    threading.Thread(target=_follow, args=(process, process.stdout, lines), name="server's lines").start()
    return lines


def _follow(starter: subprocess.Popen[str], said: IO[str], lines: Queue[str | None]) -> None:
    """Passes on what the server says, until it ends; the process that started it ends long before."""
    with starter:
        for line in said:
            print(line.rstrip())
            _put(lines, line)
    while not _put(lines, None):
        lines.get()


def _put(lines: Queue[str | None], line: str | None) -> bool:
    try:
        lines.put_nowait(line)
    except Full:
        return False
    return True


def stop(wait: bool = True) -> None:
    """Stops the running server; with `wait` returns when it is gone."""
    subprocess.run([*_COMMAND, "--stop", *["--foreground"] * wait], check=False)


def register_model(model_name: str, url: str) -> ManagementAnswer:
    """Registers an archive under a name, with one worker, and returns when that is ready."""
    params = {"model_name": model_name, "url": url, "initial_workers": "1", "synchronous": "true"}
    return register_model_with_params(params)


def register_model_with_params(params: Params) -> ManagementAnswer:
    """Registers a model as the query parameters of `POST /models` say.

    Raises:
        OSError: no server listens.
    """
    pairs = params.items() if isinstance(params, Mapping) else params
    query = urllib.parse.urlencode([(name, value) for name, value in pairs if value is not None])
    connection = http.client.HTTPConnection(*MANAGEMENT)
    try:
        connection.request("POST", f"/models?{query}")
        answer = connection.getresponse()
        headers = dict(answer.getheaders())
        return ManagementAnswer(answer.status, answer.reason, headers, answer.read())
    finally:
        connection.close()


def load_properties(file_path: str | Path) -> dict[str, str]:
    """Key -> value of a config.properties."""
    text = properties_text(Path(file_path).read_bytes())
    return {one.key: one.value for one in parse_properties(text)}
